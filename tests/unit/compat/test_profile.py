"""Profiles: kinds of hosts that are known from documents only."""

import string
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit import compat
from portkit.compat import Profile, profile
from portkit.compat.rule import OF_THE_MACHINE
from portkit.errors import AppError
from portkit.model import (
    App,
    AppSpec,
    Engine,
    Facts,
    Finding,
    Firmware,
    Form,
    Lack,
    Machine,
    Missing,
    Needs,
    Port,
    Service,
    Severity,
    Verdict,
)
from tests.factories import IMAGE

ASKED_FOR = {
    "windows-11-wsl2",
    "windows-server-hyper-v",
    "macos-intel",
    "macos-apple-silicon",
    "freebsd-14",
    "rhel-8",
    "rhel-9",
    "ubuntu-22.04",
    "ubuntu-24.04",
    "alpine-3.20",
    "fedora-coreos",
    "debian-12-arm64",
    "kubernetes-kubevirt",
}
WHOLE = """
title = "Ours"
read = 2026-11-29
[facts]
architecture = "amd64"
docker_version = "20.10.7"
[[documents]]
title = "The wiki"
address = "page Nodes"
says = "Docker 20.10.7"
"""
N, E, X, U = Verdict.NATIVE, Verdict.EMULATED, Verdict.INCOMPATIBLE, Verdict.UNKNOWN


def spec(**service: object) -> AppSpec:
    app = App("a", (Service("a", **service),), "compose.yaml")  # type: ignore[arg-type]
    return apps.resolve_all(app, [IMAGE])


def judged(
    kind: Profile, architecture: str = "amd64", **service: object
) -> dict[Form, tuple[Verdict, tuple[Finding, ...]]]:
    image = replace(IMAGE, architecture=architecture)
    return compat.documented({"a": (spec(**service), [image])}, kind, tuple(Form))["a"]


def test_those_that_were_asked_for_are_there() -> None:
    assert set(profile.names()) >= ASKED_FOR


@pytest.mark.parametrize("name", profile.names())
def test_each_says_where_it_is_from(name: str) -> None:
    kind = profile.load(name)
    assert kind.documents
    assert all(each.says.endswith(".") for each in kind.documents)
    rules = {rule.id for rule in compat.RULES}
    for answer in kind.answers:
        assert answer.rules <= rules
        assert answer.remedy or answer.severity is Severity.INFO, answer.message
    assert kind.known >= {"os_id", "architecture"}
    assert kind.unknown >= set(OF_THE_MACHINE), "no document says that of a machine"


@pytest.mark.parametrize(
    ("name", "amd64", "arm64"),
    [
        ("windows-11-wsl2", (N, X), (E, X)),
        ("windows-server-hyper-v", (X, X), (X, X)),
        ("macos-intel", (N, X), (E, X)),
        ("macos-apple-silicon", (E, X), (N, X)),
        ("freebsd-14", (U, U), (X, U)),
        ("rhel-8", (N, N), (X, U)),
        ("rhel-9", (N, N), (X, U)),
        ("ubuntu-22.04", (N, N), (X, U)),
        ("ubuntu-24.04", (N, N), (X, U)),
        ("alpine-3.20", (N, N), (X, U)),
        ("fedora-coreos", (N, X), (X, X)),
        ("kubernetes-kubevirt", (N, N), (X, U)),
    ],
)
def test_verdicts(
    name: str, amd64: tuple[Verdict, Verdict], arm64: tuple[Verdict, Verdict]
) -> None:
    kind = profile.load(name)
    for architecture, wanted in (("amd64", amd64), ("arm64", arm64)):
        found = judged(kind, architecture)
        assert (found[Form.IMAGE][0], found[Form.DISK][0]) == wanted, (name, architecture)


def test_what_documents_say_of_io_uring_and_root() -> None:
    assert profile.load("rhel-9").facts.linux.number("kernel.io_uring_disabled") == 2
    kind = replace(profile.load("rhel-9"), known=frozenset({"docker_version", "architecture"}))
    for facts in (kind.facts, replace(kind.facts, engine=Engine(rootless=False))):
        found = judged(replace(kind, facts=facts), ports=(Port(80),))[Form.IMAGE][1]
        assert "port-rootless" not in {row.rule for row in found}


def test_an_arm_server_runs_images_for_arm() -> None:
    kind = profile.load("debian-12-arm64")
    assert judged(kind)[Form.IMAGE][0] is X
    assert judged(kind, "arm64")[Form.IMAGE][0] is N


