"""How fast something goes, and how long it will still take. Pure."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 10.0  # older observations say little about the time that is left
_STEADY_S = 3.0  # before that, the first second of a disk once promised three hours
_STEADY_RATIO = 2.0  # the two halves of the window differ by no more
_EVERY_S = 0.1  # between two observations that are kept


class Rate:
    """Observations of a count that grows: (seconds, bytes), of the last ten seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        """`done` bytes at `now`; fewer than before is the beginning of something new."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        if len(self._seen) > 1 and now - self._seen[-2][0] < _EVERY_S:
            self._seen.pop()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()

    def per_second(self) -> float:
        """Bytes a second over the window; 0 where nothing can be said."""
        return _between(self._seen[0], self._seen[-1]) if self._seen else 0.0

    def left_s(self, total: int) -> float | None:
        """Seconds until `total`; None before the rate is steady."""
        if not self._seen:
            return None
        first, last = self._seen[0], self._seen[-1]
        if last[0] - first[0] < _STEADY_S:
            return None
        middle = min(self._seen, key=lambda row: abs(row[0] - (first[0] + last[0]) / 2))
        slow, fast = sorted((_between(first, middle), _between(middle, last)))
        if not slow or fast > slow * _STEADY_RATIO:
            return None
        return max(0, total - last[1]) / _between(first, last)


def _between(one: tuple[float, int], other: tuple[float, int]) -> float:
    seconds = other[0] - one[0]
    return (other[1] - one[1]) / seconds if seconds > 0 else 0.0
