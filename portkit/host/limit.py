"""What goes to a host, held to a rate: a token bucket."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]?)(bit|b)?(?:/s)?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_BURST_S = 0.1  # of the rate may go at once
_LEAST = 1 << 12  # bytes, else a slow link's data would go in crumbs


def rate(text: str) -> float:
    """Bytes a second of 10mbit, 2MB, 500k (powers of 1000, as links are sold). ValueError."""
    match = _RATE.fullmatch(text.strip())
    # Before float(): a text of a million digits is no rate.
    if match is None or len(match[1]) > 15:
        raise ValueError(f"{text[:40]!r} is not a rate such as 10mbit or 2MB")
    value = float(match[1]) * _FACTORS[match[2].lower()]
    value /= 8 if (match[3] or "").lower() == "bit" else 1
    if not 1000 <= value <= 1e12:
        raise ValueError(f"{text[:40]!r} is not between 8kbit and 1000 GB per second")
    return value


class Bucket:
    """Holds what passes through to `rate` bytes a second, from the first byte on and over any
    longer time; after a pause of the sender a tenth of a second's worth may go at once."""

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = rate
        self._size = max(_LEAST, int(rate * _BURST_S))
        self._clock, self._sleep = clock, sleep
        # Empty at first: a full bucket would let a short transfer pass at once, whatever the limit.
        self._tokens, self._at = 0.0, clock()

    def passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks in pieces, each when it may go."""
        for data in chunks:
            yield from self.pieces(data)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The data in pieces, each when it may go."""
        for start in range(0, len(data), self._size):
            piece = data[start : start + self._size]
            self._wait(len(piece))
            yield piece

    def _wait(self, count: int) -> None:
        self._fill()
        while self._tokens < count:
            # Not so short that a clock would not move: the last byte may lack by rounding alone.
            self._sleep(max(1e-4, (count - self._tokens) / self.rate))
            self._fill()
        self._tokens -= count

    def _fill(self) -> None:
        now = self._clock()
        # A tiny bit more than a piece: rounding must not make the last wait endless.
        self._tokens = min(self._size + 1, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
