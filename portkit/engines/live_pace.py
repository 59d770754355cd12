"""Whether a VM that moves while it runs will ever be over. Pure.

Its memory is sent again and again, each time what has changed meanwhile; libvirt calls that an
iteration. It is over when so little is left that the rest takes less than a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# QEMU slows the guest down in about twenty iterations, as far as it can.
_ITERATIONS = 30
_STALLS_S = 300.0  # an emulated guest on a busy host is slow, too


@dataclass(frozen=True)
class Pace:
    """What was seen so far. now_s: when, since the beginning. iteration: its number, most: bytes
    that were left in it at most. least: the smallest `most` of an iteration that is over, when that
    was, and in which. sent: bytes, and when that has last changed."""

    now_s: float = 0.0
    iteration: int = 0
    most: int = 0
    least: int | None = None
    least_s: float = 0.0
    least_iteration: int = 0
    sent: int = 0
    sent_s: float = 0.0

    def after(self, now_s: float, stats: Mapping[str, int]) -> Pace:
        """With what libvirt says of the job now; nothing, where it says nothing."""
        sent = stats.get("data_processed", self.sent)
        if sent != self.sent:
            self = replace(self, sent=sent, sent_s=now_s)
        self = replace(self, now_s=now_s)
        number = stats.get("memory_iteration", 0)
        left = stats.get("memory_remaining", 0)
        if number <= self.iteration:
            return replace(self, most=max(self.most, left))
        if self.iteration and (self.least is None or self.most < self.least):
            self = replace(self, least=self.most, least_s=now_s, least_iteration=self.iteration)
        return replace(self, iteration=number, most=left)

    def stalled(self) -> str:
        """Why it will not end, in words; "" while it may."""
        if self.now_s - self.sent_s > _STALLS_S:
            return f"nothing was sent for {_STALLS_S:.0f} s"
        more = self.iteration - self.least_iteration
        late = self.least is not None and self.now_s - self.least_s > _STALLS_S
        if late and more > _ITERATIONS:
            return (
                f"its memory was sent {more} times in {self.now_s - self.least_s:.0f} s, and what "
                f"is left does not shrink: {self.most / 1000000.0:.1f} MB"
            )
        return ""
