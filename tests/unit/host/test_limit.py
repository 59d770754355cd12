"""A rate is held, whatever the pieces and the clock are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.host.limit import Bucket, rate


class Clock:
    def __init__(self) -> None:
        self.now = 5.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def bucket(of: float) -> tuple[Bucket, Clock]:
    clock = Clock()
    return Bucket(of, lambda: clock.now, clock.sleep), clock


@given(st.lists(st.integers(0, 300_000), max_size=20), st.floats(1000, 1e7))
def test_never_faster(sizes: list[int], of: float) -> None:
    one, clock = bucket(of)
    done, count, begun = 0, 0, clock.now
    for size in sizes:
        for piece in one.pieces(bytes(size)):
            done += len(piece)
            count += 1
            assert done <= of * (clock.now - begun) * 1.000001 + 1
    # Nor slower, but for the shortest sleep before each piece.
    assert clock.now - begun <= done / of * 1.000001 + 0.01 + 2e-4 * count
    assert done == sum(sizes)


def test_the_data_is_the_same() -> None:
    one, _ = bucket(1000)
    data = bytes(range(256)) * 100
    assert b"".join(one.pieces(data)) == data


def test_a_pause_gives_no_more_than_a_tenth_of_a_second() -> None:
    one, clock = bucket(1e6)
    clock.now += 3600
    begun = clock.now
    list(one.pieces(bytes(1_000_000)))
    assert clock.now - begun == pytest.approx(0.9, abs=0.001)


def test_a_clock_that_goes_back_stops_nothing() -> None:
    one, clock = bucket(1e6)
    list(one.pieces(bytes(1000)))
    clock.now -= 100
    list(one.pieces(bytes(1000)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10mbit", 1.25e6),
        ("2MB", 2e6),
        ("500k", 5e5),
        ("1gbit", 1.25e8),
        ("1.5 MB/s", 1.5e6),
        ("8kbit", 1000),
        ("1000", 1000),
        ("100Mbit/s", 1.25e7),
    ],
)
def test_rates(text: str, wanted: float) -> None:
    assert rate(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "fast", "-1m", "0", "1", "10 mbits", "nan", "1e9", "9" * 400, "100mbps"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|between"):
        rate(text)
