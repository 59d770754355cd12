"""What several services of one App are to each other in their VM: addresses, names, order. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from portkit.errors import AppError
from portkit.model import AppSpec, RunSpec
from portkit.model.run import SHARED

# QEMU's user-mode network is 10.0.2.0/24: .2 is the host, .3 its name server, .15 the guest.
_NETWORK = "10.0.2."
GUEST_ADDRESS = _NETWORK + "15"
NAME_SERVER = _NETWORK + "3"
_FIRST, _LAST = 16, 254


@dataclass(frozen=True)
class Place:
    """Where a service is in the VM's network. mode: as src/init.h's `enum network`. number: the
    last byte of its address, or the number of the service whose network it shares. address: where
    its ports are; "" for one without a network."""

    mode: int
    number: int
    address: str


_GUEST, _OWN, _NONE, _OTHER = range(4)


def places(app: AppSpec) -> tuple[Place, ...]:
    """The place of each service, in their order. AppError when the VM has too few addresses."""
    if len(app.services) > _LAST - _FIRST + 1:
        raise AppError(
            "the App has too many services for one VM",
            details=f"{len(app.services)}, at most {_LAST - _FIRST + 1}",
            resolution="Move the image instead (--form image), or split the App.",
        )
    numbers = {service.service: number for number, service in enumerate(app.services)}
    return tuple(_place(service, numbers) for service in app.services)


def _place(service: RunSpec, numbers: Mapping[str, int]) -> Place:
    mode = service.network_mode
    if mode == "none":
        return Place(_NONE, 0, "")
    if mode == "host":
        return Place(_GUEST, 0, GUEST_ADDRESS)
    if service.shares_network:
        other = numbers[mode.removeprefix(SHARED)]
        return Place(_OTHER, other, f"{_NETWORK}{_FIRST + other}")
    last = _FIRST + numbers[service.service]
    return Place(_OWN, last, f"{_NETWORK}{last}")


def hosts(app: AppSpec, service: RunSpec) -> str:
    """What is in its /etc/hosts beside localhost: its own name, those of the services that share a
    network with it, and what the App adds."""
    where = dict(zip((each.service for each in app.services), places(app), strict=True))
    own = where[service.service].address or "127.0.0.1"
    # The first line with a name counts, and the engine writes what the App adds before its own.
    lines = [f"{_given(address)}\t{name}" for name, address in service.extra_hosts]
    lines.append(_line(own, [service.hostname, *_names(service, service)]))
    for other in app.services:
        address, names = where[other.service].address, list(_names(service, other))
        if address and names and other is not service:
            lines.append(_line(address, names))
    return "".join(f"{line}\n" for line in lines)


def _line(address: str, names: Sequence[str]) -> str:
    return f"{address}\t{' '.join(dict.fromkeys(names))}"


def _names(service: RunSpec, other: RunSpec) -> Iterator[str]:
    """By which names `service` knows `other`: as the engine's name server answers on the networks
    that both are in."""
    mine = {each.network for each in service.networks}
    shared = [each for each in other.networks if each.network in mine]
    if shared or (not service.networks and not other.networks):
        yield other.service
        if other.container_name:
            yield other.container_name
        for each in shared:
            yield from each.aliases
        if not other.shares_network:
            yield other.hostname  # as Docker from 25 on
    for name, alias in service.links:
        if name == other.service:
            yield alias


def _given(address: str) -> str:
    """An address of `extra_hosts`; the host of the VM is where Docker's host-gateway is."""
    return _NETWORK + "2" if address == "host-gateway" else str(ipaddress.ip_address(address))


def resolver(service: RunSpec) -> str:
    """Its /etc/resolv.conf; "" for the usual one."""
    if not (service.dns or service.dns_search or service.dns_opt):
        return ""
    lines = [f"nameserver {each}" for each in service.dns or (NAME_SERVER,)]
    if service.dns_search:
        lines.append("search " + " ".join(service.dns_search))
    if service.dns_opt:
        lines.append("options " + " ".join(service.dns_opt))
    return "".join(f"{line}\n" for line in lines)
