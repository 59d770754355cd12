"""The networks, ports and shared namespaces of a container, in compose's words. Pure."""

from __future__ import annotations

from collections.abc import Collection

from portkit.engines.described.answers import CONTAINER, Binding, Container, Place
from portkit.engines.described.reading import Reading
from portkit.model import Severity


def networking(reading: Reading) -> dict[str, object]:
    """Networks and names, ports, and what is shared with another container."""
    host = reading.container.HostConfig
    mode = host.NetworkMode
    found: dict[str, object] = {
        "ports": _ports(reading),
        "expose": _exposed(reading),
        "extra_hosts": [_extra_host(row) for row in host.ExtraHosts],
        "links": _all_links(reading),
        "pid": _shared(reading, "PidMode", host.PidMode),
        "ipc": _shared(reading, "IpcMode", "" if host.IpcMode == "private" else host.IpcMode),
    }
    if mode in ("none", "host") or mode.startswith(CONTAINER):
        return {**found, "network_mode": _shared(reading, "NetworkMode", mode)}
    joined, named = reading.container.NetworkSettings.Networks, reading.container.networks
    if not named:
        return {**found, "network_mode": "bridge"}
    if "bridge" in joined:
        reading.lost("Networks.bridge", "that it is also connected to the engine's default bridge")
    places = {
        reading.networks.get(name, name): _place(reading, name, joined[name]) or None
        for name in named
    }
    # Compose puts a service into `default` without being told.
    return found if places == {"default": None} else {**found, "networks": places}


def _extra_host(row: str) -> str:
    name, _, address = row.partition(":")
    return f"{name}={address}"


def _place(reading: Reading, name: str, place: Place) -> dict[str, object]:
    container = reading.container
    given = {container.name, container.service, container.Id[:12], container.Config.Hostname}
    chosen = dict(place.IPAMConfig)
    told = {
        "aliases": [each for each in dict.fromkeys(place.Aliases) if each not in given],
        "ipv4_address": chosen.pop("IPv4Address", None),
        "ipv6_address": chosen.pop("IPv6Address", None),
        "link_local_ips": chosen.pop("LinkLocalIPs", None),
        "driver_opts": place.DriverOpts,
        "gw_priority": place.GwPriority or None,
    }
    for key in sorted(key for key, value in chosen.items() if value):
        reading.lost(f"Networks.{name}.IPAMConfig.{key}", f"{key[:80]} of its place in {name}")
    return {key: value for key, value in told.items() if value}


def _all_links(reading: Reading) -> list[str]:
    """Links of the engine's own bridge, and those within networks."""
    places = reading.container.NetworkSettings.Networks.values()
    rows = [*reading.container.HostConfig.Links, *(row for each in places for row in each.Links)]
    found: dict[str, None] = {}
    for row in rows:
        other, _, alias = row.partition(":")
        other, alias = other.lstrip("/"), alias.rpartition("/")[2]
        service = reading.services.get(other)
        if service is None:
            reading.lost("Links", f"the link to {other[:80]}, which is not in the file")
        # Compose itself adds the names of the service's container.
        elif alias not in (other, f"{service}-1", f"{service}_1"):
            found[f"{service}:{alias or service}"] = None
    return list(found)


def _shared(reading: Reading, place: str, mode: str) -> str:
    """A mode; of another container's it is that of its service, or of a container by its name."""
    if not mode.startswith(CONTAINER):
        return mode
    other = mode.removeprefix(CONTAINER)
    service = reading.services.get(other)
    if service is not None:
        return f"service:{service}"
    name = reading.others.get(other, other)
    what = f"it shares this with the container {name[:80]}, which must exist"
    reading.lost(f"HostConfig.{place}", what)
    return f"{CONTAINER}{name}"


def _ports(reading: Reading) -> list[str]:
    """As they were asked for. Of a port that the engine chooses, its number now is a finding: the
    engine of another host chooses its own."""
    host = reading.container.HostConfig
    bound = reading.container.NetworkSettings.Ports
    keys = {**host.PortBindings, **dict.fromkeys(_published_all(reading.container))}
    rows: list[str] = []
    for key in sorted(keys, key=_number):
        asked = host.PortBindings.get(key) or [Binding()]
        rows += [_port(key, each) for each in asked]
        if any(each.HostPort in ("", "0") for each in asked):
            now = dict.fromkeys(each.HostPort for each in bound.get(key) or ())
            shown = ", ".join(now) or "none, because it does not run"
            what = f"the engine chose the port of {key}: {shown}"
            reading.lost(f"HostConfig.PortBindings.{key}", what, Severity.INFO)
    return list(dict.fromkeys(rows))


def _published_all(container: Container) -> Collection[str]:
    """What the engine publishes of itself (`docker run -P`): every port that is exposed. What it
    says is published now is nothing while the container is stopped.

    Source: moby, daemon/container_operations.go (buildSandboxOptions)."""
    mode = container.HostConfig.NetworkMode
    elsewhere = mode in ("none", "host") or mode.startswith(CONTAINER)
    asked = container.HostConfig.PublishAllPorts and not elsewhere
    return container.Config.ExposedPorts if asked else ()


def _number(key: str) -> tuple[int, str]:
    port, _, protocol = key.partition("/")
    return (int(port) if port.isdecimal() else 0, protocol)


def _port(key: str, binding: Binding) -> str:
    port, _, protocol = key.partition("/")
    address = f"[{binding.HostIp}]" if ":" in binding.HostIp else binding.HostIp
    number = "" if binding.HostPort == "0" else binding.HostPort
    words = [*([address] if address else []), *([number] if address or number else []), port]
    return ":".join(words) + (f"/{protocol}" if protocol != "tcp" else "")


def _exposed(reading: Reading) -> list[str]:
    container = reading.container
    published = {*container.HostConfig.PortBindings, *_published_all(container)}
    known = {*reading.image.ExposedPorts, *published}
    return sorted({*container.Config.ExposedPorts} - known, key=_number)
