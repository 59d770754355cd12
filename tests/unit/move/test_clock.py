"""The clock of a Move."""

import pytest

from portkit import clock as clock_room
from portkit.clock import Clock
from portkit.progress import NullObserver


def test_the_clock_stands_still_between_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clock_room.time, "monotonic", lambda: now[0])
    clock = Clock(NullObserver(), now[0], now[0])
    now[0] = 150.0  # another Move is at work
    with clock.going(), clock.phase("package image"):
        now[0] = 153.0
    now[0] = 500.0
    with clock.going(), clock.phase("transfer"):
        now[0] = 502.0
    rows = [(phase.name, phase.start_s, phase.seconds) for phase in clock.take()]
    assert rows == [("package image", 0.0, 3.0), ("transfer", 3.0, 2.0)]
    assert now[0] - clock.started == 5.0
