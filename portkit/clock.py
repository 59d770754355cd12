"""One monotonic clock for a whole Move; its phases are passed to the observer and kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portkit.progress import Observer
from portkit.report import Phase


@dataclass
class Clock:
    """started: when the Move's first action began, in seconds of time.monotonic. It is shifted by
    the time in which other Moves were at work. stopped: when this one last paused."""

    observer: Observer
    started: float = field(default_factory=time.monotonic)
    stopped: float = field(default_factory=time.monotonic)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def going(self) -> Iterator[None]:
        """This Move is at work; the time until the next such block is not its own."""
        # The pause is taken out by moving the start: all later times are then counted from there.
        self.started += time.monotonic() - self.stopped
        try:
            yield
        finally:
            self.stopped = time.monotonic()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase, also when it fails."""
        self.observer.phase(name)
        begun = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            start = round(begun - self.started, 3)
            self.phases.append(Phase(name, start, round(seconds, 3)))

    def aside(self, observer: Observer) -> Clock:
        """A clock of the same Move for a lane of its own, with its own phases and observer."""
        return Clock(observer, self.started, self.stopped)

    def take(self) -> tuple[Phase, ...]:
        """The phases since the last call."""
        taken, self.phases = tuple(self.phases), []
        return taken
