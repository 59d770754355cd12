"""The limits of a service that an engine checks before it makes a container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from portkit.compat.networks import made
from portkit.compat.rule import Case, Found, UnknownFact, engine_name, engine_of, linux_of
from portkit.compat.versions import version
from portkit.model import CAPABILITIES, Form, Severity

# Limits that a process without CAP_SYS_RESOURCE cannot raise above its own, which are low on most
# systems: 8 MiB, and nothing (Linux, include/uapi/linux/resource.h).
_LOW = {"memlock": 8 << 20, "rtprio": 0, "nice": 0}
# libvirt 9.0 refuses more ("require extended interrupt mode"), 11.3 does not: between them nobody
# has looked.
_WITHOUT_EIM, _SOME_CPUS, _ALL_CPUS = 255, (9, 1), (11, 3)
# Emulated processors for one of the host's: 32 took 330 s until the first answer, 8 took 33 s.
_SLOW = 32
_SPAN = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
# Docker 23 and newer start the program of such a name, or path, where the host has it.
_SHIMS = ("io.containerd.", "/")
_RAISES = CAPABILITIES.index("CAP_SYS_RESOURCE")
_BY_LOG = ("journald", "syslog")  # log drivers that write to this socket of the host
_LOG = "/dev/log"
_ASKED = {"gelf": "gelf-address", "splunk": "splunk-url"}  # options without which they do not start


def processors(case: Case) -> Iterator[Found]:
    """Docker creates no container that is to have more processors than its host. A VM may have
    more, as far as QEMU allows it, which then share those of the host."""
    if case.form is Form.DISK:
        yield from _of_the_vm(case)
        return
    has, asked = case.facts.cpus, case.spec.cpus or 0
    if asked > has and not engine_of(case.facts).podman:
        yield Found(
            f"the service asks for {asked:g} processors, and the host has {has}",
            (f"cpus: {asked:g}", f"{case.facts.host}: {has} processors"),
        )


def _of_the_vm(case: Case) -> Iterator[Found]:
    has, asked, most = case.facts.cpus, case.app.machine.cpus, case.facts.guests.max_cpus
    evidence = (f"cpus: {asked}", f"{case.facts.host}: {has} processors")
    if most and asked > most:
        yield Found(
            f"the VM is to have {asked} processors, and QEMU on the host gives at most {most}",
            (f"cpus: {asked}", f"{case.facts.host}: libvirt's vcpu max is {most}"),
        )
    elif asked > _WITHOUT_EIM and (release := version(case.facts.libvirt_version)) < _ALL_CPUS:
        yield Found(
            f"libvirt {case.facts.libvirt_version} gives a VM at most {_WITHOUT_EIM} processors "
            f"without an IOMMU, and it is to have {asked}",
            (f"cpus: {asked}",),
            severity=None if release < _SOME_CPUS else Severity.UNKNOWN,
        )
    elif asked > has * _SLOW and case.facts.accelerator != "kvm":
        yield Found(
            f"the VM is to have {asked} processors, which {has} of the host would emulate: it may "
            "not be up in ten minutes",
            evidence,
            severity=Severity.UNKNOWN,
        )
    elif asked > has:
        yield Found(
            f"the VM is to have {asked} processors, and the host has {has}",
            evidence,
            severity=Severity.WARNING,
        )


def cpuset(case: Case) -> Iterator[Found]:
    """A service may be told which of the host's processors it may use; no engine starts it where
    the host does not have one of them."""
    asked = case.spec.cpuset
    if not asked:
        return
    wanted, told = _numbers(asked), linux_of(case.facts).processors
    if wanted is None:
        yield Found(
            f"{asked[:80]!a} is not a list of processors",
            (f"cpuset: {asked[:80]}",),
            "Write it in the compose file like 0-3,8.",
        )
        return
    if not told:
        raise UnknownFact("which processors it has")
    if absent := sorted(wanted - (_numbers(told) or set())):
        yield Found(
            f"the host does not have the processors {', '.join(map(str, absent[:20]))}",
            (f"cpuset: {asked}", f"{case.facts.host}: {told}"),
        )


def _numbers(text: str) -> set[int] | None:
    """0-3,8 as numbers; None where it is none (cpuset(7), list format)."""
    found: set[int] = set()
    for part in text.split(","):
        match = _SPAN.fullmatch(part)
        if match is None or (first := int(match[1])) > (last := int(match[2] or match[1])):
            return None
        found |= set(range(first, last + 1))
    return found


def runtime(case: Case) -> Iterator[Found]:
    """Another runtime than the engine's own (runsc, nvidia) must be set up in the engine. Podman
    does not read which one a client of Docker's API asks for."""
    asked, engine = case.spec.runtime, engine_of(case.facts)
    if not asked or asked in (engine.runtimes or ()):
        return
    if engine.podman:
        own = ", ".join(engine.runtimes or ()) or "its default"
        yield Found(
            f"Podman starts the service with its own runtime, and not with {asked[:80]}",
            (f"runtime: {asked[:80]}", f"{case.facts.host}: {own}"),
            "Remove runtime from the compose file, or use a host with Docker that has it.",
            Severity.WARNING,
        )
        return
    if engine.runtimes is None or asked.startswith(_SHIMS):
        raise UnknownFact(f"whether its engine has the runtime {asked[:80]}")
    yield Found(
        f"{engine_name(case.facts)} has no runtime {asked[:80]}",
        (f"runtime: {asked[:80]}", f"{case.facts.host}: {', '.join(engine.runtimes)}"),
    )


