"""Hosts of other processors, and hosts that promise more or less memory than they have."""

from dataclasses import replace
from typing import Any

import pytest

from portkit import compat
from portkit.compat import profile, room
from portkit.model import Binfmt, Facts, Form, Linux, Severity, Verdict
from tests.factories import FACTS, IMAGE, app_spec

ARM = replace(IMAGE, architecture="arm", variant="v7")
RISCV = replace(IMAGE, architecture="riscv64")
HANDLER = Binfmt("qemu-arm", "arm", "/usr/bin/qemu-arm", "POCF")


def host(architecture: str, **linux: Any) -> Facts:
    return replace(FACTS, architecture=architecture, linux=Linux(**linux))


def judged(facts: Facts, image: Any, form: Form = Form.IMAGE) -> tuple[Verdict, set[str]]:
    found = compat.check(app_spec(), {IMAGE.digest: image}, facts, form)
    rows = {f"{row.severity}:{row.rule}" for row in found if row.severity is not Severity.INFO}
    return compat.verdict(found, facts, form), rows


def test_an_image_on_a_host_of_its_own_architecture() -> None:
    for image in (ARM, RISCV, replace(IMAGE, architecture="ppc64le")):
        facts = host(image.architecture, arm_version=7)
        assert judged(facts, image) == (Verdict.NATIVE, set())
        assert judged(facts, image, Form.DISK)[0] is Verdict.INCOMPATIBLE, "no disks are made"


@pytest.mark.parametrize(
    ("linux", "wanted"),
    [
        ({"runs": {"arm": "yes"}}, Verdict.NATIVE),
        ({"runs": {"arm": "no"}}, Verdict.INCOMPATIBLE),
        ({"runs": {"arm": "unknown"}}, Verdict.UNKNOWN),
        ({}, Verdict.UNKNOWN),
        ({"runs": {"arm": "yes"}, "binfmt": (HANDLER,)}, Verdict.EMULATED),
        ({"runs": {"arm": "no"}, "binfmt": (HANDLER,)}, Verdict.INCOMPATIBLE),
        ({"runs": {"arm": "yes"}, "binfmt": (replace(HANDLER, flags=""),)}, Verdict.INCOMPATIBLE),
    ],
)
def test_32_bit_arm_on_a_processor_of_64_bits(linux: dict[str, Any], wanted: Verdict) -> None:
    assert judged(host("arm64", **linux), ARM)[0] is wanted


def test_apples_processors_run_no_32_bit_arm() -> None:
    kind = profile.load("macos-apple-silicon")
    for image, wanted in (
        (ARM, Verdict.EMULATED),
        (replace(IMAGE, architecture="arm64"), "native"),
    ):
        apps = {"a": (app_spec(), [image])}
        assert compat.documented(apps, kind, [Form.IMAGE])["a"][Form.IMAGE][0] == wanted


def test_the_version_of_arm_that_an_image_is_for() -> None:
    assert judged(host("arm", arm_version=6), ARM) == (Verdict.INCOMPATIBLE, {"error:arm-version"})
    assert judged(host("arm", arm_version=7), replace(ARM, variant="v6"))[0] is Verdict.NATIVE
    assert judged(host("arm"), ARM) == (Verdict.UNKNOWN, {"unknown:arm-version"})
    assert judged(host("arm"), replace(ARM, variant=""))[0] is Verdict.NATIVE


def test_the_level_that_an_image_for_amd64_states() -> None:
    v3 = replace(IMAGE, variant="v3")
    assert judged(host("amd64", cpu_level=2), v3) == (Verdict.INCOMPATIBLE, {"error:cpu-level"})
    assert judged(host("amd64", cpu_level=3), v3)[0] is Verdict.NATIVE


GIB = 1 << 30


def severity(need: int, swap: int | None, **sysctls: str) -> Severity | None:
    told = {f"vm.overcommit_{name}": value for name, value in sysctls.items()}
    facts = replace(FACTS, memory_bytes=8 * GIB, swap_bytes=swap, linux=Linux(sysctls=told))
    return room.beyond_memory(need * GIB, facts)


def test_memory_that_a_host_promises() -> None:
    error, warning, unknown = Severity.ERROR, Severity.WARNING, Severity.UNKNOWN
    assert (severity(9, 0), severity(9, 2 * GIB), severity(8, 0)) == (error, warning, None)
    assert severity(9, None) is unknown
    assert severity(500, 0, memory="1") is warning, "Linux promises any amount"
    assert severity(4, 0, memory="2", ratio="50") is None
    assert severity(5, 0, memory="2", ratio="50") is error, "though the host has it"
    assert severity(5, 2 * GIB, memory="2", ratio="50") is None
    assert severity(9, 6 * GIB, memory="2", ratio="50") is warning
    assert severity(5, 0, memory="2", ratio="0", kbytes=str(6 << 20)) is None
    assert severity(5, 0, memory="2") is severity(5, None, memory="2", ratio="50") is unknown


def test_a_qemu_without_the_network_of_our_vms() -> None:
    def rows(*netdevs: str) -> set[str]:
        return judged(replace(FACTS, netdevs=netdevs), IMAGE, Form.DISK)[1]

    assert "error:user-network" in rows("socket", "tap")
    assert "error:user-network" not in rows("socket", "user") | judged(FACTS, IMAGE, Form.DISK)[1]
    assert judged(replace(FACTS, netdevs=("tap",)), IMAGE)[1] == set()
