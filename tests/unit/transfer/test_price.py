"""Levels by link and cores, worth of bases, rates of links: pure functions."""

import os
from itertools import pairwise

import pytest

from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing, is_packed, packing, quick, worth

ZSTD = ("zstd", "zlib", "raw")
MB = 1_000_000


def test_a_slow_link_gets_a_small_stream_and_a_fast_one_an_early_one() -> None:
    levels = [packing(ZSTD, 300 * MB, rate, 2, False).level for rate in (1e6, 12e6, 50e6, 1e9)]
    assert levels[0] == 9
    assert levels[-1] == 1
    assert all(left >= right for left, right in pairwise(levels))


def test_little_is_always_made_small() -> None:
    """Metadata of a disk: nobody waits for it."""
    assert packing(ZSTD, 10 * MB, 1e9, 2, False).level == 9


def test_compressed_content_is_not_compressed_again() -> None:
    assert packing(ZSTD, 300 * MB, 1e6, 2, True).level == 1
    assert is_packed([os.urandom(5000)])
    assert not is_packed([b"text " * 1000])
    assert not is_packed([])


def test_a_size_is_learnt_by_a_quicker_level() -> None:
    assert quick(Packing("zstd", 9, 26, 2)) == (Packing("zstd", 3, 26, 2), 0.88 / 0.93)
    for already in (Packing("zstd", 1), Packing("zstd", 3, 26), Packing("zlib", 6)):
        assert quick(already) == (already, 1.0)


@pytest.mark.parametrize("size", [0, 1, 2, 1000, 1 << 20, 1 << 27, 1 << 40])
def test_the_window_is_no_larger_than_the_content(size: int) -> None:
    found = packing(ZSTD, size, 1e6, 2, False)
    assert found.window == 0 or 10 <= found.window <= 27
    assert size > 1 << 16 or found.window <= 17
    assert found.threads == 0 or size > 1 << 24


def test_what_the_host_cannot_read_is_not_used() -> None:
    assert packing(("zlib", "raw"), MB, 1e6, 2, False).encoding == "zlib"
    assert packing(("raw",), MB, 1e6, 2, False).encoding == "raw"


def test_a_base_in_the_engine_has_to_be_worth_its_reading() -> None:
    assert worth(100 * MB, 100 * MB, 12e6, in_engine=True)
    assert not worth(1 * MB, 1000 * MB, 12e6, in_engine=True)
    assert not worth(100 * MB, 100 * MB, 1e9, in_engine=True)
    assert worth(1 * MB, 1000 * MB, 12e6, in_engine=False)


def measured(rate: float, produced: float, buffers: float, seconds: float) -> float | None:
    """A link of `rate`, something that gives it `produced` a second, so much that can wait."""
    meter, given, sent, piece = Meter(), 0.0, 0.0, 1 << 18
    now = 0.0
    while now < seconds:
        meter.count(now, piece, int(sent))
        given += piece
        step = piece / produced
        while True:
            now += step
            sent = min(given, sent + rate * step)
            if given - sent <= buffers:
                break
            step = 0.01
    return meter.rate()


def test_a_rate_is_told_when_the_link_limits() -> None:
    found = measured(12.5e6, 50e6, 6e6, 1.0)
    assert found is not None
    assert abs(found - 12.5e6) < 1e6
    assert measured(12.5e6, 50e6, 6e6, 0.3) is None


def test_a_link_that_keeps_up_is_faster_than_what_it_carried() -> None:
    assert measured(300e6, 40e6, 6e6, 1.0) is None
    found = measured(300e6, 40e6, 6e6, 3.0)
    assert found is not None
    assert found > 70e6
    assert Meter().rate() is None
