"""A running App at its source while it moves: fenced, stopped, started again on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from portkit.boot.patience import PATIENCE_S
from portkit.engines.docker_source import DockerSource
from portkit.host import Host
from portkit.model import Live


class Origin:
    """What a Move does to a running App where it comes from. Everything can be done again."""

    def __init__(self, engine: DockerSource, live: Live) -> None:
        self._engine, self._live = engine, live

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

    def start(self) -> None:
        """Start again what ran when the Move was planned."""
        ids = [each.id for each in self._live.containers if each.running]
        self._engine.start_these(ids, PATIENCE_S)

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
