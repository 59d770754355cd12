"""The image Form: containers on the host's Docker Engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from portkit.boot.blueprint import Blueprint
from portkit.boot.patience import PATIENCE_S
from portkit.boot.remains import found, remains
from portkit.engines.docker import Docker
from portkit.host import Host
from portkit.model import AppSpec, Form, Instance, Life, Standing
from portkit.wire import labels


class Containers:
    """The `portkit.boot.Runner` of the image Form."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._engine = Docker(host.docker_socket(), host.name, self._pause)

    def close(self) -> None:
        """Close the connection to the engine."""
        self._engine.close()

    def _pause(self, seconds: float) -> None:
        """A lane of a Move that fails ends the waiting of the other one."""
        self._host.remote.halt.pause(seconds)

    def create(self, made_from: Blueprint) -> Instance:
        """A container for each service; their restart policies stay `no` until `commit`."""
        spec, identity = made_from.spec, made_from.identity
        self._engine.create(made_from.held, spec, identity)
        return Instance(identity, spec.app, Form.IMAGE, self._host.name, "created")

    def renew(self, made_from: Blueprint) -> None:
        """New containers in place of the ones that are there."""
        self._engine.renew(made_from.held, made_from.spec, made_from.identity)

    def volume_folders(self, identity: str) -> Mapping[int, str]:
        """The engine's own folders."""
        return self._engine.volume_folders(identity)

    def volume_names(self, identity: str) -> Mapping[int, str]:
        """The engine's names."""
        return self._engine.volume_names(identity)

    def content_folder(self, identity: str) -> str:
        """The engine's own folder."""
        return self._engine.content_folder(identity)

    def fill(self, identity: str, numbers: Sequence[int]) -> None:
        """Nothing: the folders are the volumes."""

    def start(
        self,
        identity: str,
        within_s: float = PATIENCE_S,
        service: str | None = None,
        standing: Standing | None = None,
    ) -> None:
        """Start the containers, each when what it depends on is as it has to be."""
        self._engine.start(identity, within_s, service, standing)

    def stop(
        self, identity: str, grace_s: float | None = None, service: str | None = None
    ) -> int | None:
        """Stop the containers in reverse order; the exit code is the engine's."""
        return self._engine.stop(identity, grace_s, service)

    def life(self, identity: str, unasked: Collection[str] = (), *, again: bool = False) -> Life:
        """What the engine says about the container now. again: portkit starts it again."""
        return self._engine.life(identity, unasked, again=again)

    def commit(self, identity: str, policies: Mapping[str, str], spec: AppSpec | None) -> None:
        """Set the restart policies that the App asks for."""
        self._engine.restart_policies(identity, policies)

    def withdraw(self, identity: str) -> None:
        """Set the restart policies to `no`."""
        self._engine.withdraw(identity)

    def remove(self, identity: str, service: str | None = None, *, keep_data: bool = False) -> None:
        """The container, its volumes, and the held image when no other container needs it."""
        if service is not None:
            self._engine.remove_service(identity, service)
            return
        used = self._engine.remove(identity, keep_data=keep_data)
        held = {image for image in used if image.startswith(labels.HELD)}
        # A Move that was killed after it removed the container leaves the name of its image.
        left = {row.name for row in found(self._host) if row.kind == "image" and row.id == identity}
        for image in sorted(held | left):
            self._host.remote.call("image.remove", {"reference": image})

    def logs(self, identity: str, tail: int = 100, service: str | None = None) -> str:
        """The end of the logs that the engine keeps."""
        return self._engine.logs(identity, tail, service)

    def follow(
        self, identity: str, write: Callable[[bytes], object], service: str | None = None
    ) -> None:
        """Pass on what the container writes, until it ends."""
        self._engine.follow(identity, write, service)

    def instances(self) -> tuple[Instance, ...]:
        """Containers, and what killed Moves left without one: volumes and held images."""
        rows = self._engine.instances()
        known = {row.id for row in rows}
        left = remains(self._host, Form.IMAGE)
        return (*rows, *(row for row in left if row.id not in known))
