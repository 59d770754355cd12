"""A running App at its source while it moves: fenced, stopped, started again on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from portkit.engines.docker_source import DockerSource
from portkit.host import Host
from portkit.model import Live

# For what a service waits for before it is started again. It ran before, also where a healthcheck
# has failed for weeks, and now nobody serves.
_PATIENCE_S = 60.0


class Origin:
    """What a Move does to a running App where it comes from. Everything can be done again."""

    def __init__(self, engine: DockerSource, live: Live) -> None:
        self._engine, self._live = engine, live

    def seen(self) -> Live:
        """As it is there now: which of its containers run, and what starts them."""
        states = self._engine.states([each.id for each in self._live.containers])
        rows = tuple(
            replace(each, restart=states[each.id][0], running=states[each.id][1])
            for each in self._live.containers
        )
        return replace(self._live, containers=rows)

    def require(self) -> None:
        """EngineError when one of its containers is not there any more."""
        self._engine.order([each.id for each in self._live.containers])

    def fence(self) -> None:
        """From now on nothing starts it by itself, also after its host was restarted."""
        self._engine.fence([each.id for each in self._live.containers])

    def unfence(self) -> None:
        """As it was before the Move."""
        self._engine.set_restart({each.id: each.restart for each in self._live.containers})

    def stop(self) -> None:
        """Stop all of it, each service before those that it needs."""
        self._engine.stop_these([each.id for each in self._live.containers])

    def require_stopped(self) -> None:
        """ConflictError when somebody has started it again, or something would."""
        self._engine.require_stopped([each.id for each in self._live.containers])

    def start(self) -> tuple[str, ...]:
        """Start again what ran before; the ids of what is not there any more."""
        ids = [each.id for each in self._live.containers if each.running]
        return self._engine.start_these(ids, _PATIENCE_S)

    def left(self) -> tuple[str, ...]:
        """What of it is still there, in words."""
        return self._engine.left(self._live)

    def delete(self) -> None:
        """Remove its containers, and the volumes whose data was taken along.

        ConflictError while one of its containers runs.
        """
        self._engine.delete(self._live)


@contextmanager
def origin(host: Host, live: Live) -> Iterator[Origin]:
    """The App of `live` on its host. EngineError when its engine does not answer."""
    engine = DockerSource(host.docker_socket(), host.name, host.remote.halt.pause)
    try:
        yield Origin(engine, live)
    finally:
        engine.close()
