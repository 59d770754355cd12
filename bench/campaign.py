"""Rounds of a campaign: each is played, judged, and recorded when it is over.

ROUNDS is a regular expression that selects the rounds to play. Without it, the rounds are played
that are not yet recorded for the current code. Several processes may share a campaign, each with
its own lab (PORTKIT_LAB_NUMBER): none plays a round that another one plays or has just played.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from bench import harness
from bench.record import Code, Record, due

R = TypeVar("R")


def campaign(
    record: Record, every: Sequence[R], play: Callable[[R], str], clean: Callable[[], None]
) -> None:
    """Play the rounds; Ctrl-C or SIGTERM ends it, and what was played until then is recorded.

    play: "" when all is as it should be, else what is not. clean: makes the hosts fit for the next
    round after one that went wrong.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rounds, before = {str(each): each for each in every}, record.outcomes()
    chosen = wanted(list(rounds), record)
    for number, name in enumerate(chosen, 1):
        with record.claimed(name) as mine:
            if not mine or record.outcomes().get(name) != before.get(name):
                continue
            code, begun = Code.read(), time.monotonic()
            try:
                wrong = play(rounds[name])
            except KeyboardInterrupt:
                clean()
                raise SystemExit(130) from None
            except Exception as error:  # noqa: BLE001 - the other rounds are played all the same
                wrong = f"{type(error).__name__}: {error}"
            seconds = time.monotonic() - begun
            record.note(name, wrong, seconds, code)
        harness.tell(f"{number}/{len(chosen)} {name}: {wrong or 'well'}, {seconds:.0f} s")
        if wrong:
            clean()


def wanted(names: Sequence[str], record: Record) -> list[str]:
    """Those to play, in the order in which they are to be."""
    pattern = os.environ.get("ROUNDS", "")
    if pattern:
        return [name for name in names if re.search(pattern, name)]
    return due(names, record.outcomes(), Code.read().tree)
