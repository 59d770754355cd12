"""Requests to the two sides of a cutover -> a Timeline. Pure, and of bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from portkit.model import Overlap, Span, Timeline

SOURCE, TARGET = "source", "target"
# Spans of one side. An app that fails every other time makes ten in a second; a page of them is
# what people can look at, and the last ones are those of the cutover.
_MOST_SPANS = 200
# Successes that are kept one by one: at 50 ms on two sides those of four minutes.
_MOST_MOMENTS = 10_000
# The two sides report on their own, and a side in the order in which it asked, behind its slowest
# answer: what is older than this is complete.
_COMPLETE_S = 60.0


@dataclass(frozen=True)
class Attempt:
    """One request. answered_s: when the right answer had come; else when it was given up."""

    side: str
    sent_s: float
    answered_s: float
    ok: bool
    reason: str = ""


class Gap(NamedTuple):
    """The time between two successes that follow each other."""

    seconds: float
    from_s: float


def longest_gap(moments: Sequence[float]) -> Gap | None:
    """The longest time between two neighbours of these moments, the first one of several as long;
    None where there are fewer than two. moments: ascending."""
    gaps = [Gap(after - before, before) for before, after in pairwise(moments)]
    return max(gaps, key=lambda gap: gap.seconds, default=None)


class Recorder:
    """Takes attempts, of each side in the order in which they were sent."""

    def __init__(self, *, most_moments: int = _MOST_MOMENTS, most_spans: int = _MOST_SPANS) -> None:
        self._most_moments, self._most_spans = most_moments, most_spans
        self._spans: dict[str, list[Span]] = {}
        self._moments: list[float] = []
        self._folded: Gap | None = None
        self._requests = self._failed = 0
        # Before and after the Move has turned back: [answered first], [sent last] of each side.
        self._first: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self._last: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self._back_s: float | None = None

    def back(self, moment_s: float) -> None:
        """From now on the source may serve again, and the target must not."""
        self._back_s = moment_s

    def add(self, attempt: Attempt) -> None:
        """Take one attempt in."""
        self._requests += 1
        self._failed += not attempt.ok
        sent = attempt.sent_s
        fresh = Span(sent, sent, 1, int(not attempt.ok), attempt.reason)
        spans = self._spans.setdefault(attempt.side, [])
        if spans and spans[-1].ok == attempt.ok and spans[-1].failed in (0, spans[-1].requests):
            spans[-1] = _joined(spans[-1], fresh)
        else:
            spans.append(fresh)
            if len(spans) > self._most_spans:
                spans[:] = _shortened(spans)
        if attempt.ok:
            self._success(attempt)

    def _success(self, attempt: Attempt) -> None:
        phase = int(self._back_s is not None and attempt.sent_s >= self._back_s)
        first, last, side = self._first[phase], self._last[phase], attempt.side
        first[side] = min(first.get(side, attempt.answered_s), attempt.answered_s)
        last[side] = max(last.get(side, attempt.sent_s), attempt.sent_s)
        self._moments.append(attempt.answered_s)
        if len(self._moments) > self._most_moments:
            self._fold()

    def _fold(self) -> None:
        """Of the moments that are complete only the last one is needed any more."""
        self._moments.sort()
        newest = self._moments[-1]
        old = sum(moment < newest - _COMPLETE_S for moment in self._moments)
        self._folded = _longer(self._folded, longest_gap(self._moments[:old]))
        del self._moments[: max(old - 1, 0)]

    def overlaps(self) -> tuple[Overlap, ...]:
        """What proves that both sides served."""
        # A success proves that its side served at some moment between question and answer. So if
        # the source answered what was sent after an answer of the target, it was not stopped before
        # the target started. Where the intervals only touch, either order is possible.
        order = ((TARGET, SOURCE), (SOURCE, TARGET))
        found = []
        for phase, (first, then) in enumerate(order):
            from_s = self._first[phase].get(first)
            to_s = self._last[phase].get(then)
            if from_s is not None and to_s is not None and to_s > from_s:
                found.append(Overlap(first, then, round(from_s, 4), round(to_s, 4)))
        return tuple(found)

    def timeline(
        self, *, ended_s: float, poll_s: float = 0.0, vantage: Mapping[str, str] | None = None
    ) -> Timeline:
        """All that was taken in so far."""
        moments = sorted(self._moments)
        gap = _longer(self._folded, longest_gap(moments))
        if SOURCE in self._spans and SOURCE not in self._first[0]:
            gap = None  # the App may have been down since long before the target's first answer
        if TARGET in self._spans and self._back_s is None and TARGET not in self._first[0]:
            gap = None  # it is not over yet: what is known is how the source answered before
        return Timeline(
            spans={side: tuple(map(_rounded, spans)) for side, spans in self._spans.items()},
            downtime_s=None if gap is None else round(gap.seconds, 4),
            down_from_s=None if gap is None else round(gap.from_s, 4),
            last_success_s=round(moments[-1], 4) if moments else None,
            ended_s=round(ended_s, 4),
            requests=self._requests,
            failed=self._failed,
            both_answered=self.overlaps(),
            poll_s=round(poll_s, 4),
            vantage=dict(vantage or {}),
        )


def _longer(left: Gap | None, right: Gap | None) -> Gap | None:
    return max(filter(None, (left, right)), key=lambda gap: gap.seconds, default=None)


def _joined(left: Span, right: Span) -> Span:
    return Span(
        from_s=left.from_s,
        to_s=right.to_s,
        requests=left.requests + right.requests,
        failed=left.failed + right.failed,
        reason=right.reason or left.reason,
    )


def _shortened(spans: Sequence[Span]) -> list[Span]:
    """The older half of them joined in pairs."""
    half = len(spans) // 4 * 2
    pairs = zip(spans[:half:2], spans[1:half:2], strict=True)
    return [*(_joined(left, right) for left, right in pairs), *spans[half:]]


def _rounded(span: Span) -> Span:
    return replace(span, from_s=round(span.from_s, 4), to_s=round(span.to_s, 4))
