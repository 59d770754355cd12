"""What an engine says of containers that somebody else made, and of what belongs to them. It only
reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import docker.errors

from portkit.engines import docker_state
from portkit.engines.described import twins
from portkit.engines.described.answers import CONTAINER, Config, Container, Part
from portkit.engines.described.project import Network, Seen, Volume
from portkit.engines.described.reading import Engine
from portkit.engines.docker_client import Malformed, Row, read, read_all
from portkit.engines.patience import Patient
from portkit.wire import labels

_Model = TypeVar("_Model", bound=Part)
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
    """One container, by its name or id, or by its App's name where portkit made it; None where
    there is none. AppError where that name has several."""
    try:
        exact = api.inspect_container(name)
    except docker.errors.NotFound:
        exact = None
    if exact is not None and docker_state.runs(read(Container, exact).State.Status):
        return _seen(api, [exact])
    made = _made_of(api, name)
    if exact is not None:
        # An App that has come back has another container, and leaves the name to the old one.
        made = [row for row in made if docker_state.runs(row.State)]
        if len(made) != 1:
            return _seen(api, [exact])
    found = twins.current(made, name)
    if len(found) > 1:
        raise twins.several(found, name)
    return these(api, [row.Id for row in found])


def project(api: Patient, name: str) -> Seen | None:
    """The containers of a compose project, or of an App that portkit put here, in the order in
    which they were made; None where there are none. AppError where several Apps have that name."""
    return these(api, [row.Id for row in twins.current(_rows_of(api, name), name)])


def these(api: Patient, ids: Sequence[str]) -> Seen | None:
    """The containers of these ids, in the order in which they were made; None for no ids."""
    inspected = [api.inspect_container(each) for each in ids]
    inspected.sort(key=lambda row: str(row.get("Created", "")))
    return _seen(api, inspected) if inspected else None


def added(api: Patient, name: str, known: Collection[str]) -> list[str]:
    """The containers that a project has beside these: their ids."""
    return twins.added(_rows_of(api, name), known)


def _rows_of(api: Patient, name: str) -> list[Row]:
    """All containers of a project, or of an App of that name."""
    rows = read_all(Row, api.containers(all=True, filters={"label": f"{_PROJECT}={name}"}))
    lasting = [row for row in rows if row.Labels.get(_ONE_OFF, "False") != "True"]
    # One that is alone has no labels of compose's.
    return list({row.Id: row for row in (*lasting, *_made_of(api, name))}.values())


def _made_of(api: Patient, app: str) -> list[Row]:
    """The containers that portkit made of an App."""
    rows = read_all(Row, api.containers(all=True, filters={"label": f"{labels.APP}={app}"}))
    return [row for row in rows if twins.move_of(row)]


def _seen(api: Patient, rows: Iterable[Any]) -> Seen:
    containers = [read(Container, row) for row in rows]
    info = read(_Info, api.info())
    missing: list[str] = []

    def look(what: str, ask: Callable[[str], Any], name: str, model: type[_Model]) -> _Model | None:
        try:
            return read(model, ask(name))
        except docker.errors.NotFound:
            missing.append(f"the {what} {name[:80]}")
            return None

    named = sorted({name for each in containers for name in each.networks})
    used = sorted({name for each in containers for name in each.volumes} | _shared(containers))
    images = {each.Id: look("image", api.inspect_image, each.Image, _Image) for each in containers}
    networks = {name: look("network", api.inspect_network, name, Network) for name in named}
    volumes = {name: look("volume", api.inspect_volume, name, Volume) for name in used}
    return Seen(
        containers=containers,
        images={key: row.Config if row else Config() for key, row in images.items()},
        references={each.Id: _reference(api, each) for each in containers},
        networks={name: row for name, row in networks.items() if row},
        volumes={name: row for name, row in volumes.items() if row},
        changes={each.Id: _changes(api, each.Id) for each in containers},
        engine=Engine(
            runtime=info.DefaultRuntime,
            log=info.LoggingDriver,
            cgroup="private" if info.CgroupVersion == "2" else "host",
        ),
        missing=missing,
        others=_others(api, containers),
    )


def _others(api: Patient, containers: Sequence[Container]) -> dict[str, str]:
    """The names of containers whose namespaces these share."""
    known = {each.Id for each in containers}
    modes = [
        mode
        for each in containers
        for mode in (each.HostConfig.NetworkMode, each.HostConfig.PidMode, each.HostConfig.IpcMode)
    ]
    ids = {mode.removeprefix(CONTAINER) for mode in modes if mode.startswith(CONTAINER)} - known
    found = {}
    for identity in sorted(ids):
        try:
            found[identity] = read(Container, api.inspect_container(identity)).name
        except docker.errors.NotFound:
            continue  # its id says as much
    return found


def _shared(containers: Iterable[Container]) -> set[str]:
    """Volumes without a name that several containers have: in a file they need one."""
    users = Counter(
        name for each in containers for name in {m.Name for m in each.Mounts if m.Type == "volume"}
    )
    return {name for name, count in users.items() if count > 1}


def _reference(api: Patient, one: Container) -> str:
    """The name that the image was asked for by, if it is still that image's; else its id."""
    try:
        named = read(_Image, api.inspect_image(one.Config.Image)).Id
    except docker.errors.NotFound:
        named = ""
    return one.Config.Image if named == one.Image else one.Image


def _changes(api: Patient, identity: str) -> list[str] | None:
    """None where they are too many, or the engine cannot say it."""
    try:
        return [each.Path for each in read_all(_Change, api.diff(identity) or [])]
    except (docker.errors.APIError, Malformed):
        return None