def test_kubevirt_refuses_efi_as_it_is() -> None:
    kind = profile.load("kubernetes-kubevirt")
    verdict, findings = judged(kind, machine=Machine(firmware=Firmware.UEFI))[Form.DISK]
    assert verdict is X
    (found,) = [each for each in findings if each.severity is Severity.ERROR]
    assert "secure boot" in found.message
    assert "secureBoot" in found.remedy


def test_what_depends_on_the_machine_is_said_and_does_not_count() -> None:
    kind = profile.load("rhel-9")
    verdict, findings = judged(kind, ports=(Port(8080),))[Form.DISK]
    assert verdict is N
    told = {each.rule: each for each in findings if each.message.startswith("depends on")}
    assert {"memory", "port-free"} <= set(told)
    assert {each.severity for each in told.values()} == {Severity.INFO}


def test_a_rule_that_could_refuse_and_does_not_know_says_unknown() -> None:
    kind = profile.parse(WHOLE.encode(), "ours")
    assert judged(kind)[Form.IMAGE][0] is N
    verdict, findings = judged(kind)[Form.DISK]
    assert verdict is U
    silent = {each.rule for each in findings if each.severity is Severity.UNKNOWN}
    assert silent >= {"libvirt", "tools"}
    # Rules that only warn do not make it unknown; but whether it is emulated is a verdict.
    assert "accelerator" in {each.rule for each in findings if each.severity is Severity.INFO}
    able = WHOLE.replace(
        "[facts]\n", '[facts]\nlibvirt_version = "9"\nqemu_version = "7.2"\nmissing_tools = []\n'
    )
    assert judged(profile.parse(able.encode(), "ours"))[Form.DISK][0] is U
    kvm = able.replace("[facts]\n", '[facts]\naccelerator = "kvm"\n')
    assert judged(profile.parse(kvm.encode(), "ours"))[Form.DISK][0] is N


def test_what_is_known_to_be_absent_is_refused() -> None:
    text = WHOLE.replace("[facts]", 'absent = ["docker_version"]\n[facts]')
    text = text.replace('docker_version = "20.10.7"\n', "")
    verdict, findings = judged(profile.parse(text.encode(), "ours"))[Form.IMAGE]
    assert verdict is X
    assert "docker" in {each.rule for each in findings if each.severity is Severity.ERROR}


def test_a_file_of_ones_own(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "ours.toml"
    path.write_text(WHOLE)
    assert profile.load(str(path)).title == "Ours"
    assert profile.load(str(path)).facts.docker_version == "20.10.7"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "title"),
        ("title = ", "Invalid value"),
        (WHOLE.replace("docker_version", "docker_verison"), "docker_verison"),
        (WHOLE.replace("architecture =", 'host = "x"\narchitecture ='), "no field host"),
        (WHOLE + "colour = 1", "colour"),
        (WHOLE.replace("2026-11-29", '"never"'), "read"),
        (WHOLE.replace('"amd64"', "[1]"), "architecture"),
        (WHOLE.replace("title =", "title = 1\ntitle =", 1), "overwrite"),
        ("x" * 70_000, "bytes"),
        ("a = " + "[" * 5000, "nested"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(AppError) as caught:
        profile.parse(text.encode(), "ours")
    assert said in str(caught.value)


@given(st.text(alphabet=string.printable, max_size=200))
def test_no_text_is_more_than_an_error(text: str) -> None:
    with pytest.raises(AppError):
        profile.parse(text.encode(), "ours")


def test_an_unknown_name_names_the_known() -> None:
    with pytest.raises(AppError) as caught:
        profile.load("solaris")
    assert "rhel-9" in caught.value.details
    with pytest.raises(AppError, match="cannot be read"):
        profile.load("/no/such.toml")


def test_every_field_of_facts_is_known_or_not() -> None:
    kind = profile.load("rhel-9")
    assert kind.known | kind.unknown == {field.name for field in fields(Facts)}


def test_what_runs_at_its_source_lacks_nothing_on_a_kind_of_host_either() -> None:
    """The same as where a host is asked: see `compat.disproved`."""
    lack = Missing(Lack.LOADER, "/lib/ld.so", "/app")
    needs = {"a": {"a": Needs("linux", "amd64", missing=(lack,))}}
    kind = profile.load("ubuntu-22.04")
    apps_ = {"a": (spec(), [IMAGE])}
    said = [
        compat.documented(apps_, kind, (Form.IMAGE,), needs, run)["a"][Form.IMAGE]
        for run in ((), ("a",))
    ]
    assert [verdict for verdict, _ in said] == [Verdict.INCOMPATIBLE, Verdict.NATIVE]
    (row,) = (row for row in said[1][1] if row.rule == "missing-loader")
    assert row.severity is Severity.WARNING
