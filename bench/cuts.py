"""Cuts connections of the target when a given number of bytes has crossed its link."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.harness import tell
from bench.hosts import TARGET
from portkit import lab, process

_SEED = 20
_LOOK_S = 0.002


def chance() -> random.Random:
    """The same cuts in every benchmark, others in every run of it."""
    return random.Random(_SEED)


@contextmanager
def at(points: Sequence[int]) -> Iterator[None]:
    """While the block runs, reset every ssh connection to the target each time its link has
    carried one more of so many bytes. Raises AssertionError when some cut was never made."""
    start, done = sum(lab.counters(TARGET)), threading.Event()
    made = 0

    def watch() -> None:
        nonlocal made
        while made < len(points) and not done.wait(_LOOK_S):
            if sum(lab.counters(TARGET)) - start >= points[made]:
                reset()
                made += 1

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    tell(f"{made} of {len(points)} cuts")
    assert made == len(points), f"only {made} of {len(points)} cuts were made"


def reset() -> None:
    """Destroy the connections to the target's sshd: both ends see a reset, what was on its way is
    lost (ss(8), -K)."""
    address = lab.host(TARGET).address
    process.run(["ss", "-K", "-t", "dst", address, "dport", "=", "22"], timeout=20)
