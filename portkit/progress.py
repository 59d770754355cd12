"""What happens, told to whoever wants to know. The library never prints."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

log = logging.getLogger("portkit")


class Observer(Protocol):
    """Receives the events of a long job. Methods must not raise.

    A Move makes the disk while the image is sent, so two threads may call methods at the same time.
    """

    def phase(self, name: str) -> None:
        """A phase begins ("package:image", "transfer:disk", ...)."""

    def message(self, text: str) -> None:
        """A line that the user should read."""

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes of `name` have been processed; total None means unknown."""


class NullObserver:
    """An Observer that ignores everything."""

    def phase(self, name: str) -> None: ...
    def message(self, text: str) -> None: ...
    def bytes(self, name: str, done: int, total: int | None) -> None: ...


class Quiet(NullObserver):
    """An Observer that passes on what the user should read, and nothing of what begins and is
    counted: of what is repeated for hours."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def message(self, text: str) -> None:
        self._observer.message(text)


class JsonObserver:
    """One JSON object a line: {"t": seconds, "event": "phase"|"message"|"bytes", ...}.

    Byte counts of one name are told at most every `every_s` seconds, and always when complete.
    """

    def __init__(self, stream: TextIO, every_s: float = 0.5) -> None:
        self._stream = stream
        self._every = every_s
        self._start = time.monotonic()
        self._last: dict[str, float] = {}  # by name: two are counted at once
        self._lock = threading.Lock()

    def _write(self, event: str, **values: object) -> None:
        row = {"t": round(time.monotonic() - self._start, 3), "event": event, **values}
        with self._lock:
            self._stream.write(json.dumps(row) + "\n")
            # Whoever reads this is a program that waits for the line.
            self._stream.flush()

    def phase(self, name: str) -> None:
        self._write("phase", name=name)

    def message(self, text: str) -> None:
        self._write("message", text=text)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        now = time.monotonic() - self._start
        if done != total and now - self._last.get(name, -self._every) < self._every:
            return
        self._last[name] = now
        self._write("bytes", name=name, done=done, total=total)


@contextmanager
def phase(observer: Observer, name: str) -> Iterator[None]:
    """Tell that a phase begins; log how long it took."""
    observer.phase(name)
    started = time.monotonic()
    try:
        yield
    finally:
        log.debug("phase %s took %.3f s", name, time.monotonic() - started)
