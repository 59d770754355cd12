"""Containers that have ended before `commit`, until which the engine itself starts none again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portkit.engines import docker_state
from portkit.model import Life
from portkit.wire import labels

if TYPE_CHECKING:  # it loads the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Inspected, Row

# As Docker's daemon does it: at once, then after twice as long each time, up to a minute; anew for
# one that has lasted (moby, daemon/internal/restartmanager).
_FIRST_S, _MOST_S, _LASTED_S = 0.1, 60.0, 10.0


@dataclass
class _Tries:
    """Of one container. pause_s: before the next start. due, began: moments of the clock."""

    count: int = 0
    pause_s: float = _FIRST_S
    due: float | None = None
    began: float | None = None


class Again:
    """Starts containers again as their restart policies say, which portkit has put into a label.

    start: starts the container of an id.
    """

    def __init__(
        self, start: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._start, self._clock = start, clock
        self._known: dict[str, _Tries] = {}

    def life(self, row: Row, seen: Inspected, *, start: bool) -> Life:
        """A container's Life. start: one that has ended is started again, now or in a moment, where
        its policy says so and the engine does not do it."""
        life = docker_state.life(seen)
        known = self._known.get(row.Id, _Tries())
        policy = row.Labels.get(labels.RESTART, "")
        alone = start and life.exit_code is not None and seen.HostConfig.RestartPolicy.told == "no"
        if alone and docker_state.starts_again(policy, life.exit_code or 0, known.count):
            life = self._ended(row, life)
            known = self._known[row.Id]
        return replace(life, restarts=life.restarts + known.count)

    def _ended(self, row: Row, life: Life) -> Life:
        known, now = self._known.setdefault(row.Id, _Tries()), self._clock()
        if known.due is None:
            if known.began is not None and now - known.began >= _LASTED_S:
                known.pause_s = _FIRST_S
            known.due = now + known.pause_s
        elif now >= known.due:
            self._start(row.Id)
            known.count, known.began, known.due = known.count + 1, now, None
            known.pause_s = min(2 * known.pause_s, _MOST_S)
        words = f"{row.service or 'the app'} exited with code {life.exit_code}"
        return replace(life, status="running", exit_code=None, started="", again=words)
