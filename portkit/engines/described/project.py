"""Containers as one compose file: services, and the networks and volumes that they use. Pure.

Source: moby, api/types/network and volume (Inspect) of the engine API 1.41 to 1.52.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Annotated, Any

from pydantic import Field

from portkit.app.names import made_name
from portkit.engines.described.answers import Config, Container, Part
from portkit.engines.described.reading import Described, Engine
from portkit.engines.described.service import describe
from portkit.engines.docker_client import LabelMap, Text, or_empty
from portkit.model import Finding, Severity
from portkit.text import counted
from portkit.wire import labels

_Pairs = Annotated[dict[str, str], or_empty(dict)]
# Where an engine puts the init that `init: true` asks for.
_INITS = ("/sbin/docker-init", "/usr/sbin/docker-init")
_KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
_POOLS = re.compile(r"(172\.(1[7-9]|2\d|3[01])\.0\.0/16|192\.168\.\d+\.0/20|f[cd].*/64)$")
_SUBNET = {
    "Subnet": "subnet",
    "Gateway": "gateway",
    "IPRange": "ip_range",
    "AuxiliaryAddresses": "aux_addresses",
}
_NETWORK, _VOLUME = labels.COMPOSE + "network", labels.COMPOSE + "volume"


class _Ipam(Part):
    Driver: Text = ""
    Rows: Annotated[list[dict[str, Any]], or_empty(list), Field(alias="Config")] = Field(
        default_factory=list
    )
    Options: _Pairs = Field(default_factory=dict)


class Network(Part):
    """A network as `inspect` shows it."""

    Name: Text
    Driver: Text = ""
    Internal: bool = False
    EnableIPv4: bool = True
    EnableIPv6: bool = False
    Attachable: bool = False
    Ipam: Annotated[_Ipam, Field(alias="IPAM"), or_empty(_Ipam)] = _Ipam()
    Options: _Pairs = Field(default_factory=dict)
    Labels: LabelMap = Field(default_factory=dict)


class Volume(Part):
    """A volume as `inspect` shows it."""

    Name: Text
    Driver: Text = ""
    CreatedAt: Text = ""
    Options: _Pairs = Field(default_factory=dict)
    Labels: LabelMap = Field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """Containers and what belongs to them. images: the configuration of the image of each
    container, by its id. references: what names that image for good. changes: paths in the
    container's own layer, None where they could not be listed. missing: what an engine has no more,
    in words. others: the names of containers beside these, by id."""

    containers: Sequence[Container]
    images: Mapping[str, Config]
    references: Mapping[str, str]
    networks: Mapping[str, Network]
    volumes: Mapping[str, Volume]
    changes: Mapping[str, Sequence[str] | None]
    engine: Engine
    missing: Sequence[str] = ()
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A compose file, not interpolated yet, and what it cannot say."""

    document: Mapping[str, object]
    findings: tuple[Finding, ...]


def project(seen: Seen, name: str, *, moves: bool = False) -> Project:
    """The compose file of these containers. name: of the project, or of a container alone. moves:
    networks that are not theirs alone are `external`, with all that makes one that is like them,
    which compose itself refuses."""
    called = made_name(name)
    networks = _keys(seen.networks.values(), _NETWORK, called)
    volumes = _keys(seen.volumes.values(), _VOLUME, called)
    beside = {key: each.service for each in seen.containers for key in (each.Id, each.name)}
    described = [
        describe(
            container,
            seen.images[container.Id],
            reference=seen.references[container.Id],
            engine=seen.engine,
            services=beside,
            volumes=volumes,
            networks=networks,
            others=seen.others,
        )
        for container in seen.containers
    ]
    services, findings = _services(described)
    findings += tuple(_unordered(seen.containers))
    findings += tuple(
        note
        for container in seen.containers
        for note in _changed(container, seen.changes.get(container.Id, ()))
    )
    findings += tuple(
        Finding("container-not-described", Severity.ERROR, f"{what} no longer exists on the host")
        for what in seen.missing
    )
    document = {
        "name": called,
        "services": services,
        "networks": {
            networks[each.Name]: _network(
                each,
                networks[each.Name],
                called,
                _has_fixed_address(seen.containers, each.Name),
                moves=moves,
            )
            for each in seen.networks.values()
        },
        "volumes": {
            volumes[each.Name]: _volume(each, volumes[each.Name], called)
            for each in seen.volumes.values()
        },
    }
    if document["networks"] == {"default": {}}:
        document["networks"] = {}  # compose makes it without being told
    return Project({key: value for key, value in document.items() if value}, findings)


def _services(described: Sequence[Described]) -> tuple[dict[str, object], tuple[Finding, ...]]:
    """Of several containers of one service the first counts, and how many there are."""
    counts = Counter(each.name for each in described)
    services = {each.name: dict(each.service) for each in reversed(described)}
    findings = [note for each in described for note in each.findings]
    for name, number in counts.items():
        if number > 1:
            services[name]["scale"] = number
            message = f"{number} containers; the file describes the first"
            findings.append(
                Finding("container-not-described", Severity.INFO, message, (name,), "", (name,))
            )
    return {name: services[name] for name in counts}, tuple(dict.fromkeys(findings))


def _unordered(containers: Sequence[Container]) -> Iterator[Finding]:
    """That a project does not record which of its services need others. Compose 2 writes a label
    for that, an empty one where there is nothing to say; compose 1.29 and podman-compose do not."""
    untold = {
        each.service
        for each in containers
        if labels.COMPOSE + "service" in each.Config.Labels
        and labels.COMPOSE + "depends_on" not in each.Config.Labels
    }
    if untold and len({each.service for each in containers}) > 1:
        yield Finding(
            "container-not-described",
            Severity.WARNING,
            "what these services depend on, which the tool that created them has not recorded: "
            + ", ".join(sorted(untold))[:300],
            ("Config.Labels",),
            "If the order of their starts matters, create the containers with docker compose 2 "
            "before you move them, or add `depends_on` to what `portkit show` prints.",
            tuple(sorted(untold)),
        )


