"""Containers as one compose file: services, and the networks and volumes that they use. Pure.

Source: moby, api/types/network and volume (Inspect) of the engine API 1.41 to 1.52.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from portkit.app.names import made_name
from portkit.engines.described.answers import Config, Container, Part
from portkit.engines.described.reading import Described, Engine
from portkit.engines.described.service import describe
from portkit.engines.docker_client import LabelMap, Text, or_empty
from portkit.model import Finding, Severity
from portkit.wire import labels

_Pairs = Annotated[dict[str, str], or_empty(dict)]
# Where an engine puts the init that `init: true` asks for.
_INITS = ("/sbin/docker-init", "/usr/sbin/docker-init")
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
    EnableIPv6: bool = False
    Attachable: bool = False
    Ipam: Annotated[_Ipam, Field(alias="IPAM"), or_empty(_Ipam)] = _Ipam()
    Options: _Pairs = Field(default_factory=dict)
    Labels: LabelMap = Field(default_factory=dict)


class Volume(Part):
    """A volume as `inspect` shows it."""

    Name: Text
    Driver: Text = ""
    Options: _Pairs = Field(default_factory=dict)
    Labels: LabelMap = Field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """Containers and what belongs to them. images: the configuration of the image of each
    container, by its id. references: what names that image for good. changes: paths in the
    container's own layer."""

    containers: Sequence[Container]
    images: Mapping[str, Config]
    references: Mapping[str, str]
    networks: Mapping[str, Network]
    volumes: Mapping[str, Volume]
    changes: Mapping[str, Sequence[str]]
    engine: Engine


@dataclass(frozen=True)
class Project:
    """A compose file, not interpolated yet, and what it cannot say."""

    document: Mapping[str, object]
    findings: tuple[Finding, ...]


def project(seen: Seen, name: str) -> Project:
    """The compose file of these containers. name: of the project, or of a container alone."""
    called = made_name(name)
    networks = {
        each.Name: _key(each.Name, each.Labels, _NETWORK, called) for each in seen.networks.values()
    }
    volumes = {
        each.Name: _key(each.Name, each.Labels, _VOLUME, called) for each in seen.volumes.values()
    }
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
        )
        for container in seen.containers
    ]
    services, findings = _services(described)
    findings += tuple(
        note
        for container in seen.containers
        for note in _changed(container, seen.changes.get(container.Id, ()))
    )
    fixed = _has_fixed_addresses(seen.containers)
    document = {
        "name": called,
        "services": services,
        "networks": {
            networks[each.Name]: _network(each, networks[each.Name], called, fixed)
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
    services: dict[str, dict[str, object]] = {}
    findings: list[Finding] = []
    for each in described:
        findings += each.findings
        if each.name in services:
            known = services[each.name]
            count = known.get("scale", 1)
            services[each.name] = {**known, "scale": count + 1 if isinstance(count, int) else 2}
        else:
            services[each.name] = dict(each.service)
    for name, row in services.items():
        if "scale" in row:
            message = f"{row['scale']} containers, of which the file shows the first"
            findings.append(
                Finding("container-not-described", Severity.INFO, message, (name,), "", (name,))
            )
    return dict(services), tuple(dict.fromkeys(findings))


def _changed(container: Container, paths: Sequence[str]) -> Iterator[Finding]:
    """What the container has changed of its image's files. Folders on the way to a file, and the
    places of mounts, are not what somebody changed."""
    above = {path.rpartition("/")[0] for path in paths}
    asked = (mount.Target for mount in container.HostConfig.Mounts)
    mounted = [
        *(mount.Destination for mount in container.Mounts),
        *container.HostConfig.Tmpfs,
        *asked,
        *_INITS,
    ]
    own = [
        path
        for path in paths
        if path not in above and not any(f"{place}/".startswith(f"{path}/") for place in mounted)
    ]
    if own:
        shown = ", ".join(own[:10]) + (", ..." if len(own) > 10 else "")
        message = f"{container.name}: {len(own)} files of its own layer, which no volume holds"
        yield Finding(
            "container-changed",
            Severity.WARNING,
            message,
            (shown,),
            "Look whether they matter: docker diff.",
            (container.service,),
        )


def _key(name: str, given: Mapping[str, str], label: str, project: str) -> str:
    """What the file calls it: as compose did, or without the project's name before it."""
    told = given.get(label, "")
    return told or name.removeprefix(f"{project}_") or name


def _named(name: str, key: str, project: str) -> dict[str, object]:
    """Its name where compose would make another one of the key."""
    return {} if name == f"{project}_{key}" else {"name": name}


def _has_fixed_addresses(containers: Sequence[Container]) -> bool:
    """An engine gives fixed addresses only in a network whose addresses were chosen."""
    return any(
        place.IPAMConfig.get("IPv4Address") or place.IPAMConfig.get("IPv6Address")
        for container in containers
        for place in container.NetworkSettings.Networks.values()
    )


def _network(network: Network, key: str, project: str, fixed: bool) -> dict[str, object]:
    """fixed: its addresses are said, too. Else nobody can tell whether they were chosen, and the
    engine of another host chooses its own."""
    subnets = [
        {
            name: row[word]
            for word, name in (
                ("Subnet", "subnet"),
                ("Gateway", "gateway"),
                ("IPRange", "ip_range"),
            )
            if row.get(word)
        }
        for row in network.Ipam.Rows
    ]
    told: dict[str, object] = {
        **_named(network.Name, key, project),
        "driver": "" if network.Driver in ("", "bridge") else network.Driver,
        "driver_opts": network.Options,
        "internal": network.Internal,
        "enable_ipv6": network.EnableIPv6,
        "ipam": {"config": subnets} if fixed and subnets else {},
        "labels": _own(network.Labels),
    }
    return {name: value for name, value in told.items() if value}


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
