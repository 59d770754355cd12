"""Stage 4: an Artifact on a Host -> an Instance that can be started, stopped and removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from portkit.errors import AppError
from portkit.host import Host
from portkit.model import Artifact, Form, Instance, RunSpec


class Runner(Protocol):
    """What every engine can do with Instances; ids are the Move's."""

    def create(self, artifact: Artifact, held: str, spec: RunSpec, identity: str) -> Instance:
        """Created, not started; nothing starts it by itself before `commit`."""

    def start(self, identity: str) -> None:
        """Start it; returns when the engine has."""

    def stop(self, identity: str, grace_s: float) -> int | None:
        """Stop signal, time to finish, force; the exit code where one is known."""

    def state(self, identity: str) -> tuple[str, int | None]:
        """(created | running | exited, exit code)."""

    def commit(self, identity: str, restart: str) -> None:
        """Let the host start it by itself as compose's `restart` says."""

    def remove(self, identity: str) -> None:
        """Everything of the Instance; fine when it is gone."""

    def logs(self, identity: str, tail: int = 100) -> str:
        """The last lines that it wrote."""

    def instances(self) -> tuple[Instance, ...]:
        """What portkit has here in this Form."""


@contextmanager
def runner(host: Host, form: Form) -> Iterator[Runner]:
    """The Runner of a Form on a host; EngineError when its engine does not answer."""
    if form is not Form.IMAGE:
        raise AppError(
            "portkit boots images only for now",
            details=f"the form asked for is {form}",
            resolution="Use --form image.",
        )
    from portkit.boot.container import Containers

    containers = Containers(host)
    try:
        yield containers
    finally:
        containers.close()


def find(runner: Runner, wanted: str) -> Instance:
    """The Instance of that id, or the only one of that App; AppError otherwise."""
    every = runner.instances()
    found = [each for each in every if wanted in (each.id, each.app)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{each.id} ({each.app})" for each in found or every) or "none"
    raise AppError(
        "more than one Instance has that name" if found else "there is no such Instance",
        details=f"{wanted[:80]!r}; there: {names}",
        resolution="Name it by its id; portkit ps shows them.",
    )
