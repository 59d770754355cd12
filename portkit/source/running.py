"""Apps that run on a host, whoever started them: shown as a compose file, or moved with data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from portkit.app import compose, environment, with_health
from portkit.clock import Clock
from portkit.engines import docker_state
from portkit.engines.docker_source import DockerSource, Held
from portkit.errors import AppError, PortkitError
from portkit.host import Host
from portkit.model import (
    App,
    AppSpec,
    Artifact,
    DataFolder,
    Facts,
    Finding,
    Form,
    Live,
    LiveContainer,
    LiveVolume,
    OnTaken,
    Quiesce,
    Reading,
    Severity,
    Volume,
)
from portkit.package.changes import Changed
from portkit.source.binds import Bind, bound, place
from portkit.source.folders import data_folders, mounted_below, not_local, shared
from portkit.source.hindrances import ailing, at_rest, compose_up, hindrances
from portkit.source.host import OnHost
from portkit.source.images import Images
from portkit.source.layers import changed_in, layer_findings
from portkit.source.named import named
from portkit.source.siblings import left_alone, require_own
from portkit.source.silent import silent
from portkit.store import Store
from portkit.text import counted
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container, Mount
    from portkit.engines.described.project import Seen

KINDS = ("container", "project")


@dataclass(frozen=True)
class Shown:
    """document: a compose file as data, in which every `$` is doubled, as such a file requires. It
    contains the environment, and therefore passwords. findings: what the file cannot express, field
    by field."""

    document: JsonObject
    findings: tuple[Finding, ...]


def is_running(name: str) -> bool:
    """Whether an App is named as something that runs: container:NAME or project:NAME."""
    return name.partition(":")[0] in KINDS and ":" in name


def show(host: Host, what: str) -> Shown:
    """The compose file of `container:NAME`, `project:NAME` or `project:FOLDER`, as it is on the
    host. Nothing there is changed.

    Raises AppError if the host has no such container or project, and EngineError if the engine does
    not answer.
    """
    kind, name = _parsed(what)
    with _engine(host) as engine:
        return _shown(engine.see(kind, name), kind, name)


def _parsed(what: str) -> tuple[str, str]:
    kind, sign, name = named(what).partition(":")
    if kind not in KINDS or not sign or not name:
        raise AppError(
            "portkit cannot show that",
            details=f"{what[:200]!r} is neither container:NAME nor project:NAME",
            resolution="Name a container or a project; `docker compose ls` lists projects.",
        )
    return kind, name


def _engine(host: Host) -> closing[DockerSource]:
    return closing(DockerSource(host.docker_socket(), host.name))


def _shown(seen: Seen, kind: str, name: str, *, moves: bool = False) -> Shown:
    """moves: as `engines.described.project.project`."""
    from portkit.engines.described import project as docker_project

    called = name if kind == "project" else seen.containers[0].app
    found = docker_project.project(seen, called, moves=moves)
    document = {key: environment.escaped(value) for key, value in found.document.items()}
    return Shown(document, found.findings)


class _Looked(NamedTuple):
    """What was seen at the source. silence: findings where it does not answer. mounts: below the
    folders of its data. others: what other containers have mounted."""

    silence: tuple[Finding, ...]
    mounts: Sequence[str]
    others: Sequence[Held]


class Running(OnHost):
    """A Source: containers that run on a host, with their volumes. `app()` is the App to move.

    Without --form it goes as an image, which is what it runs from.

    carry: absolute paths of the host that travel with the App although they are bind mounts.
    same_paths: those that are bound of whatever host it is on.
    health: as `portkit.app.with_health` is told.
    on_taken: what becomes of its volumes where the target has one of that name, by their names; ""
    is for all others. moving: its containers in a Move of it that has begun before: these are read,
    and not what has its name now. Their restart policies may be off by then, and those from before
    count.
    """

    forms = (Form.IMAGE,)

    def __init__(
        self,
        host: Host,
        what: str,
        carry: Sequence[str] = (),
        *,
        same_paths: Sequence[str] = (),
        health: Mapping[str, str] | None = None,
        on_taken: Mapping[str, OnTaken] | None = None,
        moving: Sequence[LiveContainer] = (),
    ) -> None:
        super().__init__(host)
        # The name stays, whatever becomes of a folder and of where portkit was started.
        self._what, self._carry, self._same = named(what), tuple(carry), tuple(same_paths)
        self._health, self._on_taken = dict(health or {}), dict(on_taken or {})
        self._ids = tuple(each.id for each in moving)
        self._policies = {each.service: each.restart for each in moving}
        self._seen: Seen | None = None
        self._app: App | None = None
        self._folders: dict[str, str] = {}
        self._looked: _Looked | None = None
        self._binds: list[Bind] = []
        self._bases: list[Artifact] = []
        self._layers: dict[str, Changed] = {}

    def app(self) -> App:
        """The App as it runs there, read again at each call. AppError when there is none."""
        kind, name = _parsed(self._what)
        self._bases, self._looked = [], None
        with _engine(self.host) as engine:
            again = self._ids
            seen = engine.see_again(kind, name, again) if again else engine.see(kind, name)
            self._seen, shown = seen, _shown(seen, kind, name, moves=True)
            self._binds = bound(engine, seen.containers, self._same)
            ids = [each.Id for each in seen.containers]
            beside = engine.beside(ids, seen.containers[0].project if kind == "container" else "")
        require_own(seen)
        placed = place(shown.document, self._binds, self._carry, self._same)
        self._folders = data_folders(seen.containers, placed.folders.values())
        found = (*hindrances(seen), *compose_up(seen))
        text = json.dumps(placed.document).encode()
        app = compose.read(text, self._what, contents=placed.contents, same_paths=self._same)
        services = tuple(
            replace(each, restart=self._policies.get(each.name, each.restart))
            for each in app.services
        )
        # The image goes along, whether it has a name or not, and so does what was changed in it.
        told = [
            note
            for note in shown.findings
            if note.evidence != ("Config.Image",) and note.rule != "container-changed"
        ]
        findings = (*app.findings, *told, *placed.findings, *found)
        volumes = chosen(app.volumes, self._on_taken)
        app = replace(
            app,
            services=services,
            findings=findings,
            volumes=volumes,
            running=True,
            seen_up=all(_came_up(each) for each in seen.containers),
            reading=Reading(carry=self._carry, same_paths=self._same),
        )
        app = with_health(app, self._health)
        states = [*at_rest(seen, app.front_service.name), *ailing(seen)]
        states += left_alone(seen.containers, beside)
        self._app = replace(app, findings=(*app.findings, *states))
        return self._app

    def lacking(self, target: Host | None, store: Store) -> tuple[Finding, ...]:
        """What is wrong with it at its source, which is looked at once for all targets: it is
        silent though it is asked as it will be on the target; its data is not where it is copied
        from; or others write there. Nothing of that matters for a volume that the target keeps."""
        assert self._seen is not None, "the App was read before"
        assert self._app is not None, "the App was read before"
        if self._looked is None:
            self._looked = self._look(self._seen, self._app)
        kept = {each.engine_name for each in self._app.volumes if each.on_taken is OnTaken.KEEP}
        if kept and target is not None:
            kept &= set(target.facts().volumes)
        folders = {path: name for path, name in self._folders.items() if name not in kept}
        volumes = [row for name, row in self._seen.volumes.items() if name not in kept]
        return (
            *self._looked.silence,
            *not_local(volumes),
            *mounted_below(folders, self._looked.mounts),
            *shared(folders, self._looked.others),
        )

    def _look(self, seen: Seen, app: App) -> _Looked:
        with _engine(self.host) as engine:
            others = engine.held_by_others([each.Id for each in seen.containers])
        asked = {"paths": sorted(self._folders)}
        return _Looked(
            silent(self.host, app.front_service, seen.containers),
            self.host.remote.call("volume.mounted", asked)["mounts"],
            others,
        )

    def running(self, app: App, facts: Facts) -> tuple[Finding, ...]:
        """What its containers have changed in their images, which travels as layers; and that its
        data does."""
        assert self._seen is not None, "the App was read before"
        mounts = [mount for each in self._seen.containers for mount in each.Mounts]
        # Of one that the target may keep, what is done is known only there: a rule says it.
        keeps = {each.engine_name for each in app.volumes if each.on_taken is OnTaken.KEEP}
        volumes = {mount.Name for mount in mounts if mount.Type == "volume"}
        names = sorted(volumes - keeps)
        pairs = self._layers.items()
        layers = [note for service, made in pairs for note in layer_findings(service, made)]
        return (*layers, *([_data_finding(names)] if names else []))

    def images(self, app: App, store: Store, clock: Clock) -> Images:
        """The images of the containers, each with what its container has changed in it."""
        assert self._seen is not None, "the App was read before"
        first = {each.service: each for each in reversed(self._seen.containers)}
        # Read once: while the App is stopped, nothing is asked that is known.
        self._bases = self._bases or self._artifacts(app, store, clock)
        found = []
        for service, image in zip(app.services, self._bases, strict=True):
            with clock.phase("package changes"):
                made = changed_in(self.host, first[service.name], image, store, clock)
            self._layers[service.name] = made
            found.append(made.artifact)
        return Images.of(found)

    def again(self, app: App, store: Store, clock: Clock) -> Images | None:
        """The same, read once more. PortkitError when a file that is bound into a container is
        another one than when the App was read: it went with the App's configuration."""
        assert self._seen is not None, "the App was read before"
        with _engine(self.host) as engine:
            binds = bound(engine, self._seen.containers, self._same)
        if changed := [each.source for each in binds if each not in self._binds]:
            raise PortkitError(
                "a file that is mounted into the App has changed since the Move began",
                details=", ".join(changed)[:500],
                resolution="Roll the Move back, and move the App while nothing writes to the "
                "file. Or mount the folder that contains it.",
            )
        return self.images(app, store, clock)

    def live(self, spec: AppSpec) -> Live | None:
        """What the Move has to stop there, and the data to take along."""
        assert self._seen is not None, "the App was read before"
        seen = self._seen
        with _engine(self.host) as engine:
            order = engine.order([each.Id for each in seen.containers])
        quiesce = {each.service: each.quiesce for each in spec.services}
        containers = {
            each.Id: _container(
                each,
                self._policies,
                self._layers.get(each.service),
                quiesce.get(each.service, Quiesce()),
            )
            for each in seen.containers
        }
        mounts = {
            (each.service, mount.Destination.rstrip("/")): mount
            for each in reversed(seen.containers)
            for mount in each.Mounts
        }
        volumes: dict[int, LiveVolume] = {}
        for service, numbers in zip(spec.services, spec.volume_numbers(), strict=True):
            for mount, number in zip(service.mounts, numbers, strict=True):
                there = mounts.get((service.service, mount.target.rstrip("/")))
                if number is not None and there is not None:
                    created = seen.volumes.get(there.Name)
                    made = _volume(number, there, created.CreatedAt if created else "")
                    volumes[number] = replace(made, way=spec.way(number))
        return Live(
            tuple(containers[each] for each in order),
            tuple(volumes[number] for number in sorted(volumes)),
            self._on_taken,
            chosen=_chosen_ports(spec, seen),
        )

    def data(self, spec: AppSpec) -> tuple[DataFolder, ...]:
        """The folders of those of its volumes whose data travels."""
        live = self.live(spec)
        return tuple(DataFolder(each.path) for each in live.travelling) if live is not None else ()


