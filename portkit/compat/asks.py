"""What the compose file asks of a kernel or an engine, against what the host gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from portkit.compat import guest
from portkit.compat.rule import Case, Found, UnknownFact, engine_of, linux_of, one_by_one
from portkit.compat.stated import value_in_guest
from portkit.compat.versions import version
from portkit.model import CAPABILITIES, Form, RunSpec, Severity, Sought

# What is looked for on every host: /dev two deep, without terminals and loops.
_SEEN = re.compile(r"/dev/(?!tty\w*$|vcs|loop\d|ram\d|pts|fd|shm|mqueue|std)[^/]+(/[^/]+)?")
_EVERYWHERE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_LOW = 1024
_NR_OPEN = 1 << 20  # what every kernel begins with
_LAST = len(CAPABILITIES) - 1


def devices(case: Case) -> Iterator[Found]:
    """A host's device that the file names must exist there. A VM has only the devices of a
    container that asks for none."""
    if case.form is Form.DISK:
        yield from guest.devices(case)
        return
    named = (*(each.source for each in case.spec.devices), *case.spec.stated.devices)
    yield from one_by_one(dict.fromkeys(named), partial(_device, case))


def _device(case: Case, path: str) -> Iterator[Found]:
    if not path.startswith("/"):
        yield Found(
            f"{path} names a device by CDI, and portkit gives devices by their path only",
            (f"devices: {path}",),
            "Name the device's file, such as /dev/dri/renderD128, or remove the device.",
        )
        return
    path, linux = path.rstrip("/"), linux_of(case.facts)
    there = (*_EVERYWHERE, *(linux.devices or ()))
    if any(each == path or each.startswith(path + "/") for each in there):
        return
    if linux.devices is None or not (path in linux.sought or _SEEN.fullmatch(path)):
        raise UnknownFact(f"whether it has {path}")
    yield Found(f"the host has no {path}", (f"the app asks for {path}", f"{case.facts.host}: /dev"))


def sought(services: Iterable[RunSpec]) -> Sought | None:
    """What a host has to be asked for by name before these services are judged; None is nothing."""
    sysctls: dict[str, None] = {}
    modules: dict[str, None] = {}
    paths: dict[str, None] = {}
    for each in services:
        sysctls |= dict.fromkeys((*each.stated.sysctls, *each.stated.sysctls_most))
        modules |= dict.fromkeys(each.stated.modules)
        paths |= dict.fromkeys((*each.stated.devices, *(row.source for row in each.devices)))
    if not (sysctls or modules or paths):
        return None
    return Sought(tuple(sysctls), tuple(modules), tuple(paths))


def ipv6(case: Case) -> Iterator[Found]:
    """The file asks for IPv6, which the host's kernel may not have. In a VM it works only inside
    the VM."""
    asked = [f"networks.{row.name}.enable_ipv6" for row in case.app.networks if row.enable_ipv6]
    asked += ["x-portkit.needs.ipv6"] if case.spec.stated.ipv6 else []
    if case.form is Form.DISK:  # `port-ipv6` has the ports
        if asked:
            yield Found(
                "in the VM, IPv6 works only inside it: its ports and networks have IPv4 addresses",
                tuple(asked),
                "Move the image instead if others must reach the app by IPv6.",
                Severity.WARNING,
            )
        return
    asked += [f"ports: {port.host_ip}" for port in case.spec.ports if ":" in port.host_ip]
    if not asked:
        return
    linux = linux_of(case.facts)
    if linux.ipv6 is None:
        raise UnknownFact("whether it has IPv6")
    if not linux.ipv6 or linux.number("net.ipv6.conf.all.disable_ipv6") == 1:
        yield Found("the host has no IPv6, or IPv6 is switched off", tuple(asked))


def shared_memory(case: Case) -> Iterator[Found]:
    """Shared memory is memory: there is never more than the machine has."""
    asked = case.spec.shm_bytes or 0
    if not asked:
        return
    disk = case.form is Form.DISK
    has = case.app.machine.memory_bytes if disk else case.facts.memory_bytes
    if asked > has:
        whose = "the VM" if disk else "the host"
        yield Found(
            f"the app asks for {asked} bytes of shared memory, and {whose} has {has} bytes of "
            "memory",
            (f"shm_size: {asked}",),
        )


def open_files(case: Case) -> Iterator[Found]:
    """No limit of open files can be above fs.nr_open: the container, or the service in the VM,
    would not start."""
    limit = case.spec.ulimits.get("nofile")
    if limit is None or 0 <= limit.hard <= _LOW:
        return
    disk = case.form is Form.DISK
    name = "fs.nr_open"
    has = value_in_guest(case, name) if disk else linux_of(case.facts).number(name)
    if has is None and limit.hard > _NR_OPEN:
        raise UnknownFact(name)
    # No kernel allows as many as there can be (kernel/sys.c, do_prlimit).
    if limit.hard < 0 or (has is not None and limit.hard > has):
        asked = "without a limit" if limit.hard < 0 else str(limit.hard)
        most = f"allows {has}" if has is not None else "has a limit"
        where = "the VM" if disk else case.facts.host
        yield Found(
            f"the app asks for {asked} open files, and the {'VM' if disk else 'host'}'s kernel "
            f"{most}",
            (f"ulimits.nofile: {limit.hard}", f"{where}: fs.nr_open = {has or 'not known'}"),
            "Set a lower ulimits.nofile, or in the compose file: sysctls: {fs.nr_open: N}."
            if disk
            else "",
        )


def low_port(case: Case) -> Iterator[Found]:
    """An unprivileged user listens below 1024: engines since 20.10 allow it, except in the host's
    network."""
    ports = [port.target for port in case.spec.ports if port.target < _LOW]
    user = case.spec.user.partition(":")[0]
    if not ports or case.spec.is_root or case.form is Form.DISK:
        return
    if "CAP_NET_BIND_SERVICE" in case.spec.capabilities and case.spec.privileged:
        return
    engine = version(case.facts.docker_version)
    host_network = case.spec.network_mode == "host"
    start = case.facts.unprivileged_port_start if host_network else _LOW
    old = bool(engine) and engine < (20, 10) and not engine_of(case.facts).podman
    if (host_network or old) and min(ports) < start:
        yield Found(
            f"user {user} may not listen on port {min(ports)}",
            (f"user: {user}", f"ports below {start} need privileges on the host"),
        )


def capabilities(case: Case) -> Iterator[Found]:
    """A host that is itself a container may lack capabilities, and cannot grant them: runc does not
    start a container that asks for one by name, and crun starts it without."""
    mask = linux_of(case.facts).cap_bounding
    if not mask:
        return
    bits = int(mask, 16)
    asked = CAPABILITIES if case.spec.privileged else case.spec.capabilities
    absent = [name for name in asked if not bits >> CAPABILITIES.index(name) & 1]
    # Capabilities that a newer kernel has are not asked for by `privileged`.
    absent = [name for name in absent if not case.spec.privileged or bits >> _LAST & 1]
    if absent:
        yield Found(
            f"the host cannot give {', '.join(absent)}",
            (f"{case.facts.host}: CapBnd {mask}",),
            # Some engines then give the others, and some do not start it.
            severity=Severity.UNKNOWN if case.spec.privileged else _by_name(case),
        )


def _by_name(case: Case) -> Severity | None:
    """crun starts a container without what the host cannot give; runc does not start it."""
    return Severity.WARNING if engine_of(case.facts).runtimes == ("crun",) else None


def rootless(case: Case) -> Iterator[Found]:
    """An engine without root privileges cannot publish a port below ip_unprivileged_port_start."""
    if not engine_of(case.facts).rootless:  # else the rest need not be known
        return
    for port in case.spec.ports:
        if port.host_port >= _LOW:
            continue
        start = case.facts.unprivileged_port_start
        if port.host_port < start:
            yield Found(
                f"the engine runs rootless and cannot publish port {port.host_port}",
                (f"{case.facts.host}: rootless, ip_unprivileged_port_start is {start}",),
                f"Publish {start} or more, or on the host: "
                f"sysctl net.ipv4.ip_unprivileged_port_start={port.host_port}",
            )
