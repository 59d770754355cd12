"""How a VM gets on that moves while it runs: when it may stop at its source, and whether its
migration will ever be over. Pure.

Its memory is sent again and again, each time what has changed meanwhile; libvirt calls that an
iteration. The guest is stopped when so little is left that the rest takes less than it may stand
still. What was sent and has not arrived is ahead of that rest, and QEMU does not know of it: two
ssh connections keep some megabytes on their way. So before the guest may stop, QEMU sends more
slowly than the connections take it for a while, until they are empty; the rest goes at full speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

# QEMU slows the guest down in about twenty iterations, as far as it can.
_ITERATIONS = 30
_STALLS_S = 300.0  # an emulated guest on a busy host is slow, too
_MIB = 1 << 20
_ON_THE_WAY = 5e6  # bytes: 2 MiB in each connection's window, and what its sockets keep
_EMPTY_S = 10.0  # longer than this nobody waits for it
_SLOW_S = 5.0  # a guest that changes much would not be over at that speed
_KNOWN_S = 1.0  # what is sent sooner is only kept, and says nothing of the rate
# For how long the guest may stand still while the rest is sent. What an idle one changes all the
# time takes a tenth of a second at 100 Mbit/s; in the end it is what QEMU allows by itself.
_NOT_YET_MS, _SHORT_MS, _LONG_MS = 1.0, 75.0, 300.0
_GROWS, _GROWS_S = 1.5, 0.5


@dataclass(frozen=True)
class Pace:
    """What was seen so far. now_s: when, since the beginning. iteration: its number, most: bytes
    that were left in it at most. least: the smallest `most` of an iteration that is over, when that
    was, and in which. sent: bytes, and when that has last changed. whole: when all of the memory
    began to be sent for the first time, and bytes sent until then. again_s: when what had changed
    began to be sent. rate: bytes a second in between; None where it took too short a time, or
    where libvirt counts less than before."""

    now_s: float = 0.0
    iteration: int = 0
    most: int = 0
    least: int | None = None
    least_s: float = 0.0
    least_iteration: int = 0
    sent: int = 0
    sent_s: float = 0.0
    whole: tuple[float, int] | None = None
    again_s: float | None = None
    rate: float | None = None

    def after(self, now_s: float, stats: Mapping[str, int]) -> Pace:
        """With what libvirt says of the job now; nothing, where it says nothing."""
        sent = stats.get("data_processed", self.sent)
        if sent != self.sent:
            self = replace(self, sent=sent, sent_s=now_s)
        self = replace(self, now_s=now_s)
        number = stats.get("memory_iteration", 0)
        left = stats.get("memory_remaining", 0)
        self = self._begun(number)
        if number <= self.iteration:
            return replace(self, most=max(self.most, left))
        if self.iteration and (self.least is None or self.most < self.least):
            self = replace(self, least=self.most, least_s=now_s, least_iteration=self.iteration)
        return replace(self, iteration=number, most=left)

    def _begun(self, iteration: int) -> Pace:
        if iteration and self.whole is None:
            self = replace(self, whole=(self.now_s, self.sent))
        if iteration > 1 and self.again_s is None:
            began_s, sent = self.whole or (self.now_s, self.sent)
            took_s = self.now_s - began_s
            known = took_s >= _KNOWN_S and self.sent > sent
            rate = (self.sent - sent) / took_s if known else None
            self = replace(self, again_s=self.now_s, rate=rate)
        return self

    @property
    def speed_mib(self) -> int | None:
        """MiB a second that QEMU may send, so that the connections become empty; None: no limit."""
        slow = self.again_s is not None and self.now_s < self.again_s + self._empty_s + _SLOW_S
        return self._slow_mib or None if slow else None

    @property
    def _slow_mib(self) -> int:
        """Half of what the connections take; 0 where that is not known, or less than one."""
        return int((self.rate or 0.0) / 2 / _MIB)

    @property
    def _empty_s(self) -> float:
        """How long what is on the way needs to arrive at that speed."""
        if not self.rate or not self._slow_mib:
            return 0.0
        return min(_ON_THE_WAY / (self.rate - self._slow_mib * _MIB), _EMPTY_S)

    @property
    def allowed_ms(self) -> int:
        """For how long the guest may stand still, as QEMU counts: at the speed that it has."""
        since_s = self.now_s - (self.again_s or 0.0) - self._empty_s
        if self.again_s is None or since_s < 0:
            return round(_NOT_YET_MS)
        steps = min(int(since_s / _GROWS_S), _ITERATIONS)
        allowed = min(_SHORT_MS * _GROWS**steps, _LONG_MS)
        slow = self.speed_mib
        return round(allowed * self.rate / (slow * _MIB) if slow and self.rate else allowed)

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
