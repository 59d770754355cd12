"""Commands in the containers of an App: before a Move stops them, and where they run next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from portkit.engines.docker_source import DockerSource
from portkit.errors import EngineError, ToolError
from portkit.host import Host
from portkit.model import Live, LiveContainer

_AGAIN_S = 1.0  # between two tries of a command in a container that has only just been started


class Commands:
    """What x-portkit.quiesce asks for, in containers that run."""

    def __init__(self, engine: DockerSource, live: Live) -> None:
        self._engine, self._live = engine, live

    def before(self) -> None:
        """Run what is to run before they are stopped, in the order in which they will be. ToolError
        when one fails."""
        for each in reversed(self._live.containers):
            if each.running and each.quiesce.before:
                self._engine.execute(each.id, each.quiesce.before, each.quiesce.timeout_s)

    def after(self, pause: Callable[[float], None]) -> None:
        """Run what is to run when they run again, each after those that it needs.

        It may come too early for what has only just been started: it is tried again until its time
        is over, and only then its ToolError is raised, or the EngineError of a container that does
        not run."""
        for each in self._live.containers:
            if each.running and each.quiesce.after:
                self._until_done(each, pause)

    def _until_done(self, container: LiveContainer, pause: Callable[[float], None]) -> None:
        end = time.monotonic() + container.quiesce.timeout_s
        while True:
            try:
                left = max(end - time.monotonic(), _AGAIN_S)
                self._engine.execute(container.id, container.quiesce.after, left)
                return
            except (ToolError, EngineError):
                if time.monotonic() + _AGAIN_S > end:
                    raise
            pause(_AGAIN_S)


@contextmanager
def commands(host: Host, live: Live, *, move: str | None = None) -> Iterator[Commands]:
    """Those of an App on its host. move: in the containers that this Move has made there, for those
    that ran at the source. EngineError when one of them is not there."""
    engine = DockerSource(host.docker_socket(), host.name, host.remote.halt.pause)
    try:
        yield Commands(engine, live if move is None else _made(engine, live, move))
    finally:
        engine.close()


def _made(engine: DockerSource, live: Live, move: str) -> Live:
    made = engine.made_by(move)
    alone = len(live.containers) == 1
    rows = [(each, made.get("" if alone else each.service)) for each in live.containers]
    there = tuple(replace(each, id=identity) for each, identity in rows if identity is not None)
    lost = [
        each.service
        for each, identity in rows
        if identity is None and each.running and each.quiesce.after
    ]
    if lost:
        raise EngineError(
            "a container of the App no longer exists on the target",
            details=f"{', '.join(lost)} of {move}",
            resolution="It was removed: run `docker ps -a` there.",
        )
    return replace(live, containers=there)
