"""Networks that an App makes, against the engine that is to make them and the host's interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from portkit.compat.rule import Case, Found, UnknownFact, engine_name, engine_of, linux_of
from portkit.compat.stated import has_module
from portkit.model import Linux, Network, Severity

_ONLY_ONE = ("host", "none", "null")  # an engine has one network of each, which it made itself
_PARENTED = ("macvlan", "ipvlan")
_VLANS = range(1, 4095)


def driver(case: Case) -> Iterator[Found]:
    """An engine makes networks only with a driver that it has; overlay only as a manager of a
    swarm."""
    engine = engine_of(case.facts)
    for each in _made(case):
        told = (f"networks.{each.name}.driver: {each.driver}",)
        if each.driver in _ONLY_ONE:
            yield Found(
                f"an engine makes no network with the driver {each.driver}",
                told,
                f"Remove the network, and set network_mode: {each.driver} for the service.",
                Severity.ERROR,
            )
        elif engine.network_drivers is not None and each.driver not in engine.network_drivers:
            yield Found(
                f"{engine_name(case.facts)} has no network driver {each.driver}",
                (*told, f"{case.facts.host}: {', '.join(engine.network_drivers)}"),
                "Use the driver bridge, or install the plugin on the host.",
                Severity.ERROR,
            )
        elif each.driver == "overlay":
            yield Found(
                f"the network {each.name} has the driver overlay, which works only where the "
                "engine is a manager of a swarm",
                told,
                severity=Severity.ERROR if engine.swarm is False else None,
            )


def parent(case: Case) -> Iterator[Found]:
    """A network of the drivers macvlan and ipvlan stands on an interface of the host, or on a VLAN
    of one (eth0.10), and needs the kernel's driver of that name."""
    linux = linux_of(case.facts)
    for each in _made(case):
        if each.driver not in _PARENTED:
            continue
        name = each.driver_opts.get("parent", "")
        told = f"networks.{each.name}.driver_opts.parent: {name or 'none'}"
        if engine_of(case.facts).rootless:
            yield Found(
                f"the engine runs rootless and cannot use the host's interfaces ({each.driver})",
                (f"networks.{each.name}.driver: {each.driver}", f"{case.facts.host}: rootless"),
                "Use the driver bridge, or an engine with root privileges.",
            )
            continue
        if linux.interfaces is None:
            raise UnknownFact("its network interfaces")
        if has_module(linux, each.driver) is False:
            yield Found(
                f"the host's kernel has no {each.driver}",
                (f"networks.{each.name}.driver: {each.driver}", f"Linux {case.facts.kernel}"),
                "Use the driver bridge, or a host whose kernel has it.",
            )
        elif why := _lacks(each, name, linux, podman=engine_of(case.facts).podman):
            yield Found(
                f"the network {each.name} cannot be made: {why}",
                (told, f"{case.facts.host}: {', '.join(linux.interfaces)}"),
            )


def external(case: Case) -> Iterator[Found]:
    """A network that is not the App's alone is the one that the host has by that name; where there
    is none, it is made."""
    for each in case.app.joined(case.spec):
        if each.external and each.engine_name not in case.facts.networks:
            yield Found(
                f"the host has no network {each.engine_name}, which is not the App's alone: "
                "portkit creates it there, and the App is alone in it at first",
                (f"networks.{each.name}: {each.engine_name}",),
            )


def differs(case: Case) -> Iterator[Found]:
    """The network of the host that the App is to join must be like the one that it is in, and have
    its fixed addresses."""
    kinds = {name: (driver, internal) for name, driver, internal in case.facts.network_kinds}
    places = {place.network: place for place in case.spec.networks}
    for each in case.app.joined(case.spec):
        name = each.engine_name
        if not each.external or name not in kinds:
            continue
        driver, internal = kinds[name]
        if each.driver and (driver, internal) != (each.driver, each.internal):
            yield Found(
                f"the host's network {name} is of another kind",
                (
                    f"where the App runs: {_kind(each.driver, each.internal)}",
                    f"{case.facts.host}: {_kind(driver, internal)}",
                ),
            )
        subnets = [subnet for other, subnet in case.facts.subnets if other == name]
        for address in filter(None, (places[each.name].ipv4, places[each.name].ipv6)):
            if not any(_inside(address, subnet) for subnet in subnets):
                yield Found(
                    f"{address} is in no subnet of the host's network {name}",
                    (f"{case.facts.host}: {', '.join(subnets) or 'no subnet'}",),
                )


def outside(case: Case) -> Iterator[Found]:
    """A VM is in no network of the host's engine."""
    names = [each.engine_name for each in case.app.joined(case.spec) if each.external]
    if names:
        yield Found(
            "a VM cannot join a network of the host's engine: containers there reach the App only "
            "through its published ports",
            tuple(names),
        )


def made(case: Case) -> Iterator[Network]:
    """The networks that are made on the host for the service."""
    for each in case.app.joined(case.spec):
        if not each.external or each.engine_name not in case.facts.networks:
            yield each


def _kind(driver: str, internal: bool) -> str:
    return f"{driver}, internal" if internal else driver


def _inside(address: str, subnet: str) -> bool:
    try:
        return ip_address(address) in ip_network(subnet, strict=False)
    except ValueError:  # what an engine says is input
        return False


def _made(case: Case) -> Iterator[Network]:
    """Those of them with a driver that the file names."""
    yield from (each for each in made(case) if each.driver)


def _lacks(network: Network, name: str, linux: Linux, *, podman: bool) -> str:
    """Why no network can stand on this interface; "" where one can."""
    if not name:
        # Podman takes the interface of the default route, and Docker makes one that leads nowhere.
        absent = not podman and has_module(linux, "dummy") is False
        return "it names no parent, and the kernel has no interface dummy" if absent else ""
    if name == "lo":
        return f"{network.driver} does not work on lo"
    if name in (linux.interfaces or ()):
        return ""
    base, _, vlan = name.rpartition(".")
    if podman or base not in (linux.interfaces or ()) or not vlan.isdecimal():
        return f"the host has no interface {name}"
    if int(vlan) not in _VLANS:
        return f"{vlan} is no number of a VLAN: 1 to 4094"
    if has_module(linux, "8021q") is False:
        return f"{name} is a VLAN, and the kernel has none (802.1q)"
    return ""
