"""What libvirt says of its guests, over everything that was recorded (fixtures/hosts)."""

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.engines.libvirt_guests import guests, model_level
from portkit.errors import EngineError
from tests.fuzz import mutate

HOSTS = Path(__file__).parents[3] / "fixtures/hosts"
RELEASES = ("debian-12", "debian-13", "debian-testing")
CAPABILITIES = sorted(HOSTS.glob("*/capabilities*.xml"))
DOMAINS = sorted(HOSTS.glob("*/domcapabilities-*.xml"))
NEWEST = {"debian-12": "7.2", "debian-13": "10.0", "debian-testing": "11.1"}


def recorded(release: str, machine: str = "q35", capabilities: str = "") -> tuple[str, str]:
    folder = HOSTS / release
    names = (f"capabilities{capabilities}.xml", f"domcapabilities-{machine}.xml")
    whole, one = ((folder / name).read_text() for name in names)
    return whole, one


def test_there_are_enough() -> None:
    assert len(CAPABILITIES) >= 5
    assert len(DOMAINS) >= 5
    assert len(list(HOSTS.glob("*/docker-info*.json"))) >= 5


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("extra", ["", "-arm"])
@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_a_pc(release: str, extra: str, machine: str) -> None:
    found = guests(*recorded(release, machine, extra), machine="x86_64")
    newest = NEWEST[release]
    assert {"q35", "pc", f"pc-q35-{newest}", f"pc-i440fx-{newest}"} <= set(found.machines)
    assert "virt" not in found.machines
    assert "efi" in found.firmware
    assert found.secure == (("yes", "no") if machine == "q35" else ("no",))
    assert found.max_cpus >= 255
    assert found.cpu_models["qemu64"] == 1
    assert found.cpu_models["Nehalem"] == 2
    # QEMU 7.2 and later emulate AVX2, no AVX-512.
    assert (found.cpu_model, found.cpu_level) == ("EPYC", 3)
    assert all(level < 4 for level in found.cpu_models.values())


def test_types_go_six_years_after_their_release() -> None:
    found = {name: guests(*recorded(name), machine="x86_64").machines for name in RELEASES}
    assert "pc-i440fx-4.2" in found["debian-12"]
    assert "pc-i440fx-4.2" not in found["debian-testing"]
    assert "pc-q35-5.2" in found["debian-testing"]


@pytest.mark.parametrize("release", RELEASES)
def test_an_arm_machine(release: str) -> None:
    found = guests(*recorded(release, "virt", "-arm"), machine="aarch64")
    assert {"virt", f"virt-{NEWEST[release]}"} <= set(found.machines)
    assert "q35" not in found.machines
    assert "efi" in found.firmware
    assert (found.cpu_model, found.cpu_level) == ("", 0)
    assert "arm64" in found.architectures


def test_an_architecture_that_is_not_there() -> None:
    found = guests(*recorded("debian-12"), machine="aarch64")
    assert found.machines == ()
    assert found.architectures == ("amd64",)


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("486", 0),
        ("qemu64", 1),
        ("Nehalem-IBRS", 2),
        ("Haswell-noTSX-IBRS", 3),
        ("EPYC-v4", 3),
        ("EPYC-IBPB", 3),
        ("EPYC-Genoa", 4),
        ("Skylake-Client-noTSX-IBRS", 3),
        ("Cascadelake-Server-noTSX", 4),
        ("host-of-tomorrow", 0),
    ],
)
def test_levels_of_models(name: str, level: int) -> None:
    assert model_level(name) == level


def test_a_libvirt_that_says_nothing_of_secure_boot() -> None:
    whole, one = recorded("debian-12")
    assert guests(whole, one.replace("'secure'", "'other'"), machine="x86_64").secure == ()


def test_every_model_that_was_recorded_has_a_level_or_is_older() -> None:
    older = {"486", "pentium", "pentium2", "pentium3", "coreduo", "n270", "athlon"}
    older |= {"kvm32", "qemu32"}
    for release in RELEASES:
        known = guests(*recorded(release), machine="x86_64").cpu_models
        assert {name for name, level in known.items() if level == 0} <= older, release


def test_a_feature_that_is_taken_away_lowers_the_level() -> None:
    whole, one = recorded("debian-12")
    without = one.replace("<vendor>AMD</vendor>", "<feature policy='disable' name='avx2'/>", 1)
    assert guests(whole, without, machine="x86_64").cpu_level == 2
    bare = one.replace("<vendor>AMD</vendor>", "<feature policy='disable' name='popcnt'/>", 1)
    assert guests(whole, bare, machine="x86_64").cpu_level == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<a><b></a>",
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "<a>" * 100 + "</a>" * 100,
        "<a>" + "<b/>" * 200_001 + "</a>",
        "x" * ((4 << 20) + 1),
        "<a>\ud800</a>",
    ],
)
def test_what_libvirt_never_writes_is_an_error(text: str) -> None:
    whole, one = recorded("debian-12")
    with pytest.raises(EngineError, match="malformed"):
        guests(text, one, machine="x86_64")
    with pytest.raises(EngineError, match="malformed"):
        guests(whole, text, machine="x86_64")


@given(st.integers(0, 1 << 32))
def test_spoilt_documents(seed: int) -> None:
    whole, one = recorded("debian-12")
    spoilt = mutate.spoil_bytes(one.encode(), random.Random(seed)).decode(
        "utf-8", "surrogateescape"
    )
    with contextlib.suppress(EngineError):
        guests(whole, spoilt, machine="x86_64")


def test_networks_of_libvirts_own_and_what_confines_guests() -> None:
    assert guests(*recorded("debian-12"), machine="x86_64").interfaces == ()
    whole, one = recorded("debian-testing")
    found = guests(whole, one, machine="x86_64")
    assert (found.interfaces, found.confined_by) == (("default", "passt"), ())
    confined = whole.replace("<model>none</model>", "<model>selinux</model>", 1)
    assert guests(confined, one, machine="x86_64").confined_by == ("selinux",)
