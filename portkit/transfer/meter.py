"""How much a link carries, from what was given to it and what it has sent."""

from __future__ import annotations

from collections import deque

_LEAST_S = 0.6  # of sending, before a rate means something
_SLOW_S = 1.5  # a link that kept up so long is at least so fast
_WAITING = 0.25  # of what was given: when more of it waits, the link is what limits
# Rows in memory. With a piece of 256 KiB each this is one GiB of stream; of a longer one the older
# rows fall out, and the rate is that of the newer part.
_KEPT = 4096


class Meter:
    """Counts one stream. `count` before each piece is given to the link."""

    def __init__(self) -> None:
        self._given = 0
        self._rows: deque[tuple[float, int, int]] = deque(maxlen=_KEPT)

    def count(self, now: float, size: int, sent: int | None) -> None:
        """size: bytes of the next piece. sent: bytes that the link has sent so far, if known."""
        if sent is not None:
            self._rows.append((now, self._given, sent))
        self._given += size

    def rate(self) -> float | None:
        """Bytes a second of the later half of the time: a connection begins slowly. None while it
        cannot be told. Where the link kept up with what came, twice of what it carried."""
        if not self._rows:
            return None
        began, first, last = self._rows[0], self._rows[0], self._rows[-1]
        seconds = last[0] - began[0]
        given, sent = last[1] - began[1], last[2] - began[2]
        if seconds < _LEAST_S:
            return None
        # What was given and has not been sent waits in the buffers of ssh and of the kernel. While
        # they are not filled, the compressor is slower than the link, and all that can be said is
        # that the link carries at least so much.
        limits = given - sent > _WAITING * given
        if not limits and seconds < _SLOW_S:
            return None
        # TCP's slow start, and ssh's window that grows with use, make the first half of a short
        # transfer slower than what follows.
        for row in self._rows:
            if row[0] - began[0] <= seconds / 2:
                first = row
        carried = (last[2] - first[2]) / (last[0] - first[0])
        if carried <= 0:
            return None
        return carried if limits else 2 * carried
