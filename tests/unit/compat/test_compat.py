"""Compatibility: each rule says what it found, and the verdict follows."""

from dataclasses import replace

from portkit import app as apps
from portkit import compat
from portkit.model import (
    App,
    Artifact,
    Blob,
    Facts,
    Form,
    ImageConfig,
    Port,
    Service,
    Severity,
    Verdict,
)

FACTS = Facts(
    *("web2", "ssh://root@web2:22", "debian", "12", "Debian 12", "amd64", "6.1"),
    cpus=2,
    memory_bytes=4 << 30,
    memory_available_bytes=3 << 30,
    store_free_bytes=10 << 30,
    python="3.11.2",
    docker_version="26.1",
    docker_store="overlay2",
    docker_free_bytes=10 << 30,
    libvirt_version="11.3",
    qemu_version="10.0",
)
IMAGE = ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), cmd=("x",))


def rules(facts: Facts, form: Form = Form.IMAGE, **service: object) -> set[str]:
    app = App("a", (Service("a", **service),), "compose.yaml")  # type: ignore[arg-type]
    found = compat.check(apps.resolve(app, IMAGE), IMAGE, facts, form)
    for finding in found:
        assert finding.message
        assert finding.severity is not Severity.ERROR or finding.remedy
    return {f"{finding.severity}:{finding.rule}" for finding in found}


def test_all_is_well() -> None:
    assert rules(FACTS) == set()
    assert compat.verdict((), FACTS, Form.IMAGE) is Verdict.NATIVE
    assert compat.verdict((), FACTS, Form.DISK) is Verdict.EMULATED
    assert compat.verdict((), replace(FACTS, accelerator="kvm"), Form.DISK) is Verdict.NATIVE


def test_each_rule() -> None:
    assert rules(replace(FACTS, architecture="arm64")) == {"error:architecture"}
    assert rules(replace(FACTS, docker_version=None)) == {"error:engine"}
    no_vm = replace(FACTS, libvirt_version=None, accelerator="kvm")
    assert rules(no_vm, Form.DISK) == {"error:engine"}
    assert rules(no_vm) == set()
    assert rules(FACTS, mem_limit_bytes=8 << 30) == {"warning:memory"}
    assert rules(FACTS, privileged=True) == {"warning:privileged"}


def test_a_port_is_taken_where_it_would_be_bound() -> None:
    taken = replace(FACTS, listening=(("127.0.0.1", 80), ("10.0.0.5", 81), ("::", 82)))
    assert rules(taken, ports=(Port(80),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(9, 81, "tcp", "10.0.0.6"),)) == set()
    assert rules(taken, ports=(Port(9, 81, "tcp", "10.0.0.5"),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(9, 82, "tcp", "10.0.0.6"),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(80, 80, "udp"),)) == set()
    assert rules(taken, ports=(Port(9, 81, "tcp", "0.0.0.0"),)) == {"error:port-free"}


def test_ports_of_several_apps() -> None:
    ports = {"a": [Port(80, 8080)], "b": [Port(1, 8080), Port(2, 8081)], "c": [Port(3, 8081)]}
    found = compat.clashes(ports)
    assert {name: len(rows) for name, rows in found.items()} == {"a": 1, "b": 2, "c": 1}
    assert found["a"][0] == found["b"][0]
    assert "8080 is published by a and by b" in found["a"][0].message
    assert compat.clashes({"a": ports["a"], "c": ports["c"]}) == {"a": (), "c": ()}


GIB = 1 << 30


def one_disk(free: int) -> Facts:
    return replace(FACTS, store_free_bytes=free, docker_free_bytes=free)


def brought(form: Form, stored: int, **blobs: int) -> tuple[Artifact, tuple[Blob, ...]]:
    """An Artifact all of whose blobs (name: size in GiB) are missing on the target."""
    rows = tuple(Blob(name, size * GIB) for name, size in blobs.items())
    image = replace(IMAGE, diff_ids=tuple(blobs))
    return Artifact(form, "x", image, rows, stored * GIB, stored * GIB), rows


def test_space_for_an_image_in_the_store_and_twice_in_the_engine() -> None:
    image = brought(Form.IMAGE, 3, a=2, b=1)
    (found,) = compat.space(one_disk(9 * GIB - 1), [image])
    assert (found.rule, found.severity) == ("space", Severity.ERROR)
    assert str(9 * GIB) in found.message
    assert str(9 * GIB - 1) in found.evidence
    assert compat.space(one_disk(9 * GIB), [image]) == ()
    assert compat.space(FACTS, []) == ()


def test_space_on_two_file_systems() -> None:
    image, disk = brought(Form.IMAGE, 3, a=3), brought(Form.DISK, 1, k=1, d=50)
    apart = replace(FACTS, store_free_bytes=5 * GIB, docker_free_bytes=6 * GIB)
    assert compat.space(apart, [image, disk]) == (), "a disk's holes take no room"
    (found,) = compat.space(apart, [image, disk], more=1)
    assert "the Store" in found.evidence
    assert compat.space(replace(apart, docker_free_bytes=6 * GIB - 1), [image, disk])
    assert compat.space(replace(apart, docker_free_bytes=None), [disk]) == ()


def test_space_counts_what_is_common_once() -> None:
    first, second = brought(Form.IMAGE, 3, base=2, a=1), brought(Form.IMAGE, 3, base=2, b=1)
    apart = replace(FACTS, store_free_bytes=4 * GIB, docker_free_bytes=7 * GIB)
    assert compat.space(apart, [first, second]) == (), "4 stay, and 3 while the first is loaded"
    assert compat.space(replace(apart, docker_free_bytes=7 * GIB - 1), [first, second])
    assert compat.space(replace(apart, store_free_bytes=4 * GIB - 1), [first, second])
    assert compat.space(replace(apart, docker_store="containerd"), [first, second])
