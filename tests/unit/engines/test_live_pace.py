"""When a VM that moves while it runs is given up."""

from collections.abc import Iterable

from hypothesis import example, given
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


def paces(
    *, link: float, changes: float, until_s: float = 60.0, step_s: float = 0.25
) -> list[tuple[float, Pace]]:
    """Of a guest of 100 MB that changes so many bytes a second, over a link of so many."""
    found, pace, now_s, number, left, sent = [], Pace(), 0.0, 1, 100e6, 0.0
    while now_s < until_s:
        pace = pace.after(
            now_s,
            {
                "memory_iteration": number,
                "memory_remaining": int(left),
                "data_processed": int(sent),
            },
        )
        found.append((now_s, pace))
        speed = min(link, (pace.speed_mib or 1e9) * (1 << 20))
        now_s, sent, left = now_s + step_s, sent + speed * step_s, left - speed * step_s
        if left <= 0:
            number, left = number + 1, max(changes, 1000.0)
    return found


def test_the_connections_are_emptied_before_the_guest_may_stop() -> None:
    found = paces(link=12.5e6, changes=1e6)
    (first_s, slow) = next(row for row in found if row[1].speed_mib)
    assert first_s > 7.5  # all of it has been sent once
    assert slow.speed_mib == 5
    assert {pace.allowed_ms for at_s, pace in found if at_s < first_s} == {1}
    allowed_s = next(at_s for at_s, pace in found if pace.allowed_ms > 1)
    # 5 MB at what is left of the link: 12.5 MB/s without 5 MiB/s.
    assert 0.6 < allowed_s - first_s < 1.0
    last = found[-1][1]
    assert (last.speed_mib, last.allowed_ms) == (None, 300)
    assert sum(bool(pace.speed_mib) for _, pace in found) * 0.25 < 7


def test_a_guest_may_stand_still_as_long_as_it_would_at_full_speed() -> None:
    slow = [pace for _, pace in paces(link=12.5e6, changes=1e6) if pace.speed_mib]
    assert slow[-1].speed_mib is not None
    full = 300 * 12.5e6 / (slow[-1].speed_mib * (1 << 20))
    assert 0.95 < slow[-1].allowed_ms / full < 1.05


def test_a_link_that_is_too_slow_or_too_fast_to_know_is_not_slowed_down() -> None:
    for link in (1e6, 1e9):
        found = [pace for _, pace in paces(link=link, changes=1000.0, until_s=300.0)]
        assert not any(pace.speed_mib for pace in found)
        assert found[-1].allowed_ms == 300


@given(st.lists(st.tuples(st.floats(0.01, 60), st.integers(0, 20), st.integers(0, 10**10))))
@example([(1.0, 1, 2097152), (1.0, 2, 0)])  # what was sent is less than before
def test_whatever_is_said_the_guest_may_stop_in_the_end(
    rows: list[tuple[float, int, int]],
) -> None:
    pace, now_s = Pace(), 0.0
    for step_s, number, sent in rows:
        now_s += step_s
        pace = pace.after(now_s, {"memory_iteration": number, "data_processed": sent})
        assert pace.allowed_ms >= 1
        assert pace.speed_mib is None or pace.speed_mib >= 1
    pace = pace.after(now_s + 1, {"memory_iteration": 30}).after(now_s + 40, {})
    assert (pace.speed_mib, pace.allowed_ms) == (None, 300)