def chosen(volumes: Sequence[Volume], on_taken: Mapping[str, OnTaken]) -> tuple[Volume, ...]:
    """The volumes with what the user has chosen for each, by the engine's name or compose's.
    AppError for a name that none of them has. Pure."""
    known = {name for each in volumes for name in (each.engine_name, each.name) if name}
    if unknown := sorted(set(on_taken) - known - {""}):
        raise AppError(
            "the App has no volume with that name",
            details=f"{', '.join(unknown)[:300]}; it has {', '.join(sorted(known)) or 'none'}",
            resolution="Name one of these in --volumes NAME=..., or leave out NAME= to choose "
            "for all.",
        )
    for name in on_taken:
        fitting = [each for each in volumes if name and name in (each.engine_name, each.name)]
        if len({each.engine_name or each.name for each in fitting}) > 1:
            about = ", ".join(f"{each.engine_name} ({each.name})" for each in fitting)
            raise AppError(
                "a name in --volumes matches two volumes of the App",
                details=f"{name}: {about}"[:500],
                resolution="Name each by its other name: the engine's name comes first above, "
                "and the compose file's name is in brackets.",
            )
    found = []
    for each in volumes:
        usual = on_taken.get("", OnTaken.REFUSE)
        way = on_taken.get(each.engine_name, on_taken.get(each.name, usual))
        name = "" if way is OnTaken.CLONE else each.engine_name
        found.append(replace(each, engine_name=name, on_taken=way))
    return tuple(found)