def storage(case: Case) -> Iterator[Found]:
    """overlay2 has one option for a container, its size, and only on XFS with project quotas. The
    containerd image store takes options and does nothing for them."""
    asked = case.spec.storage_opt
    if not asked:
        return
    store = case.facts.docker_store
    told = tuple(f"storage_opt: {key}={value}" for key, value in asked.items())
    engine = engine_of(case.facts)
    if store == "containerd":
        yield Found("the engine's image store ignores storage_opt", told, severity=Severity.WARNING)
    elif store != "overlay2" or not engine.backing:
        raise UnknownFact("what its engine's storage driver does for storage_opt")
    elif strange := sorted(set(asked) - {"size"}):
        yield Found(f"overlay2 has no storage option {', '.join(strange)[:80]}", told)
    elif engine.backing != "xfs":
        yield Found(
            "overlay2 limits the size of a container only on XFS with project quotas, and the "
            f"engine's folder is on {engine.backing}",
            (*told, f"{case.facts.host}: Backing Filesystem {engine.backing}"),
        )
    else:
        raise UnknownFact("whether the engine's XFS is mounted with pquota")


def memory(case: Case) -> Iterator[Found]:
    """Limits of memory that contradict each other: Docker creates no such container."""
    spec = case.spec
    most = spec.mem_limit_bytes or 0
    least, both = spec.mem_reservation_bytes or 0, spec.memswap_bytes or 0
    if most and least > most:
        yield Found(
            f"the service reserves {least} bytes of memory, which is more than its limit of {most}",
            (f"mem_reservation: {least}", f"mem_limit: {most}"),
        )
    if both > 0 and both < most:
        yield Found(
            f"the limit of memory and swap together, {both} bytes, is below that of memory, {most}",
            (f"memswap_limit: {both}", f"mem_limit: {most}"),
        )
    elif both > 0 and not most:
        yield Found(
            "the service limits memory and swap together, and has no limit of memory",
            (f"memswap_limit: {both}",),
        )


def raised(case: Case) -> Iterator[Found]:
    """An engine whose host is itself a container may lack CAP_SYS_RESOURCE: it cannot raise limits
    above its own."""
    mask = linux_of(case.facts).cap_bounding
    if not mask or int(mask, 16) >> _RAISES & 1:
        return
    for name, limit in case.spec.ulimits.items():
        if name in _LOW and (limit.hard < 0 or limit.hard > _LOW[name]):
            yield Found(
                f"the engine may not be able to raise the limit {name}: the host lacks "
                "CAP_SYS_RESOURCE",
                (f"ulimits.{name}: {limit.hard}", f"{case.facts.host}: CapBnd {mask}"),
            )
    if case.spec.oom_score_adj < 0:
        yield Found(
            "the engine cannot lower the OOM score of the service: the host lacks CAP_SYS_RESOURCE",
            (f"oom_score_adj: {case.spec.oom_score_adj}", f"{case.facts.host}: CapBnd {mask}"),
            "Remove oom_score_adj, use a host that is not itself a container, or move the disk.",
            Severity.ERROR,
        )


def addresses(case: Case) -> Iterator[Found]:
    """A fixed address must be in a subnet of its network."""
    subnets = {each.name: [row.subnet for row in each.subnets] for each in case.app.networks}
    external = {each.name for each in case.app.networks if each.external}
    for place in case.spec.networks:
        for address in filter(None, (place.ipv4, place.ipv6)):
            own = [row for row in subnets.get(place.network, []) if row]
            inside = any(ip_address(address) in ip_network(row, strict=False) for row in own)
            if not inside and place.network not in external:
                yield Found(
                    f"{address} is in no subnet of the network {place.network}",
                    (f"networks.{place.network}: {', '.join(own) or 'no subnet'}",),
                )


def subnets(case: Case) -> Iterator[Found]:
    """An engine gives no addresses to a second network that the first one may have given."""
    for each in made(case):
        for subnet in (row.subnet for row in each.subnets if row.subnet):
            for name, other in case.facts.subnets:
                if name != each.engine_name and _overlap(subnet, other):
                    yield Found(
                        f"the subnet {subnet} of the network {each.name} overlaps with one that "
                        "the host's engine already uses",
                        (f"networks.{each.name}: {subnet}", f"{case.facts.host}: {name}, {other}"),
                    )


def _overlap(one: str, other: str) -> bool:
    try:
        mine, theirs = ip_network(one, strict=False), ip_network(other, strict=False)
    except ValueError:  # what an engine says is input
        return False
    if isinstance(mine, IPv4Network) and isinstance(theirs, IPv4Network):
        return mine.overlaps(theirs)
    return (
        isinstance(mine, IPv6Network) and isinstance(theirs, IPv6Network) and mine.overlaps(theirs)
    )


def logging(case: Case) -> Iterator[Found]:
    """The log drivers of journald and syslog write to a socket of the host, and others have to be
    told where to send the log."""
    wanted, told = _ASKED.get(case.spec.logging.driver), case.spec.logging.options
    if wanted and wanted not in told and not engine_of(case.facts).podman:
        yield Found(
            f"the log driver {case.spec.logging.driver} needs the option {wanted}",
            (f"logging.driver: {case.spec.logging.driver}",),
            f"Name it in the compose file (logging.options.{wanted}), or use another log driver.",
        )
    driver, there = case.spec.logging.driver, linux_of(case.facts).devices
    elsewhere = "syslog-address" in case.spec.logging.options
    if driver not in _BY_LOG or elsewhere or engine_of(case.facts).podman or there is None:
        return
    if _LOG not in there:
        yield Found(
            f"the log driver {driver} needs a system log, which does not run on the host",
            (f"logging.driver: {driver}", f"{case.facts.host}: {_LOG} is not there"),
        )
