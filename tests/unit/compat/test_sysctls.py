"""Settings of a kernel that a compose file asks for, as they were tried on Docker 20.10, 26.1 and
28.5 with Linux 6.18, and in guests with Linux 6.1 and 6.12."""

from dataclasses import replace
from typing import Any

import pytest

from portkit import app as apps
from portkit import compat
from portkit.compat.kernel_values import refused
from portkit.model import App, Attachment, Engine, Facts, Form, Linux, Network, Service
from tests.factories import FACTS, IMAGE

OWN = (
    "net.core.somaxconn",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
)


def host(docker: str = "26.1", engine: Engine | None = None, **linux: Any) -> Facts:
    linux = {"net_sysctls": OWN, **linux}
    own = engine or Engine(cgroup=1)
    return replace(FACTS, docker_version=docker, linux=Linux(**linux), engine=own)


def found(
    settings: dict[str, str],
    facts: Facts | None = None,
    form: Form = Form.IMAGE,
    *,
    several: bool = False,
    architecture: str = "amd64",
    **service: Any,
) -> list[str]:
    image = replace(IMAGE, architecture=architecture)
    services = [Service("a", sysctls=settings, **service)]
    services += [Service("b")] if several else []
    places = service.get("networks", ())
    networks = tuple(Network(each.network, each.network) for each in places)
    app = App("a", tuple(services), "compose.yaml", networks=networks)
    spec = apps.resolve_all(app, [image] * len(services))
    rows = compat.check(spec, {image.digest: image}, facts or host(), form)
    return [str(row.severity) for row in rows if row.rule in ("sysctl", "guest-sysctl")]


ERROR, UNKNOWN = ["error"], ["unknown"]


@pytest.mark.parametrize(
    ("name", "value", "starts"),
    [
        ("net.ipv4.ip_local_port_range", "5 1", False),
        ("net.ipv4.ip_local_port_range", "1024 65536", False),
        ("net.ipv4.ip_local_port_range", "1024 65000", True),
        ("net.ipv4.ip_local_port_range", "1024", True),
        ("net.core.somaxconn", "abc", False),
        ("net.core.somaxconn", "10,20", False),
        ("net.core.somaxconn", "-1", False),
        ("net.core.somaxconn", "4294967296", False),
        ("net.core.somaxconn", "0x10", True),
        ("net.core.somaxconn", "10 20", True),
        ("net.core.somaxconn", " 100 ", True),
        ("net.core.somaxconn", "", True),
        ("net.ipv4.tcp_fin_timeout", "5s", False),
        ("net.ipv4.tcp_syncookies", "7", True),
        ("net.ipv4.tcp_keepalive_time", "600", True),
        ("net.ipv4.tcp_keepalive_time", "99999999", False),
        ("net.ipv4.tcp_rmem", "4096 87380", True),
        ("net.ipv4.ip_unprivileged_port_start", "70000", False),
        ("kernel.shm_rmid_forced", "2", False),
        ("kernel.shmmax", "17179869184", True),
        ("kernel.shmmax", "99999999999999999999999", False),
        ("kernel.msgmax", "99999999999", False),
        ("kernel.msgmni", "40000", False),
        ("kernel.sem", "250 32000 100 128", True),
        ("fs.mqueue.msg_max", "0", False),
        ("fs.mqueue.msg_max", "100000", False),
        ("kernel.core_pattern", "/tmp/core.%p", True),
        ("vm.swappiness", "201", False),
        ("vm.max_map_count", "1e6", False),
    ],
)
def test_values_that_a_kernel_refuses(name: str, value: str, starts: bool) -> None:
    assert (refused(name, value) == "") is starts


def test_what_a_container_has_for_itself() -> None:
    assert found({"kernel.shmmax": "1"}) == found({"kernel.domainname": "x.org"}) == []
    for name in ("kernel.shm_next_id", "kernel.hostname", "fs.mqueue.nothing", "vm.swappiness"):
        assert found({name: "1"}) == ERROR, name
    assert found({"kernel.shmmax": "1"}, ipc="host") == ERROR
    assert found({"net.core.somaxconn": "1"}, network_mode="host") == ERROR
    assert found({"net.core.somaxconn": "5 x"}) == ERROR
    assert found({"net.core.somaxconn": "5"}) == []


def test_an_interface_that_the_container_has() -> None:
    def of(interface: str, docker: str = "26.1", **more: Any) -> list[str]:
        name = f"net.ipv4.conf.{interface}.rp_filter"
        return found({name: "1"}, host(docker, more.pop("engine", None)), **more)

    two = (Attachment("m"), Attachment("n"))
    assert of("all") == of("default", "28.5") == of("eth0") == of("eth1", networks=two) == []
    assert of("eth7") == of("eth1") == of("ens3") == of("eth0", "28.5") == ERROR
    assert of("eth0", network_mode="none") == ERROR
    assert of("eth0", "28.5", engine=Engine(name="Podman Engine")) == []


def test_congestion_controls_and_low_ports() -> None:
    allowed = host(sysctls={"net.ipv4.tcp_allowed_congestion_control": "reno bbr"})
    control = "net.ipv4.tcp_congestion_control"
    assert found({control: "bbr"}, allowed) == []
    assert found({control: "cubic"}, allowed) == ERROR
    assert found({control: "cubic"}) == UNKNOWN
    assert found({"net.ipv4.ip_local_port_range": "1 65535"}) == UNKNOWN
    assert found({"net.ipv4.ip_local_port_range": "01000 65535"}) == UNKNOWN


def test_the_guests_own_kernel() -> None:
    def guest(name: str, value: str = "1", **more: Any) -> list[str]:
        return found({name: value}, form=Form.DISK, **more)

    for name in ("vm.max_map_count", "net.core.rmem_max", "net.ipv4.conf.eth0.rp_filter"):
        assert guest(name, "65536") == [], name
    assert guest("net.netfilter.nf_conntrack_max") == ERROR, "no module is loaded that has it"
    assert guest("net.netfilter.nf_conntrack_max", architecture="arm64") == UNKNOWN
    assert guest("kernel.io_uring_disabled") == UNKNOWN, "Linux 6.1 does not have it, 6.12 has"
    assert guest("net.core.rmem_max", "65536", several=True) == ERROR
    assert guest("net.core.somaxconn", several=True) == []
    assert guest("vm.swappiness", "900") == guest("vm.swappiness", "a") == ERROR
    assert guest("net.ipv4.tcp_congestion_control", "reno") == []
    assert guest("net.ipv4.tcp_congestion_control", "bbr") == ERROR
    assert guest("net.ipv4.ip_local_port_range", "1 65535") == []