def _chosen_ports(spec: AppSpec, seen: Seen) -> dict[str, int]:
    """As `Live.chosen`."""
    services = {each.service: each for each in spec.services}
    found = {
        port.key: at.host_port
        for one in seen.containers
        if one.service in services
        for port in services[one.service].ports
        if (at := one.reached(port)) is not None
    }
    return {key: number for key, number in found.items() if int(key.partition("/")[0]) != number}


def _data_finding(names: Sequence[str]) -> Finding:
    message = (
        f"the data of {counted(len(names), 'volume')} is copied while the App runs, and what "
        "changes meanwhile after the App was stopped"
    )
    return Finding("data-carried", Severity.INFO, message, tuple(name[:80] for name in names))


def _came_up(one: Container) -> bool:
    return docker_state.came_up(one.State.Status, one.State.ExitCode)


def _container(
    one: Container, policies: Mapping[str, str], layer: Changed | None, quiesce: Quiesce
) -> LiveContainer:
    return LiveContainer(
        id=one.Id,
        service=one.service,
        restart=policies.get(one.service, one.HostConfig.RestartPolicy.told),
        running=docker_state.runs(one.State.Status),
        changed=layer is not None and layer.digest != "",
        quiesce=quiesce,
        ill=one.unhealthy,
    )


def _volume(number: int, mount: Mount, created: str) -> LiveVolume:
    name = mount.Name if mount.Type == "volume" else ""
    return LiveVolume(number, name, mount.Source, created)
