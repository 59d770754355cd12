"""The networks, ports and shared namespaces of a container, in compose's words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from portkit.engines.described.answers import CONTAINER, Binding, Place
from portkit.engines.described.reading import Reading
from portkit.model import Severity


def networking(reading: Reading) -> dict[str, object]:
    host = reading.container.HostConfig
    mode = host.NetworkMode
    found: dict[str, object] = {
        "ports": _ports(reading),
        "expose": _exposed(reading),
        "extra_hosts": [_extra_host(row) for row in host.ExtraHosts],
        "links": _links(reading, host.Links),
        "pid": _shared(reading, "PidMode", host.PidMode),
        "ipc": _shared(reading, "IpcMode", "" if host.IpcMode == "private" else host.IpcMode),
    }
    if mode in ("none", "host") or mode.startswith(CONTAINER):
        return {**found, "network_mode": _shared(reading, "NetworkMode", mode)}
    networks = reading.container.NetworkSettings.Networks
    if "bridge" in networks:
        for name in networks.keys() - {"bridge"}:
            reading.lost(
                name, "compose knows no service on the engine's own bridge and another one"
            )
        return {**found, "network_mode": "bridge"}
    found["networks"] = {
        reading.networks.get(name, name): _place(reading, name, place) or None
        for name, place in networks.items()
    }
    if found["networks"] == {"default": None}:
        del found["networks"]  # compose does the same without being told
    return found


def _extra_host(row: str) -> str:
    name, _, address = row.partition(":")
    return f"{name}={address}"


def _place(reading: Reading, name: str, place: Place) -> dict[str, object]:
    container = reading.container
    given = {container.name, container.service, container.Id[:12], container.Config.Hostname}
    links = _links(reading, place.Links)
    if links:
        reading.lost(f"Networks.{name}.Links", "links within a network are written as aliases")
    told = {
        "aliases": [each for each in dict.fromkeys(place.Aliases) if each not in given],
        "ipv4_address": place.IPAMConfig.get("IPv4Address"),
        "ipv6_address": place.IPAMConfig.get("IPv6Address"),
        "link_local_ips": place.IPAMConfig.get("LinkLocalIPs"),
    }
    return {key: value for key, value in told.items() if value}


def _links(reading: Reading, rows: Sequence[str]) -> list[str]:
    """ "/database:/web/db" is the container database, which web calls db."""
    found = []
    for row in rows:
        other, _, alias = row.partition(":")
        service = reading.services.get(other.lstrip("/"))
        if service is None:
            reading.lost("Links", f"the link to {other.lstrip('/')[:80]}, which is not in the file")
            continue
        found.append(f"{service}:{alias.rpartition('/')[2] or service}")
    return found


def _shared(reading: Reading, place: str, mode: str) -> str:
    """A mode; of another container's it is that of its service."""
    if not mode.startswith(CONTAINER):
        return mode
    other = mode.removeprefix(CONTAINER)
    service = reading.services.get(other)
    if service is None:
        what = f"what it shares with {other[:12]}, which is not in the file"
        reading.lost(f"HostConfig.{place}", what, Severity.ERROR)
        return ""
    return f"service:{service}"


def _ports(reading: Reading) -> list[str]:
    host = reading.container.HostConfig
    bound = reading.container.NetworkSettings.Ports
    rows: list[str] = []
    for key in sorted(
        {**host.PortBindings, **(bound if host.PublishAllPorts else {})}, key=_number
    ):
        asked = host.PortBindings.get(key) or []
        if (
            not all(each.HostPort.isdecimal() and each.HostPort != "0" for each in asked)
            or not asked
        ):
            asked = bound.get(key) or asked
            shown = (
                ", ".join(dict.fromkeys(each.HostPort for each in asked))
                or "none, as it does not run"
            )
            reading.lost(
                f"HostConfig.PortBindings.{key}",
                f"the engine chose the port of {key}: {shown}",
                Severity.INFO,
            )
        rows += [_port(key, each) for each in asked if each.HostPort]
    return list(dict.fromkeys(rows))


def _number(key: str) -> tuple[int, str]:
    port, _, protocol = key.partition("/")
    return (int(port) if port.isdecimal() else 0, protocol)


def _port(key: str, binding: Binding) -> str:
    port, _, protocol = key.partition("/")
    address = "" if binding.HostIp in ("", "0.0.0.0", "::") else binding.HostIp  # noqa: S104
    where = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    return f"{where}{binding.HostPort}:{port}" + (f"/{protocol}" if protocol != "tcp" else "")


def _exposed(reading: Reading) -> list[str]:
    container = reading.container
    bound = {key for key, rows in container.NetworkSettings.Ports.items() if rows}
    known = {*reading.image.ExposedPorts, *container.HostConfig.PortBindings, *bound}
    return sorted({*container.Config.ExposedPorts} - known, key=_number)
