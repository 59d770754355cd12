"""The limits of a service that an engine checks before it makes a container."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from portkit.compat.rule import Case, Found, engine_of, linux_of
from portkit.model import CAPABILITIES, Form, Severity

# Limits that a process without CAP_SYS_RESOURCE cannot raise above its own, which are low on most
# systems: 8 MiB, and nothing (Linux, include/uapi/linux/resource.h).
_LOW = {"memlock": 8 << 20, "rtprio": 0, "nice": 0}
_RAISES = CAPABILITIES.index("CAP_SYS_RESOURCE")
_BY_LOG = ("journald", "syslog")  # log drivers that write to this socket of the host
_LOG = "/dev/log"
_ASKED = {"gelf": "gelf-address", "splunk": "splunk-url"}  # options without which they do not start


def processors(case: Case) -> Iterator[Found]:
    """Docker creates no container that is to have more processors than its host. A VM may have
    more, which then share those of the host."""
    has = case.facts.cpus
    if case.form is Form.DISK:
        asked: float = case.app.machine.cpus
    else:
        asked = 0 if engine_of(case.facts).podman else case.spec.cpus or 0
    if asked > has:
        whose = "the VM is to have" if case.form is Form.DISK else "the service asks for"
        yield Found(
            f"{whose} {asked:g} processors, and the host has {has}",
            (f"cpus: {asked:g}", f"{case.facts.host}: {has} processors"),
            severity=Severity.WARNING if case.form is Form.DISK else None,
        )


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
    for each in case.app.joined(case.spec):
        for subnet in (row.subnet for row in each.subnets if row.subnet and not each.external):
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


def swarm(case: Case) -> Iterator[Found]:
    """Only the manager of a swarm creates overlay networks."""
    for each in case.app.networks:
        if each.driver == "overlay" and not each.external:
            yield Found(
                f"the network {each.name} has the driver overlay, which works only where the "
                "engine is a manager of a swarm",
                (f"networks.{each.name}.driver: overlay",),
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
