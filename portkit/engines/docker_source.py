"""Containers that somebody else made: looked at, and stopped and started again when they move."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from portkit.engines import docker_spec, docker_state
from portkit.engines.docker import Docker
from portkit.engines.docker_behind import behind
from portkit.engines.docker_errors import errors
from portkit.engines.docker_file import Unfit, file_at
from portkit.errors import AppError, BootError, ConflictError, EngineError, PortkitError
from portkit.model import Behind, ContentFile, Live, Port
from portkit.wire import labels

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.project import Seen
    from portkit.engines.docker_client import Row


class Held(NamedTuple):
    """What a container has mounted of its host. volume: its name; "" for a bind mount. path: on the
    host; "" for what is not there, such as a tmpfs."""

    container: str
    volume: str
    path: str
    writes: bool


class Beside(NamedTuple):
    """Another container. modes: of its namespaces, as the engine says them. needs: the services of
    its project that it depends on."""

    name: str
    modes: frozenset[str]
    needs: frozenset[str]


class DockerSource(Docker):
    """The engine of a host that an App moves away from. Its containers are named by their ids."""

    def see(self, kind: str, name: str) -> Seen:
        """What somebody else runs here. kind: container, or project of compose; it is only read.
        AppError when there is none, EngineError when the engine is Podman."""
        from portkit.engines.described import look

        if self._podman:
            raise self._unread(kind)
        ask = {"container": look.container, "project": look.project}[kind]
        with errors(self._host, f"look at the {kind}"):
            seen = ask(self._api, name)
        if seen is None:
            raise AppError(
                f"{self._host} has no such {kind}",
                details=name[:200],
                resolution="`docker ps -a` and `docker compose ls` on that host list what exists.",
            )
        return seen

    def see_again(self, kind: str, name: str, ids: Sequence[str]) -> Seen:
        """The same while it moves: the containers that the Move has stopped, whatever else has that
        name now. EngineError when one is not there any more, AppError when a project has more."""
        from portkit.engines.described import look

        self._these(ids)
        with errors(self._host, f"look at the {kind}"):
            seen = look.these(self._api, ids)
            more = look.added(self._api, name, ids) if kind == "project" else []
        assert seen is not None, "a Move stops one at least"
        if more:
            raise AppError(
                "the App has changed since the Move began",
                details=f"project {name[:200]} on {self._host} has more containers: "
                f"{', '.join(each[:12] for each in more)[:500]}",
                resolution="Remove them there, or roll the Move back: portkit rollback ID; "
                "`portkit moves` lists the id.",
            )
        return seen

    def _unread(self, kind: str) -> EngineError:
        return EngineError(
            f"a running {kind} cannot be moved from Podman",
            details=f"Podman answers on {self._host}, and portkit can read what runs only from "
            "Docker",
            resolution="Move the App from its compose file or image, and copy the data of its "
            "volumes yourself.",
        )

    def users_of(self, volume: str) -> tuple[str, ...]:
        """The ids of all containers that use a volume and have not ended."""
        with errors(self._host, "list containers"):
            rows = self._listed({"volume": volume, "status": ["running", "paused", "restarting"]})
        return tuple(row.Id for row in rows)

    def held_by_others(self, ids: Collection[str]) -> tuple[Held, ...]:
        """What all containers but these have mounted of the host, of those that have not ended."""
        with errors(self._host, "list containers"):
            rows = self._listed({"status": ["running", "paused", "restarting"]})
        places = {each.Name: each.Mountpoint for each in self._volumes()}
        return tuple(
            Held(row.Id, mount.Name, places.get(mount.Name) or mount.Source, mount.RW)
            for row in rows
            if row.Id not in ids
            for mount in row.Mounts
        )

    def file_at(self, container: str, path: str) -> ContentFile | Unfit | None:
        """As `docker_file.file_at`."""
        with errors(self._host, "read a file of the container"):
            return file_at(self._api, container, path)

    def beside(self, ids: Collection[str], project: str) -> list[Beside]:
        """The containers that run here beside these. project: of compose; "" for none. Only of its
        containers it is known what they depend on, and whose processes they see."""
        found = []
        with errors(self._host, "list containers"):
            rows = [row for row in self._listed({}) if row.Id not in ids]
            for row in rows:
                modes, needs = {row.HostConfig.NetworkMode}, list[str]()
                if project and row.Labels.get(labels.COMPOSE + "project") == project:
                    host = self._inspect(row.Id).HostConfig
                    modes |= {host.PidMode, host.IpcMode}
                    needs = [need.service for need in docker_spec.needs_of(row.Labels)]
                name = row.Names[0].lstrip("/") if row.Names else row.Id[:12]
                found.append(Beside(name, frozenset(modes), frozenset(needs)))
        return found

    def order(self, ids: Sequence[str]) -> tuple[str, ...]:
        """These containers, each after those that it needs."""
        return tuple(row.Id for row in docker_state.ordered(self._these(ids)))

    def fence(self, ids: Sequence[str]) -> None:
        """From now on the engine starts none of them by itself; it keeps that on its disk.

        EngineError when it does not say so itself afterwards.
        """
        self._these(ids)
        self.set_restart(dict.fromkeys(ids, "no"))

    def states(self, ids: Sequence[str]) -> dict[str, tuple[str, bool, bool]]:
        """The restart policy of each container, as compose says it, whether it runs, and whether
        its healthcheck fails."""
        found = {}
        for identity in ids:
            with errors(self._host, "look at the container"):
                seen = self._inspect(identity)
            found[identity] = (
                seen.HostConfig.RestartPolicy.told,
                docker_state.runs(seen.State.Status),
                seen.State.Health is not None and seen.State.Health.Status == "unhealthy",
            )
        return found

    def reached(self, container: str, port: Port) -> Port | None:
        """Where a port that it publishes is reached now; None where that is not known."""
        from portkit.engines.described.answers import Container
        from portkit.engines.docker_client import read

        with errors(self._host, "look at the container"):
            return read(Container, self._api.inspect_container(container)).reached(port)

    def set_restart(self, policies: Mapping[str, str]) -> None:
        """Set the restart policy of each container that is still there, as compose's `restart` says
        it."""
        there = {row.Id for row in self._rows_of(list(policies))}
        for identity, policy in policies.items():
            if identity not in there:
                continue
            self._set_restart(identity, policy)
            kept = self._inspect(identity).HostConfig.RestartPolicy
            if kept.told.partition(":")[0] != policy.partition(":")[0]:
                raise EngineError(
                    "the engine did not keep a restart policy",
                    details=f"{identity[:12]} on {self._host}: {kept.Name!r}, not {policy!r}",
                    resolution="Read the engine's log there.",
                )

    def stop_these(self, ids: Sequence[str]) -> None:
        """Stop containers, each before those that it needs, with the time that each asks for.

        EngineError when one of them runs afterwards: somebody else has started it.
        """
        self._stop_all(docker_state.ordered(self._these(ids)), None)
        running = [each for each in ids if self._runs(each)]
        if running:
            raise EngineError(
                "a container was stopped and is running again",
                details=f"{self._host}: {', '.join(each[:12] for each in running)}",
                resolution="Find out what starts it there, such as a systemd unit or a scheduler.",
            )

    def stops(self, ids: Sequence[str]) -> list[list[tuple[int, str, float]]]:
        """How `stop_these` would go: for those that run, in each of its turns, the process, the
        signal that it is sent, and the seconds after which it is killed."""
        turns = []
        for turn in docker_state.waves(docker_state.ordered(self._these(ids))):
            with errors(self._host, "look at the container"):
                seen = [self._inspect(row.Id) for row in turn]
            turns.append([docker_state.stop_of(each) for each in seen if each.State.Pid])
        return turns

    def require_stopped(self, ids: Sequence[str]) -> None:
        """ConflictError when one of these containers runs, or would be started by itself: of those
        that are still there."""
        there = [row.Id for row in self._rows_of(ids)]  # one that was removed starts no more
        awake = self._awake(there)
        if awake:
            raise ConflictError(
                "somebody or something started the App at its source again",
                details=f"{self._host}: {', '.join(each[:12] for each in awake)}",
                resolution="Decide which one shall continue. Either stop the App there and set "
                "its restart policy to `no` (docker update --restart no), or roll the "
                "Move back.",
            )

    def _awake(self, ids: Sequence[str]) -> list[str]:
        rows = self.states(ids).items()
        return [each for each, (policy, runs, _) in rows if runs or policy != "no"]

    def lost(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of these containers that are not there any more."""
        return tuple(sorted(set(ids) - {row.Id for row in self._rows_of(ids)}))

    def in_their_place(
        self, kind: str, name: str, ids: Collection[str], volumes: Sequence[str]
    ) -> tuple[str, ...]:
        """Containers that are not these, and run in their place or would start by themselves: with
        the name of the container or of the project, or with their volumes (the engine's names)."""
        asked = {
            "container": {"name": f"^/?{re.escape(name)}$"},
            "project": {"label": f"{labels.COMPOSE}project={name}"},
        }[kind]
        with errors(self._host, "list containers"):
            named = [row.Id for row in self._listed(asked, all_=True) if row.Id not in ids]
        users = {each for volume in volumes for each in self.users_of(volume)} - set(ids)
        return tuple(sorted({*self._awake(named), *users}))

    def execute(self, container: str, argv: Sequence[str], within_s: float) -> None:
        """Run a command in a container that runs. ToolError when it fails or does not end in so
        many seconds, EngineError when the container does not run."""
        from portkit.engines.docker_exec import execute

        with errors(self._host, "run a command in the container"):
            execute(self._api, container, argv, within_s)

    def made_by(self, move: str) -> dict[str, str]:
        """The containers that a Move has made here, whether they run or not: their ids, by service;
        "" is the only one."""
        with errors(self._host, "list containers"):
            rows = self._listed({"label": f"{labels.MOVE}={move}"}, all_=True)
        return {row.service: row.Id for row in rows}

    def start_these(self, ids: Sequence[str], within_s: float) -> tuple[str, ...]:
        """Start containers that do not run, each after those that it needs; the ids of those that
        are not there any more.

        within_s: how long each may wait for what it needs. It is started all the same then: it
        ran like that before.
        """
        rows = docker_state.ordered(self._rows_of(ids))
        for row in rows:
            if self._runs(row.Id):
                continue
            try:
                self._starter.start([row], rows, within_s)
            except (BootError, EngineError):  # also where a log cannot be read
                with errors(self._host, "start the container"):
                    self._api.start(row.Id)
        return tuple(sorted(set(ids) - {row.Id for row in rows}))

    def behind(
        self, live: Live, back: Mapping[str, str], known: Collection[Behind] = ()
    ) -> tuple[Behind, ...]:
        """The volumes and networks that were made for an App and are still here. back, known: as
        in `left`."""
        own = {each.id for each in live.containers}
        with errors(self._host, "list containers"):
            rows = self._listed({}, all_=True)
        mine = [row for row in rows if row.Id in own]
        joined = any(each.kind == "network" for each in known) or any(row.networks for row in mine)
        networks = self._networks() if joined else []
        return tuple(behind(self._volumes(), networks, rows, live, back, known))

    def left(
        self, live: Live, back: Mapping[str, str], known: Collection[Behind] = ()
    ) -> tuple[str, ...]:
        """What of an App that has moved away is still here, in words. back: the volumes that are
        the App's again, by their names, with the id of the Move that did it. known: what `behind`
        gave before something was removed."""
        rows = self._rows_of([each.id for each in live.containers])
        names = {each.id: each.service for each in live.containers}
        found = [f"container {row.Id[:12]} ({names[row.Id]}): {row.Status}" for row in rows]
        for each in self.behind(live, back, known):
            why = f" ({each.why}; portkit does not delete it)" if each.why else ""
            found.append(f"{each.kind} {each.name}{why}")
        held = self.held(live)
        for name in dict.fromkeys(row.Image for row in rows if row.Image):
            stays = "" if name in held else " (portkit does not delete it)"
            found.append(f"image {name}{stays}")
        return tuple(found)

    def held(self, live: Live) -> tuple[str, ...]:
        """The names by which an earlier Move holds the images of an App's containers here, as far
        as no other container needs them."""
        with errors(self._host, "list containers"):
            rows = self._listed({}, all_=True)
        own = {each.id for each in live.containers}
        others = {row.Image for row in rows if row.Id not in own}
        mine = {row.Image for row in rows if row.Id in own and row.Image.startswith(labels.HELD)}
        return tuple(sorted(mine - others))

    def delete(
        self, live: Live, back: Mapping[str, str], known: Collection[Behind] = ()
    ) -> tuple[str, ...]:
        """Remove the containers of an App that has moved away, and the volumes and networks that
        were made for it; which of these could not be removed, in words. ConflictError while one of
        the containers runs. back, known: as in `left`."""
        there = {row.Id for row in self._rows_of([each.id for each in live.containers])}
        running = [
            each.service for each in live.containers if each.id in there and self._runs(each.id)
        ]
        if running:
            raise ConflictError(
                "the App is running at its source",
                details=f"{', '.join(running)} on {self._host}",
                resolution="Nothing was deleted. Find out who started it there.",
            )
        things = self.behind(live, back, known)  # which needs the containers, or what is known
        with errors(self._host, "remove what was moved away"):
            for identity in there:
                self._api.remove_container(identity)
        remove = {"volume": self._api.remove_volume, "network": self._api.remove_network}
        stay = []
        for each in (each for each in things if not each.why):
            try:
                with errors(self._host, "remove what was moved away"):
                    remove[each.kind](each.id)
            except PortkitError as error:
                stay.append(f"{each.kind} {each.name}: {error.details}")
        return tuple(stay)

    def _rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Those of these containers that are there."""
        with errors(self._host, "list containers"):
            return [row for row in self._listed({"id": list(ids)}, all_=True) if row.Id in ids]

    def _runs(self, identity: str) -> bool:
        with errors(self._host, "look at the container"):
            return docker_state.runs(self._inspect(identity).State.Status)

    def _these(self, ids: Sequence[str]) -> list[Row]:
        """The containers of these ids; EngineError when one is not there any more."""
        rows = self._rows_of(ids)
        if lost := set(ids) - {row.Id for row in rows}:
            raise EngineError(
                "a container of the App no longer exists",
                details=f"{self._host}: {', '.join(each[:12] for each in sorted(lost))}",
                resolution="It was removed or created again: run `docker ps -a` there. A "
                "Move needs the containers at its source until the App runs on the target.",
            )
        return rows

    def _listed(self, filters: Mapping[str, object], *, all_: bool = False) -> list[Row]:
        from portkit.engines.docker_client import Row, read_all

        rows = read_all(Row, self._api.containers(all=all_, filters=dict(filters)))
        return [_named_by_compose(row) for row in rows]


def _named_by_compose(row: Row) -> Row:
    """Compose says the service in a label of its own."""
    told = row.Labels.get(labels.COMPOSE + "service", "")
    return row.model_copy(update={"Labels": {labels.SERVICE: told, **row.Labels}})
