"""When the source of a cutover may be stopped, so that its downtime is counted from an answer."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.move import downtime
from portkit.move.downtime import Downtime


class Clock:
    """A halt that notes its pauses and lets no time pass but theirs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(downtime, "time", SimpleNamespace(monotonic=lambda: self.now))

    def pause(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.mark.parametrize(
    ("answers_s", "waits_s"), [(0.0, 0.5), (0.4, 0.5), (3.0, 3.0), (60.0, 10.0)]
)
def test_the_first_answer_is_waited_for(
    answers_s: float, waits_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    prober: Any = SimpleNamespace(
        began=100.0, answered=lambda side: side == "source" and clock.now >= 100 + answers_s
    )
    halt: Any = clock
    Downtime(prober).await_source(halt)
    assert clock.now - 100 == pytest.approx(waits_s, abs=0.15)
    clock.now = 500.0
    Downtime(prober).await_source(halt)
    assert clock.now == 500, "it was asked for long enough before"


def test_where_nobody_is_asked_nothing_is_waited_for() -> None:
    began = time.monotonic()
    halt: Any = None
    Downtime().await_source(halt)
    assert time.monotonic() - began < 5
