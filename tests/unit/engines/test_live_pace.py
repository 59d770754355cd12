"""When a VM that moves while it runs is given up."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from portkit.engines.live_pace import Pace

MB = 1_000_000


def why(rows: Iterable[tuple[float, int, int, int]]) -> str:
    """Of rows of seconds, iteration, bytes left, bytes sent."""
    pace = Pace()
    for now_s, number, left, sent in rows:
        stats = {"memory_iteration": number, "memory_remaining": left, "data_processed": sent}
        pace = pace.after(now_s, stats)
        if found := pace.stalled():
            return found
    return ""


def test_memory_that_changes_as_fast_as_it_is_sent() -> None:
    found = why((float(n * 20), n, 400 * MB, n * MB) for n in range(1, 200))
    assert "sent 31 times" in found
    assert "400.0 MB" in found


def test_memory_that_changes_slower_than_it_is_sent() -> None:
    assert not why((float(n * 20), n, (1000 - n) * MB, n * MB) for n in range(1, 900))


def test_a_large_disk_and_a_large_memory_take_long() -> None:
    """The first iteration alone takes hours."""
    disk = [(float(n), 0, 0, n * MB) for n in range(10_000)]
    memory = [(10_000.0 + n, 1, (20_000 - n) * MB, (10_000 + n) * MB) for n in range(20_000)]
    assert not why([*disk, *memory])


def test_many_iterations_within_a_moment() -> None:
    assert not why((n / 10, n, MB, n * MB) for n in range(1, 2000))


def test_a_way_that_takes_nothing() -> None:
    assert why((float(n), 1, MB, MB) for n in range(1000)) == "nothing was sent for 300 s"
    pace = Pace().after(200.0, {}).after(299.0, {})
    assert not pace.stalled()
    assert pace.after(301.0, {}).stalled()


@given(
    st.integers(1, 50),
    st.lists(st.integers(0, 10**12), min_size=1, max_size=300),
    st.integers(0, 10**12),
)
def test_it_is_always_given_up_where_nothing_becomes_less(
    step_s: int, lefts: list[int], least: int
) -> None:
    rows = [(n, left) for n, left in enumerate(lefts, 1)]
    low = min(lefts[:-1], default=lefts[-1])
    rows += [(len(rows) + n, low + least) for n in range(1, 1000)]
    assert why((float(n * step_s), n, left, n) for n, left in rows)
