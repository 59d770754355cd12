"""Published ports: they must be free on the host, possible for QEMU, and wanted by one App only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from portkit.compat.rule import Case, Found
from portkit.model import Facts, Port

_ANY = {"", "0.0.0.0", "::"}  # noqa: S104 - read from the host or an App


@dataclass(frozen=True)
class Pair:
    """Two Apps that go to one host, with what each of them publishes."""

    one: str
    ports: Sequence[Port]
    other: str
    other_ports: Sequence[Port]


def free(case: Case) -> Iterator[Found]:
    """Something on the host already listens on a port that the App publishes."""
    for address, number in taken(case.spec.ports, case.facts):
        listens = f"something listens on {address}:{number}"
        own = [row for row in case.instances if row.running and number in row.host_ports]
        yield Found(
            f"port {number} is already in use on the host",
            (
                listens,
                *(f"portkit's {row.app} publishes it: {row.id} ({row.form})" for row in own),
            ),
            " ".join(
                (
                    f"Publish another port, or remove that Instance: portkit rm {row.id} --on "
                    f"{row.host}"
                )
                for row in own[:1]
            ),
        )


def here(case: Case) -> Iterator[Found]:
    """The App publishes a port on an address that the host does not have."""
    if case.facts.addresses is None:
        return
    for port in case.spec.ports:
        if port.host_ip in _ANY or port.is_local:
            continue
        if str(ip_address(port.host_ip)) not in case.facts.addresses:
            yield Found(
                f"the host does not have the address {port.host_ip}, on which port "
                f"{port.host_port} is published",
                (f"{case.facts.host} has {', '.join(case.facts.addresses)[:300] or 'none'}",),
            )


def taken(ports: Sequence[Port], facts: Facts) -> Iterator[tuple[str, int]]:
    """The address and number of what listens where a port is to be published, one for each port."""
    for port in ports:
        for address, number in facts.listening_udp if port.protocol == "udp" else facts.listening:
            if number == port.host_port and _overlap(port.host_ip, address):
                yield address, number
                break


def low(case: Case) -> Iterator[Found]:
    """libvirt runs QEMU without root privileges, so it may only bind from a certain port on."""
    for port in case.spec.ports:
        start = case.facts.unprivileged_port_start
        if port.host_port < start:
            yield Found(
                f"QEMU runs unprivileged and cannot publish port {port.host_port}",
                (f"{case.facts.host}: ip_unprivileged_port_start is {start}",),
                f"Publish port {start} or higher, or run on the host: sysctl "
                f"net.ipv4.ip_unprivileged_port_start={port.host_port}",
            )


def ipv6(case: Case) -> Iterator[Found]:
    """QEMU's user-mode network (`hostfwd`) listens on IPv4 addresses only."""
    for port in case.spec.ports:
        if ":" in port.host_ip:
            yield Found(
                "user-mode networking publishes on IPv4 addresses only",
                (f"the App asks for {port.host_ip}",),
            )


def shared(pair: Pair) -> Iterator[Found]:
    """Two Apps for the same host publish the same port."""
    for mine in pair.ports:
        for theirs in pair.other_ports:
            if _clash(mine, theirs):
                yield Found(
                    f"port {mine.host_port} is published by both {pair.one} and {pair.other}",
                    (
                        f"{pair.one}: {mine.protocol} on {mine.host_ip or 'every address'}",
                        f"{pair.other}: {theirs.protocol} on {theirs.host_ip or 'every address'}",
                    ),
                )


def _clash(one: Port, other: Port) -> bool:
    same = (one.host_port, one.protocol) == (other.host_port, other.protocol)
    return same and _overlap(one.host_ip, other.host_ip)


def _overlap(one: str, other: str) -> bool:
    """Whether two addresses to listen on have one in common."""
    return one == other or not _ANY.isdisjoint((one, other))