def _changed(container: Container, paths: Sequence[str] | None) -> Iterator[Finding]:
    """What the container has changed of its image's files. paths: None is more than could be
    listed."""
    if paths is None:
        message, shown = "the files of its own layer could not be listed", "docker diff"
    elif own := _own_files(container, paths):
        # Names of files are anybody's: a line break in one must not look like another line.
        names = [" ".join(path.split()) for path in own[:10]]
        shown = ", ".join(names) + (", ..." if len(own) > 10 else "")
        message = f"{counted(len(own), 'file')} of its own layer, not in any volume"
    else:
        return
    yield Finding(
        "container-changed",
        Severity.WARNING,
        f"{container.name}: {message}",
        (shown,),
        "Run `docker diff` to find out whether they matter.",
        (container.service,),
    )


def _own_files(container: Container, paths: Sequence[str]) -> list[str]:
    """Without the folders on the way to a file, and the places of mounts, which nobody changed."""
    above = {path.rpartition("/")[0] for path in paths}
    mounted = [
        *(mount.Destination for mount in container.Mounts),
        *container.HostConfig.Tmpfs,
        *(mount.Target for mount in container.HostConfig.Mounts),
        *_INITS,
    ]
    return [
        path
        for path in paths
        if path not in above and not any(f"{place}/".startswith(f"{path}/") for place in mounted)
    ]


def _keys(rows: Iterable[Network | Volume], label: str, project: str) -> dict[str, str]:
    """What the file calls each, by the engine's name: as compose did, or without the project's name
    before it; its own name, or one with a number, where another one has that already."""
    found: dict[str, str] = {}
    for row in sorted(rows, key=lambda each: each.Name):
        ours = row.Labels.get(labels.COMPOSE + "project") == project
        told = row.Labels.get(label, "") if ours else ""
        key = told if _KEY.fullmatch(told) else row.Name.removeprefix(f"{project}_")
        made = (each for each in (key, row.Name) if _KEY.fullmatch(each))
        numbered = (f"{row.Name}-{number}" for number in count(2))
        found[row.Name] = next(each for each in chain(made, numbered) if each not in found.values())
    return found


def _named(name: str, key: str, project: str) -> dict[str, object]:
    """Its name where compose would make another one of the key."""
    return {} if name == f"{project}_{key}" else {"name": name}


def _has_fixed_address(containers: Sequence[Container], network: str) -> bool:
    """Whether somebody chose an address in it; an engine allows that only where the network's
    addresses were chosen."""
    places = [each.NetworkSettings.Networks.get(network) for each in containers]
    chosen = [place.IPAMConfig for place in places if place is not None]
    return any(row.get("IPv4Address") or row.get("IPv6Address") for row in chosen)


def _was_chosen(subnet: object) -> bool:
    """Whether an engine would not have given that subnet by itself. Source: moby,
    libnetwork/ipamutils: 172.17.0.0/16 to 172.31.0.0/16, and parts of 192.168.0.0/16."""
    text = str(subnet)
    return bool(text) and not _POOLS.match(text)


def _is_external(network: Network, project: str) -> bool:
    """Whether it is another's than the project's: somebody made it for several, such as that of a
    reverse proxy."""
    return (
        labels.EXTERNAL in network.Labels
        or network.Labels.get(labels.COMPOSE + "project") != project
    )


def _network(
    network: Network, key: str, project: str, fixed: bool, *, moves: bool
) -> dict[str, object]:
    """fixed: an address in it is. Subnets are said where they were chosen, as far as one can
    tell; else the engine of another host chooses its own."""
    external = moves and _is_external(network, project)
    subnets = [
        {word: row[key] for key, word in _SUBNET.items() if row.get(key)}
        for row in network.Ipam.Rows
    ]
    chosen = (
        fixed
        or network.Driver not in ("", "bridge", "overlay")
        or any(_was_chosen(row.get("subnet", "")) for row in subnets)
    )
    ipam: dict[str, object] = {
        "driver": "" if network.Ipam.Driver in ("", "default") else network.Ipam.Driver,
        "config": subnets if chosen else [],
        "options": network.Ipam.Options,
    }
    told: dict[str, object] = {
        # Of one that is external, compose takes the key itself for the engine's name.
        **({"name": network.Name} if external else _named(network.Name, key, project)),
        "external": external,
        "driver": "" if network.Driver == "bridge" and not external else network.Driver,
        "driver_opts": network.Options,
        "internal": network.Internal,
        "attachable": network.Attachable,
        "enable_ipv6": network.EnableIPv6,
        "ipam": {name: value for name, value in ipam.items() if value},
        "labels": _own(network.Labels),
    }
    found = {name: value for name, value in told.items() if value}
    return found if network.EnableIPv4 else {**found, "enable_ipv4": False}


def _volume(volume: Volume, key: str, project: str) -> dict[str, object]:
    told: dict[str, object] = {
        **_named(volume.Name, key, project),
        "driver": "" if volume.Driver in ("", "local") else volume.Driver,
        "driver_opts": volume.Options,
        "labels": _own(volume.Labels),
    }
    return {name: value for name, value in told.items() if value}


def _own(given: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in given.items()
        if not key.startswith((labels.COMPOSE, "portkit.", "com.docker.volume.anonymous"))
    }
