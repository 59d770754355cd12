"""Bytes to and from a remote half that may say nothing, too little, or far too much."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress

from portkit.process import Process
from portkit.wire import frames

# The remote half sends a sign of life every BEAT_S while it works. ssh notices a dead link after
# 25 s by itself; this is for a host that answers ssh and nothing else. A machine that is three
# times slower than usual, or whose disk blocks everything for a minute, is still in time.
SILENCE_S = 120.0
# A frame that has begun comes at least so fast: the lowest rate that --limit-rate takes.
_SLOWEST_BYTES_PER_S = 1000.0
_CHUNK = 1 << 16
_GLANCE_S = 0.5  # between two looks at whether waiting has any sense left


class Silent(Exception):
    """Nothing came, or nothing could be sent, for too long."""


class Pipes:
    """Both pipes of a process. written, read_bytes: bytes that went through them.

    glance: is called now and then while something is waited for, and may raise.
    """

    def __init__(self, process: Process, glance: Callable[[], None] = lambda: None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._files = (process.stdin, process.stdout)
        self._in = process.stdin.fileno()
        self._out = process.stdout.fileno()
        # A write that blocks could not be given up. The other end of the pipe is not affected.
        os.set_blocking(self._in, False)
        self._glance = glance
        self.written = 0
        self.read_bytes = 0
        self._begun = time.monotonic()
        self._came = 0

    def push(self, data: bytes, patience_s: float | None = None) -> None:
        """Write all of it. BrokenPipeError when nobody reads any more, Silent when nobody has
        read anything for so long; None is SILENCE_S."""
        view = memoryview(data)
        while view:
            if not self._ready(SILENCE_S if patience_s is None else patience_s, to_send=True):
                raise Silent
            count = os.write(self._in, view[:_CHUNK])
            self.written += count
            view = view[count:]

    def has_news(self, seconds: float = 0.0) -> bool:
        """Whether something can be read, or the other end is closed, within so many seconds."""
        return self._ready(seconds)

    def _ready(self, seconds: float, *, to_send: bool = False) -> bool:
        files = ([], [self._in]) if to_send else ([self._out], [])
        end = time.monotonic() + seconds
        while True:
            self._glance()
            left = max(0.0, end - time.monotonic())
            if any(select.select(*files, [], min(left, _GLANCE_S))):
                return True
            if left <= _GLANCE_S:
                return False

    def frame(self) -> tuple[bytes, bytes] | None:
        """The next frame, None at the end. FrameError when it is none, Silent when it does not
        begin within SILENCE_S or comes in crumbs."""
        self._begun, self._came = time.monotonic(), 0
        return frames.read_frame(self)

    def read(self, count: int) -> bytes:
        """What has come of the next `count` bytes; b"" at the end."""
        end = self._begun + SILENCE_S + self._came / _SLOWEST_BYTES_PER_S
        if not self.has_news(end - time.monotonic()):
            raise Silent
        # What is there, though it is less: waiting for all of it would count as silence.
        data = os.read(self._out, min(count, _CHUNK))
        self._came += len(data)
        self.read_bytes += len(data)
        return data

    def close(self) -> None:
        """Close both: the remote half ends, and cleans up. Fine when it has ended."""
        # The output too: a host that is in the middle of sending would wait for its reader, and
        # never look at its input.
        for file in self._files:
            with suppress(BrokenPipeError):
                file.close()
