"""The clock of a Move."""

import pytest

from portkit import clock as clock_room
from portkit.clock import Clock
from portkit.move import steps
from portkit.progress import NullObserver
from portkit.report import Sent
from portkit.transfer.deliver import Delivery
from portkit.transfer.price import Packing


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


def test_a_blob_in_the_report_keeps_what_was_chosen() -> None:
    packing = Packing("zlib", 6)
    row = Delivery("sha256:a", 9, 4, 3, 2, 5, ("sha256:b",), packing, "a reason", 1)
    wanted = Sent("sha256:a", 9, 4, 3, 2, 5, ("sha256:b",), "zlib", 6, 0, "a reason", 1)
    assert steps._sent(row) == wanted
