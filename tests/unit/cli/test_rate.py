"""No time that is left is shown before the rate is steady, and then a true one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portkit_cli.observers import PlainObserver
from portkit_cli.rate import Rate


def after(*seen: tuple[float, int]) -> Rate:
    rate = Rate()
    for now, done in seen:
        rate.add(now, done)
    return rate


def test_a_slow_first_second_promises_nothing() -> None:
    """A disk of 740 MB of which 70 kB came in the first second: 10588 s were shown."""
    slow = [(0.0, 0), (0.5, 30_000), (1.0, 70_000)]
    assert after(*slow).left_s(740_000_000) is None
    # Then it goes fast: nothing is promised while the halves differ, and never hours.
    fast = [(1.0 + number, 70_000 + number * 50_000_000) for number in range(1, 15)]
    assert after(*slow, *fast[:2]).left_s(740_000_000) is None
    for count in range(len(fast)):
        assert (after(*slow, *fast[:count]).left_s(740_000_000) or 0) < 30
    left = after(*slow, *fast).left_s(740_000_000)
    assert left == pytest.approx((740_000_000 - fast[-1][1]) / 50_000_000, rel=0.1)


def test_a_steady_rate() -> None:
    rate = after(*((number / 10, number * 1000) for number in range(41)))
    assert rate.per_second() == pytest.approx(10_000)
    assert rate.left_s(100_000) == pytest.approx(6.0)
    assert rate.left_s(10) == 0.0, "more came than was announced"


def test_nothing_and_a_stand_still() -> None:
    assert (Rate().per_second(), Rate().left_s(1)) == (0.0, None)
    still = after((0.0, 5), (4.0, 5), (8.0, 5))
    assert (still.per_second(), still.left_s(10)) == (0.0, None)


def test_a_smaller_count_is_something_new() -> None:
    rate = after((0.0, 0), (5.0, 500), (6.0, 10), (7.0, 20))
    assert rate.per_second() == pytest.approx(10)
    assert rate.left_s(1000) is None


@given(st.lists(st.tuples(st.floats(0, 60), st.integers(0, 1 << 50)), max_size=60))
def test_any_observations(steps: list[tuple[float, int]]) -> None:
    rate, now = Rate(), 0.0
    for step, done in steps:
        now += step
        rate.add(now, done)
        assert rate.per_second() >= 0
        left = rate.left_s(1 << 51)
        assert left is None or left >= 0


def test_what_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr("portkit_cli.observers.time.monotonic", lambda: now[0])
    observer = PlainObserver(live=True)
    for tick in range(60):
        now[0] = tick / 10
        observer.bytes("disk", tick * 1_000_000, 100_000_000)
        shown = capsys.readouterr().err
        if tick < 30:
            assert "left" not in shown
        elif shown:
            assert re.search(r"10\.0 MB/s, [4-7] s left", shown), shown
