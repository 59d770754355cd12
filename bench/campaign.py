"""Rounds of a campaign: each is played, and what went wrong with it is said when it is over."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench import harness

R = TypeVar("R")


@dataclass(frozen=True)
class Played:
    """rounds: how many were played. every: how many there are. wrong: a line for each that did not
    end as it should."""

    rounds: int
    every: int
    wrong: tuple[str, ...]

    def row(self, what: str) -> harness.Row:
        """How many went wrong; the bar is none."""
        count = (
            f"all {self.every}" if self.rounds == self.every else f"{self.rounds} of {self.every}"
        )
        name = f"{what}, {count} rounds: those that did not end as they should"
        return harness.Row(name, "rounds", (float(len(self.wrong)),), limit=0)


def campaign(
    every: Sequence[R], play: Callable[[R], str], clean: Callable[[], None], wanted: str = ""
) -> Played:
    """Play the rounds; Ctrl-C or SIGTERM ends it, and what was played until then counts.

    play: "" when all is as it should be, else what is not. clean: makes the hosts fit for the next
    round after one that went wrong. wanted: a regular expression of those to play.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [each for each in every if re.search(wanted, str(each))]
    wrong: list[str] = []
    for number, each in enumerate(chosen, 1):
        begun = time.monotonic()
        try:
            found = play(each)
        except KeyboardInterrupt:
            clean()
            return Played(number - 1, len(every), tuple(wrong))
        except Exception as error:  # noqa: BLE001 - the other rounds are played all the same
            found = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - begun
        harness.tell(f"{number}/{len(chosen)} {each}: {found or 'well'}, {seconds:.0f} s")
        if found:
            wrong.append(f"{each}: {found}")
            clean()
    for line in wrong:
        harness.tell(line)
    return Played(len(chosen), len(every), tuple(wrong))
