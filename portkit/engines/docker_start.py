"""Containers are started in the order in which they need each other, and wait for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from portkit.engines import docker_spec, docker_state
from portkit.engines.docker_again import Again
from portkit.engines.docker_errors import errors
from portkit.errors import BootError
from portkit.model import Condition, Dependency

if TYPE_CHECKING:  # it loads the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Inspected, Row, State

_POLL_S = 0.1  # each question is a request to the engine, over ssh for most targets
_LAST_LINES = 30
_FAILED = {
    Condition.STARTED: "did not start",
    Condition.HEALTHY: "did not become healthy",
    Condition.COMPLETED: "failed",
}


class Starter:
    """Starts containers of one engine. run, inspect, log: what that does with one, by its id.
    pause: sleeps between two questions, and may raise to end the waiting."""

    def __init__(
        self,
        host: str,
        run: Callable[[str], object],
        inspect: Callable[[str], Inspected],
        log: Callable[[str, int], str],
        again: Again,
        pause: Callable[[float], object],
    ) -> None:
        self._host, self._run, self._inspect = host, run, inspect
        self._log, self._again, self._pause = log, again, pause

    def start(
        self,
        rows: Sequence[Row],
        beside: Sequence[Row],
        within_s: float,
        ill: Collection[str] = (),
    ) -> None:
        """Start containers in this order. beside: those that they may have to wait for. ill: of
        which no more is waited for than their start."""
        known = {row.service: row for row in beside}
        deadline = time.monotonic() + within_s
        with errors(self._host, "start the container"):
            for row in rows:
                for need in docker_spec.needs_of(row.Labels):
                    if need.service in ill and need.condition is Condition.HEALTHY:
                        need = replace(need, condition=Condition.STARTED)
                    if need.service in known:
                        self._wait_for(known[need.service], need, row, deadline)
                self._run(row.Id)

    def _wait_for(self, other: Row, need: Dependency, row: Row, deadline: float) -> None:
        """Until `other` is as `row` needs it to be, or is known not to come to that where `row` can
        do without it."""
        condition, required = need.condition, need.required
        while True:
            seen = self._inspect(other.Id)
            state, met = seen.State, docker_state.met(seen.State, condition)
            if met:
                return
            if met is None and self._again.life(other, seen, start=True).again:
                met = False
            if met is None and not required:
                return
            if met is None or time.monotonic() > deadline:
                raise self._unmet(other, condition, row, state, late=met is not None)
            self._pause(_POLL_S)

    def _unmet(
        self, other: Row, condition: Condition, row: Row, state: State, *, late: bool
    ) -> BootError:
        ended = docker_state.has_ended(state) and condition is not Condition.COMPLETED
        what = "does not run" if ended else _FAILED[condition] + " in time" * late
        return BootError(
            f"{row.service} cannot start: {other.service} {what}",
            details=self._last_words(other, state),
            resolution=f"Read the output of {other.service} above"
            + (", and start it first." if ended else "."),
        )

    def _last_words(self, row: Row, state: State) -> str:
        """What a service wrote last, and what its healthcheck did."""
        checks = state.Health.Log[-3:] if state.Health else []
        said = [f"healthcheck, code {each.ExitCode}: {each.Output.strip()}" for each in checks]
        code = "" if state.Status == "running" else f"exit code {state.ExitCode}"
        log = self._log(row.Id, _LAST_LINES).strip()
        return "\n".join(text for text in (code, *said, log) if text)[: docker_state.SAID_LIMIT]
