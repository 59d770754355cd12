"""Docker's API through its SDK: containers only; images go through the remote half."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.engines import docker_spec, docker_state, podman
from portkit.engines.docker_again import Again
from portkit.engines.docker_errors import errors
from portkit.engines.docker_maker import Maker
from portkit.engines.docker_start import Starter
from portkit.engines.marks import ours
from portkit.engines.patience import CALL_S, Patient, within
from portkit.errors import AppError, ConflictError, EngineError
from portkit.model import (
    AppSpec,
    Instance,
    Life,
    Standing,
)
from portkit.wire import labels

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Inspected, NetworkRow, Row, Volume

_LOG_LIMIT = 1 << 20  # bytes of a log that are kept
_LOG_READ = 64 << 20  # bytes after which an engine is not listened to any more


class Docker:
    """One engine behind a unix socket. `close` when done."""

    def __init__(
        self, socket: Path, host: str, pause: Callable[[float], object] = time.sleep
    ) -> None:
        """pause: sleeps between two questions, and may raise to end the waiting."""
        from portkit.engines.docker_client import Client

        self._host, self._pause = host, pause
        url = f"unix://{socket}"
        with errors(self._host, "reach the engine"):
            made = within(CALL_S, lambda: Client(base_url=url, version="auto", timeout=120))
        # `close` and `stop` are called past the patience: the one must not start a thread at the
        # end of a process, the other may take as long as the App says.
        self._sdk = made
        self._api = Patient(made)
        self._checks = podman.Checks(self._api)
        self._again = Again(self._api.start)
        self._starter = Starter(host, self._api.start, self._inspect, self._log, self._again, pause)
        self._maker = Maker(self._api, host, lambda: self._podman)

    @cached_property
    def _podman(self) -> bool:
        """Whether Podman answers at the socket."""
        from portkit.engines.docker_client import Version, read

        return read(Version, self._api.version(api_version=False)).podman

    def close(self) -> None:
        """Close the connections to the engine."""
        self._sdk.close()

    def create(self, held: Mapping[str, str], app: AppSpec, identity: str) -> None:
        """Containers that do not start by themselves, and their volumes and networks.

        held: under which name each image (digest) is held. ConflictError when a network of the App
        has a name that is taken.
        """
        self._maker.all(held, app, identity)

    def renew(self, held: Mapping[str, str], app: AppSpec, identity: str) -> None:
        """New containers in place of those that are there, with the same volumes and networks."""
        with errors(self._host, "remove the container"):
            for row in self._rows(identity):
                self._api.remove_container(row.Id, force=True)
        self._maker.containers(held, app, identity)

    def start(
        self,
        identity: str,
        within_s: float,
        service: str | None = None,
        standing: Standing | None = None,
    ) -> None:
        """Start the containers in the order in which they need each other; returns when the engine
        has started the last one's process.

        within_s: how long one may have to wait for what it depends on. service: only one of
        several. standing: what is not demanded; None: that those run which were never started,
        unless none was. BootError when what it depends on fails.
        """
        rows = every = self._chosen(identity, None)
        resting: Collection[str] = docker_state.never_started(every)
        if service is not None:
            rows = self._chosen(identity, service)
            rows = [row for row in rows if docker_state.listed(row).status != "running"]
            resting = docker_state.never_started(every) - {service}
        elif standing is not None:
            resting = standing.resting
        awake = [row for row in every if row.service not in resting]
        ill = standing.ill if standing is not None else ()
        self._starter.start([row for row in rows if row in awake], awake, within_s, ill)

    def stop(
        self, identity: str, grace_s: float | None = None, service: str | None = None
    ) -> int | None:
        """Stop signal, `grace_s` seconds (None: the App's own), SIGKILL: each container before
        those that it needs, others at the same time. The exit code of the only one, else None.
        """
        rows = self._chosen(identity, service)
        if len(rows) == 1:
            return self._stop(rows[0].Id, grace_s)
        self._stop_all(rows, grace_s)
        return None

    def _stop_all(self, rows: Sequence[Row], grace_s: float | None) -> None:
        for together_now in docker_state.waves(rows):
            with ThreadPoolExecutor(len(together_now)) as pool:
                # Each is waited for, and the first error is raised.
                list(pool.map(lambda row: self._stop(row.Id, grace_s), together_now))

    def _stop(self, container: str, grace_s: float | None) -> int | None:
        with errors(self._host, "stop the container"):
            if grace_s is None:  # told to the SDK: it waits no longer for the answer than that
                _, _, grace_s = docker_state.stop_of(self._inspect(container))
            # Not `within` a time of ours: the App's own may be longer.
            self._sdk.stop(container, timeout=math.ceil(grace_s))
            return self._inspect(container).State.ExitCode

    def _inspect(self, container: str) -> Inspected:
        from portkit.engines.docker_client import Inspected, read

        row = read(Inspected, self._api.inspect_container(container))
        if not self._checks.overdue(container, row) or not self._podman:
            return row
        self._checks.make(container)
        return read(Inspected, self._api.inspect_container(container))

    def restart_policies(self, identity: str, policies: Mapping[str, str]) -> None:
        """Let the engine start it by itself, each service (by its name) as compose's `restart`
        says."""
        rows = self._services(identity)
        for row in rows:
            alone = next(iter(policies.values())) if len(rows) == len(policies) == 1 else None
            policy = policies.get(row.service, alone)
            if policy is None:
                raise ConflictError(
                    "a container carries the labels of another App's",
                    details=f"{row.Id[:12]} on {self._host}, of {identity}",
                    resolution="Remove that container if nobody needs it.",
                )
            # Podman's service that starts containers with the host takes a new one with this policy
            # for one that ran (podman-ps(1), should-start-on-boot). Docker's daemon starts none
            # that has never been started (moby, daemon.restore).
            if self._podman and row.State == "created" and policy == "unless-stopped":
                policy = "no"
            self._set_restart(row.Id, policy)

    def withdraw(self, identity: str) -> None:
        """The engine starts none of the containers by itself any more."""
        for row in self._rows(identity):
            self._set_restart(row.Id, "no")

    def _set_restart(self, container: str, policy: str) -> None:
        """policy: as compose's `restart` says it."""
        kind, _, count = policy.partition(":")
        value = {"Name": kind, "MaximumRetryCount": int(count or 0)}
        with errors(self._host, "set the restart policy"):
            self._api.update_container(container, restart_policy=value)

    def volume_folders(self, identity: str) -> dict[int, str]:
        """Where the host has the content of each volume of an Instance, by number."""
        return {number: row.Mountpoint for number, row in self._own_volumes(identity)}

    def volume_names(self, identity: str) -> dict[int, str]:
        """What the engine calls each volume of an Instance, by number."""
        return {number: row.Name for number, row in self._own_volumes(identity)}

    def _own_volumes(self, identity: str) -> Iterator[tuple[int, Volume]]:
        for row in self._volumes(f"{labels.MOVE}={identity}"):
            number = row.Labels.get(labels.VOLUME, "")
            if number.isdecimal():
                yield int(number), row

    def content_folder(self, identity: str) -> str:
        """Where the host has the files that came with an App; "" where none did."""
        name = docker_spec.content_volume(identity)
        rows = self._volumes(f"{labels.MOVE}={identity}")
        return next((row.Mountpoint for row in rows if row.Name == name), "")

    def remove(self, identity: str, *, keep_data: bool = False) -> set[str]:
        """The containers, their volumes and networks; nothing else. The names of the images that
        they were made from.

        keep_data: volumes with the data of an App that ran elsewhere stay. A network that is not
        the App's alone stays while another container is in it.
        """
        with errors(self._host, "remove the container"):
            rows = self._rows(identity)
            for row in rows:
                # force kills it first: an App that is removed with its volumes has nothing to save.
                # Its anonymous volumes go by their labels, too, unless they hold such data.
                self._api.remove_container(row.Id, v=not keep_data, force=True)
            # By label and not by name: only those that portkit made for this Move, in whatever
            # number.
            label = f"{labels.MOVE}={identity}"
            for network in self._networks(label):
                if labels.EXTERNAL not in network.Labels or not self._joined(network.Name):
                    self._api.remove_network(network.Id)
            for volume in self._volumes(label):
                if not (keep_data and labels.DATA in volume.Labels):
                    self._api.remove_volume(volume.Name)
        return {row.Image for row in rows}

    def _joined(self, network: str) -> bool:
        """Whether a container is in a network, also one that does not run: it could not be started
        without that."""
        from portkit.engines.docker_client import Row, read_all

        rows = read_all(Row, self._api.containers(all=True, filters={"network": network}))
        return any(network in row.networks for row in rows)

    def remove_service(self, identity: str, service: str) -> None:
        """The container of one of several services. Volumes and networks of the App stay: the
        others may use them.

        AppError when there is no such service, or no other one.
        """
        (row,) = self._chosen(identity, service)
        if len(self._services(identity)) == 1:
            raise AppError(
                "the App has no other service on the host",
                details=f"{service} is the last one of {identity}",
                resolution="Remove the whole App instead: leave out the service name.",
            )
        with errors(self._host, "remove the container"):
            self._api.remove_container(row.Id, force=True)

    def _networks(self, label: str = "") -> list[NetworkRow]:
        """Those with a label; "" is all."""
        from portkit.engines.docker_client import NetworkRow, read_all

        with errors(self._host, "list networks"):
            return read_all(
                NetworkRow, self._api.networks(filters={"label": label} if label else {})
            )

    def _volumes(self, label: str = "") -> list[Volume]:
        """Those with a label; "" is all."""
        from portkit.engines.docker_client import Volumes, read

        with errors(self._host, "list volumes"):
            return read(
                Volumes, self._api.volumes(filters={"label": label} if label else None)
            ).Volumes

    def logs(self, identity: str, tail: int, service: str | None = None) -> str:
        """The end of what it wrote, both streams: so many lines, at most 1 MiB.

        service: one of several; None for all of them, whose lines begin with their names.
        """
        rows = self._chosen(identity, service)
        if len(rows) == 1:
            return self._log(rows[0].Id, tail)
        return "".join(_named(row.service, self._log(row.Id, tail)) for row in rows)

    def _chosen(self, identity: str, service: str | None) -> list[Row]:
        rows = self._services(identity)
        chosen = [row for row in rows if service in (None, row.service)]
        if not chosen:
            names = ", ".join(row.service for row in rows if row.service)
            raise AppError(
                "the App has no such service on the host",
                details=f"{service}; its services are: {names or 'only one, without a name'}",
                resolution="`portkit ps` lists them.",
            )
        return chosen

    def _log(self, container: str, tail: int) -> str:
        kept, seen = bytearray(), 0
        with errors(self._host, "read the logs"):
            rows = self._api.logs(container, tail=tail, stream=True, follow=False)
            for data in rows:
                kept += data
                # `tail` counts lines, and a line may be gigabytes long.
                del kept[:-_LOG_LIMIT]
                seen += len(data)
                if seen > _LOG_READ:
                    rows.close()
                    break
        return kept.decode("utf-8", "replace")

    def follow(
        self, identity: str, write: Callable[[bytes], object], service: str | None = None
    ) -> None:
        """What it writes from now on, until it ends; of several services, the one that is named or
        that answers for the App."""
        rows = self._chosen(identity, service)
        row = next((each for each in rows if each.front), rows[0])
        with errors(self._host, "follow the logs"):
            for data in self._api.logs(row.Id, stream=True, follow=True, tail=0):
                write(data)

    def life(self, identity: str, unasked: Collection[str] = (), *, again: bool = False) -> Life:
        """What the engine says of the containers now, as one. unasked: services whose healthchecks
        do not count. again: start again what has ended, as its restart policy says."""
        rows = self._services(identity)
        with errors(self._host, "look at the container"):
            lives = [self._again.life(row, self._inspect(row.Id), start=again) for row in rows]
            return docker_state.together(list(zip(rows, lives, strict=True)), unasked)

    def instances(self) -> tuple[Instance, ...]:
        """Every Instance that portkit made here; not those with labels it would never write."""
        found: dict[str, list[Row]] = {}
        for row in self._rows(None):
            identity, app = row.Labels.get(labels.MOVE, ""), row.Labels.get(labels.APP, "")
            if ours(identity, app):
                found.setdefault(identity, []).append(row)
        return tuple(
            docker_state.instance(identity, rows, self._host) for identity, rows in found.items()
        )

    def _services(self, identity: str) -> list[Row]:
        """The containers of an Instance, each after those that it needs."""
        rows = self._rows(identity)
        if not rows:
            raise EngineError(
                "the container no longer exists",
                details=f"{identity} on {self._host}",
                resolution="`portkit ps` lists what exists.",
            )
        return docker_state.ordered(rows)

    def _rows(self, identity: str | None) -> list[Row]:
        from portkit.engines.docker_client import Row, read_all

        # The engine filters: other people's containers are not even listed.
        label = labels.MOVE if identity is None else f"{labels.MOVE}={identity}"
        with errors(self._host, "list containers"):
            return read_all(Row, self._api.containers(all=True, filters={"label": label}))


def _named(service: str, text: str) -> str:
    """Every line behind the name of its service, as compose shows them."""
    return "".join(f"{service} | {line}\n" for line in text.splitlines())
