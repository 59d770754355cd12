"""Which host answered when during a cutover, and how long neither did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Span:
    """Requests to one side that followed each other and had the same result.

    from_s, to_s: when the first and the last of them were sent. failed: how many had no right
    answer; of a long time line the oldest spans are joined, and only then it is neither none nor
    all of them. reason: why the last one failed.
    """

    from_s: float
    to_s: float
    requests: int
    failed: int
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether all of them were answered."""
        return self.failed == 0


@dataclass(frozen=True)
class Overlap:
    """Proof that both sides served: `first` had answered by `from_s`, and `then`, which was to be
    stopped before `first` started, answered a request that was sent at `to_s`, which is later."""

    first: str
    then: str
    from_s: float
    to_s: float


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What a prober saw of both sides. Times are seconds of its monotonic clock since it began.

    downtime_s: the longest time between two successes that follow each other, on whichever side;
    it began at `down_from_s`. None where there were fewer than two, where the source was asked and
    had no success before the Move turned back (nobody saw when the App went down), or where the
    target was asked and had none, and the Move has not turned back (it is not over). poll_s: the
    longest time that was left between two requests to a side, so no time is more exact.
    ended_s: when it was stopped.
    last_success_s: None where nothing answered; what is between it and `ended_s` is no part of
    `downtime_s`. both_answered: empty where nothing proves that both sides served at the same time.
    vantage: how each side was reached: direct or ssh.
    """

    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    downtime_s: float | None = None
    down_from_s: float | None = None
    last_success_s: float | None = None
    ended_s: float = 0.0
    requests: int = 0
    failed: int = 0
    both_answered: tuple[Overlap, ...] = ()
    poll_s: float = 0.0
    vantage: Mapping[str, str] = field(default_factory=dict)
