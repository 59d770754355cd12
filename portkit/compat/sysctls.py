"""The settings of a kernel that the compose file asks for (`sysctls`): whether a container may have
them on the host, and whether the guest's kernel has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from portkit.architecture import AMD64
from portkit.compat import guest
from portkit.compat.kernel_values import number, refused
from portkit.compat.own import INTERFACE, OF_IPC, is_of_the_host
from portkit.compat.rule import (
    Case,
    Found,
    UnknownFact,
    engine_name,
    engine_of,
    linux_of,
    one_by_one,
)
from portkit.compat.versions import version
from portkit.model import Severity

_EVERY = ("all", "default", "lo")
_ETHERNET = re.compile(r"eth([0-9]{1,3})")
_BY_ENDPOINT = (28,)  # the Docker that takes those of an interface as an option of a network alone
_CONGESTION = "net.ipv4.tcp_congestion_control"
_ALLOWED = "net.ipv4.tcp_allowed_congestion_control"
_OF_THE_GUEST = ("reno", "cubic")  # what both kernels have without a module
_RANGE = "net.ipv4.ip_local_port_range"
_LOW = 1024
_KUBERNETES = "kubernetes"
# Kubernetes, tasks/administer-cluster/sysctl-cluster: safe sysctls, the last six from 1.29 and 1.32
# on.
_SAFE_IN_A_POD = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)


def of_a_container(case: Case) -> Iterator[Found]:
    """An engine sets only kernel parameters that a container has for itself, and the kernel takes
    only values of the right form and size: else the container does not start."""
    yield from one_by_one(case.spec.sysctls.items(), partial(_in_a_container, case))


def _in_a_container(case: Case, setting: tuple[str, str]) -> Iterator[Found]:
    name, value = setting
    asked = f"sysctls: {name}={value}"
    if case.facts.os_id == _KUBERNETES and name not in _SAFE_IN_A_POD:
        yield Found(
            f"a kubelet refuses a pod that sets {name}, unless it was told to allow that",
            (asked,),
            f"Allow it on the nodes: --allowed-unsafe-sysctls={name}. Or remove it.",
            Severity.UNKNOWN,
        )
    kept = (*_of_the_host(case, name, asked), *_of_an_interface(case, name, asked))
    yield from kept
    if not kept:
        yield from _valued(case, name, value)


def _of_the_host(case: Case, name: str, asked: str) -> Iterator[Found]:
    """What a container does not have for itself."""
    linux = linux_of(case.facts)
    on_host = f"set it on the host: sysctl -w {asked.removeprefix('sysctls: ')}."
    if name == "kernel.domainname" and not case.spec.domainname:
        return  # it is that of the UTS namespace
    if not name.startswith("net.") and not OF_IPC.fullmatch(name):
        yield Found(
            f"{name} belongs to the host as a whole, and no engine sets it for a container",
            (asked, f"{case.facts.host}: {linux.sysctls.get(name) or 'not read'}"),
            f"Remove it from the compose file and {on_host} Or move the disk, which has a kernel "
            "of its own.",
        )
    elif name.startswith("net.") and case.spec.network_mode == "host":
        yield Found(
            f"{name} cannot be set for a service that uses the host's network",
            (asked, "network_mode: host"),
            "Set it on the host, or give the service a network of its own.",
        )
    elif not name.startswith("net.") and case.spec.ipc == "host":
        yield Found(
            f"{name} cannot be set for a service that uses the host's shared memory and queues",
            (asked, "ipc: host"),
            "Set it on the host, or remove ipc: host.",
        )
    elif name.startswith("net.") and is_of_the_host(name, linux.net_sysctls):
        yield Found(
            f"a container cannot set {name}: only the host as a whole has it, or no module that "
            "has it is loaded there",
            (asked, f"{case.facts.host}: /proc/sys/net"),
            f"Remove it from the compose file; if the app needs it, {on_host}",
        )


def _of_an_interface(case: Case, name: str, asked: str) -> Iterator[Found]:
    """What belongs to one interface: a container has lo, and eth0 with its first network."""
    match = INTERFACE.match(name)
    if match is None or match[2] in _EVERY or case.spec.network_mode == "host":
        return
    remedy = f"Set it for all interfaces: {match[1]}.all or {match[1]}.default."
    ethernet = _ETHERNET.fullmatch(match[2])
    shared = case.spec.shares_network
    count = 0 if case.spec.network_mode == "none" else max(len(case.spec.networks), 1)
    if not shared and (ethernet is None or int(ethernet[1]) >= count):
        yield Found(
            f"the container has no interface {match[2]}",
            (asked, f"its networks: {count}"),
            remedy,
        )
    elif not engine_of(case.facts).podman and version(case.facts.docker_version) >= _BY_ENDPOINT:
        yield Found(
            f"{engine_name(case.facts)} takes {name} only as an option of the network "
            "(com.docker.network.endpoint.sysctls)",
            (asked,),
            remedy,
        )


def _valued(case: Case, name: str, value: str) -> Iterator[Found]:
    """Whether the kernel takes the value from a container."""
    asked = f"sysctls: {name}={value}"
    if why := refused(name, value):
        yield Found(f"the kernel refuses {name}={value[:80]}: {why}", (asked,))
    elif name == _CONGESTION:
        allowed = linux_of(case.facts).sysctls.get(_ALLOWED)
        if allowed is None:
            raise UnknownFact(_ALLOWED)
        if value.strip() not in allowed.split():
            yield Found(
                f"a container on the host cannot have the congestion control {value[:40]}",
                (asked, f"{case.facts.host}: {_ALLOWED} = {allowed}"),
                f"Choose one of these: {allowed}. Or on the host: "
                f'sysctl -w {_ALLOWED}="{allowed} {value.strip()[:40]}".',
            )
    elif name == _RANGE and value.split() and number(value.split()[0]) < _LOW:
        # It must not begin below ip_unprivileged_port_start, which engines set to 0 in the same
        # list, in an order that nobody knows (moby, daemon/oci_linux.go; a map of Go).
        yield Found(
            f"the engine may set {name} before it allows ports below {_LOW}: then the kernel "
            "refuses it",
            (asked,),
            f"Begin at {_LOW} or above.",
            Severity.UNKNOWN,
        )


def of_a_guest(case: Case) -> Iterator[Found]:
    """The guest's init writes these into its own kernel, which has to have them and to take their
    values: else the service does not start."""
    yield from one_by_one(case.spec.sysctls.items(), partial(_in_a_guest, case))


def _in_a_guest(case: Case, setting: tuple[str, str]) -> Iterator[Found]:
    name, value = setting
    asked = f"sysctls: {name}={value}"
    found = guest.setting(name)
    mark = found[0] if found else None
    if mark == "?" or (mark is None and case.image.architecture != AMD64.name):
        raise UnknownFact(f"whether the guest's kernel has {name}")
    if mark is None:
        yield Found(f"the guest's kernel has no {name}, or no module that has it", (asked,))
    elif mark == "!" and case.app.several:
        yield Found(
            f"a service cannot set {name} in a VM of several services: each has a network of "
            "its own, and only the VM as a whole has it",
            (asked,),
        )
    elif why := refused(name, value) or _congestion(name, value):
        yield Found(f"the guest's kernel refuses {name}={value[:80]}: {why}", (asked,))


def _congestion(name: str, value: str) -> str:
    known = name != _CONGESTION or value.strip() in _OF_THE_GUEST
    return "" if known else f"it has {' and '.join(_OF_THE_GUEST)}"
