"""Compatibility: each rule says what it found, and the verdict follows."""

from dataclasses import replace

from portkit import app as apps
from portkit import compat
from portkit.model import App, Facts, Form, ImageConfig, Port, Service, Severity, Verdict

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


def rules(facts: Facts, form: Form = Form.IMAGE, need: int = 0, **service: object) -> set[str]:
    app = App("a", (Service("a", **service),), "compose.yaml")  # type: ignore[arg-type]
    found = compat.check(apps.resolve(app, IMAGE), IMAGE, facts, form, need_bytes=need)
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
    assert rules(FACTS, need=6 << 30) == {"error:space"}, "in the Store and in the engine"
    assert rules(FACTS, mem_limit_bytes=8 << 30) == {"warning:memory"}
    assert rules(FACTS, privileged=True) == {"warning:privileged"}


def test_a_port_is_taken_where_it_would_be_bound() -> None:
    taken = replace(FACTS, listening=(("127.0.0.1", 80), ("10.0.0.5", 81), ("::", 82)))
    assert rules(taken, ports=(Port(80),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(9, 81, "tcp", "10.0.0.6"),)) == set()
    assert rules(taken, ports=(Port(9, 81, "tcp", "10.0.0.5"),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(9, 82, "tcp", "10.0.0.6"),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(80, 80, "udp"),)) == set()
