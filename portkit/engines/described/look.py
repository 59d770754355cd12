"""What an engine says of containers that somebody else made, and of what belongs to them. It only
reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import docker.errors

from portkit.engines.described.answers import Config, Container, Part
from portkit.engines.described.project import Network, Seen, Volume
from portkit.engines.described.reading import Engine
from portkit.engines.docker_client import Row, read, read_all
from portkit.engines.patience import Patient
from portkit.wire import labels

_PROJECT, _ONE_OFF = labels.COMPOSE + "project", labels.COMPOSE + "oneoff"


class _Image(Part):
    Id: str
    Config: Config


class _Info(Part):
    DefaultRuntime: str = "runc"
    LoggingDriver: str = "json-file"
    CgroupVersion: str = "1"


class _Change(Part):
    Path: str


def container(api: Patient, name: str) -> Seen | None:
    """One container, by its name or id; None where there is none."""
    try:
        return _seen(api, [api.inspect_container(name)])
    except docker.errors.NotFound:
        return None


def project(api: Patient, name: str) -> Seen | None:
    """The containers of a compose project, in the order in which they were made; None where there
    are none."""
    rows = read_all(Row, api.containers(all=True, filters={"label": f"{_PROJECT}={name}"}))
    lasting = [row.Id for row in rows if row.Labels.get(_ONE_OFF, "False") != "True"]
    inspected = [api.inspect_container(identity) for identity in lasting]
    inspected.sort(key=lambda row: str(row.get("Created", "")))
    return _seen(api, inspected) if inspected else None


def _seen(api: Patient, rows: Iterable[Any]) -> Seen:
    containers = [read(Container, row) for row in rows]
    info = read(_Info, api.info())
    named = {name for each in containers for name in each.networks}
    used = {name for each in containers for name in each.volumes}
    images = {each.Id: read(_Image, api.inspect_image(each.Image)).Config for each in containers}
    return Seen(
        containers=containers,
        images=images,
        references={each.Id: _reference(api, each) for each in containers},
        networks={name: read(Network, api.inspect_network(name)) for name in sorted(named)},
        volumes={name: read(Volume, api.inspect_volume(name)) for name in sorted(used)},
        changes={each.Id: _changes(api, each.Id) for each in containers},
        engine=Engine(
            runtime=info.DefaultRuntime,
            log=info.LoggingDriver,
            cgroup="private" if info.CgroupVersion == "2" else "host",
        ),
    )


def _reference(api: Patient, one: Container) -> str:
    """The name that the image was asked for by, if it is still that image's; else its id."""
    try:
        named = read(_Image, api.inspect_image(one.Config.Image)).Id
    except docker.errors.NotFound:
        named = ""
    return one.Config.Image if named == one.Image else one.Image


def _changes(api: Patient, identity: str) -> list[str]:
    return [each.Path for each in read_all(_Change, api.diff(identity) or [])]
