"""A folder that is looked at before a Move, through two real remote halves."""

from __future__ import annotations

import os
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.remote import volume_survey
from portkit.remote.volume_survey import Sample
from portkit.volumes.survey import Place, Survey, link_rate, survey
from portkit.wire import tree
from portkit.wire.blocks import Want
from tests.unit.volumes.folders import Pair, seen

# `portkit.volumes.survey` is the function where it is imported by name.
surveys = sys.modules[survey.__module__]
_MIB, WINDOW_S = 1 << 20, 0.3


@pytest.fixture(autouse=True)
def _time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine looks at all of it, too."""
    monkeypatch.setattr(surveys, "_BUDGET_S", 60.0)


@given(st.lists(st.integers(0, 40 * tree.BLOCK), max_size=30), st.integers(1, 20))
def test_a_sample_lies_evenly_in_all_content(sizes: list[int], most: int) -> None:
    sample = Sample(most)
    for number, size in enumerate(sizes):
        sample.add(b"%d" % number, size, [(0, size)])
    total = sum(map(tree.blocks_of, sizes))
    found = [each.place for each in sample.picked]
    assert len(found) <= most
    assert len(found) >= min(total, most) // 2
    assert len({b - a for a, b in pairwise(found)}) <= 1
    assert all(0 < each.length <= tree.BLOCK for each in sample.picked)
    if total <= most:
        assert len(found) == total
        assert sum(each.length for each in sample.picked) == sum(sizes)


def test_a_huge_sparse_file_is_sampled_at_once() -> None:
    sample = Sample(8)
    sample.add(b"f", tree.MAX_SIZE, [(0, tree.MAX_SIZE)])
    assert 4 <= len(sample.picked) <= 8


def look(pair: Pair, *names: str) -> Survey:
    (found,) = survey(
        pair.hosts[0], [Place(str(pair.origin), names)], pair.hosts[1], window_s=WINDOW_S
    )
    return found


def test_many_volumes_are_looked_at_within_one_window(pair: Pair) -> None:
    places = []
    for number in range(30):
        folder = pair.origin / str(number)
        folder.mkdir()
        (folder / "file").write_bytes(os.urandom(1000 + number))
        places.append(Place(str(folder)))
    began = time.monotonic()
    found = survey(pair.hosts[0], places, pair.hosts[1], window_s=WINDOW_S)
    assert [each.bytes for each in found] == [1000 + number for number in range(30)]
    assert all(each.whole and each.entries == 2 for each in found)
    assert [each.sampled_bytes for each in found] == [each.bytes for each in found]
    assert [each.packed_bytes for each in found] == [each.bytes for each in found]
    assert len({(each.way_bytes, each.way_s) for each in found}) == 1
    assert found[0].way_bytes > 0
    assert time.monotonic() - began < 30 * WINDOW_S + 30
    assert survey(pair.hosts[0], [], pair.hosts[1]) == []


class Clock:
    """Each look at it takes some time."""

    def __init__(self, step_s: float) -> None:
        self.now, self._step_s = 0.0, step_s

    def monotonic(self) -> float:
        self.now += self._step_s
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Sent:
    """Takes what is sent."""

    def add(self, record: bytes) -> None: ...

    def finish(self) -> None: ...


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("step_s", [0.001, 0.01])
def test_the_time_is_bounded_however_many_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, step_s: float
) -> None:
    """Four times the budget, and for each folder what is begun when its share is over."""
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in range(30):
            (folder / str(name)).write_bytes(b"x" * 100)
    clock = Clock(step_s)
    monkeypatch.setattr(volume_survey, "time", clock)
    monkeypatch.setattr(volume_survey.stream, "Sender", lambda *_: Sent())
    folders = [{"path": str(tmp_path / str(number)), "names": None} for number in range(count)]
    args = {"folders": folders, "blocks": 1024, "budget_s": 2.0, "window_s": 2.0}
    args |= {"encoding": "zlib", "content_level": 1}
    rows = volume_survey.survey(args, None)["folders"]  # type: ignore[arg-type]
    assert clock.now <= 4 * 2.0 + 4 * count * step_s
    assert sum(row["entries"] > 0 for row in rows) > count / 2, "each has its share"
    assert len(rows) == count
    assert all(row["whole"] for row in rows) is (count * step_s < 0.1)


@given(st.integers(0, 2000), st.integers(0, 1 << 44))
def test_a_trial_sends_a_small_share_of_the_content(count: int, content: int) -> None:
    content = max(content, count * tree.BLOCK)
    wants = [Want(b"f", number, tree.BLOCK, bytes(tree.HASH)) for number in range(count)]
    some = [each.number for each in surveys.picked(wants, content)]
    assert len(some) * tree.BLOCK <= content * 0.02 + 4 * tree.BLOCK
    assert len(some) <= count
    assert bool(some) is bool(count)
    assert some == sorted(set(some))
    assert max((b - a for a, b in pairwise(some)), default=0) <= count / max(1, len(some)) + 1


def test_a_trial_ends_with_its_time_or_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    monkeypatch.setattr(surveys, "time", clock)
    rounds: list[int] = []

    def send(few: slice, seconds: float) -> surveys._Way:  # type: ignore[name-defined]
        assert few.start == sum(rounds)
        rounds.append(few.stop - few.start)
        clock.sleep(seconds)
        return surveys._Way(rounds[-1], seconds)

    for count, seconds, sizes in (
        (300, 0.6, [4, 16, 64]),
        (300, 0.1, [4, 16, 64, 216]),
        (90, 0.1, [4, 16, 64]),
        (0, 0.1, []),
    ):
        rounds.clear()
        found = surveys._trial(count, lambda few, s=seconds: send(few, s))
        assert rounds == sizes
        assert found == ((sizes[-1], seconds) if sizes else (0, 0.0))


def test_what_is_sent_to_look_is_little(pair: Pair) -> None:
    """Half of each file is random: compressed on the source, not by sending it."""
    for number in range(16):
        half = os.urandom(_MIB // 2)
        (pair.origin / str(number)).write_bytes(half + bytes([number + 1]) * (_MIB // 2))
    before = pair.hosts[1].remote.written
    found = look(pair)
    sent = pair.hosts[1].remote.written - before
    assert sent <= 16 * _MIB * 0.02 + 5 * tree.BLOCK
    assert 0 < found.way_bytes <= sent
    assert found.packed_bytes == 16 * _MIB
    assert found.packed_wire_bytes == pytest.approx(8 * _MIB, rel=0.02)


def test_what_a_folder_holds_and_nothing_is_changed(pair: Pair) -> None:
    (pair.origin / "a").write_bytes(os.urandom(3 * _MIB))
    os.link(pair.origin / "a", pair.origin / "same")
    (pair.origin / "sub").mkdir()
    (pair.origin / "sub/b").write_bytes(bytes(100) + b"x" * _MIB)
    with (pair.origin / "sparse").open("wb") as file:
        file.truncate(64 * _MIB)
    before, files = seen(pair.origin), [pair.origin, *pair.origin.rglob("*")]
    for each in files:
        # Older than the mtime: mount(8), relatime changes each such atime.
        os.utime(each, ns=(1, each.stat().st_mtime_ns))
    found = look(pair)
    assert found.whole
    assert found.entries == 6
    assert 4 * _MIB <= found.bytes < 5 * _MIB
    assert found.sampled_bytes == 4 * _MIB + 100
    assert (found.changed_bytes, found.grown_bytes) == (0, 0)
    assert found.packed_bytes == found.sampled_bytes
    assert 0 < found.packed_wire_bytes < found.packed_bytes
    assert found.way_bytes > 0
    assert found.way_s > 0
    assert [each.stat().st_atime_ns for each in files] == [1] * len(files)
    assert seen(pair.origin) == before
    assert list(pair.target.iterdir()) == []


def test_only_named_entries_and_an_empty_folder(pair: Pair) -> None:
    empty = look(pair)
    assert (empty.entries, empty.bytes, empty.packed_bytes, empty.way_s) == (1, 0, 0, 0.0)
    (pair.origin / "disk").write_bytes(b"d" * 5000)
    (pair.origin / "log").write_bytes(b"l" * 5000)
    found = look(pair, "disk")
    assert (found.entries, found.sampled_bytes) == (1, 5000)


def test_what_changes_between_two_looks_is_seen(pair: Pair, tmp_path: Path) -> None:
    path = pair.origin / "db"
    path.write_bytes(os.urandom(2 * _MIB))
    ended = threading.Event()

    def write() -> None:
        number = 0
        with path.open("r+b") as file:
            while not ended.wait(0.01):
                file.seek(number % 512 * tree.PAGE)
                file.write(os.urandom(tree.PAGE))
                file.flush()
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = look(pair)
    finally:
        ended.set()
        writer.join()
    assert 0 < found.changed_bytes <= 2 * _MIB
    assert found.window_s >= 0.2


def test_the_rate_of_a_link_is_that_of_bytes_that_nothing_shortens(pair: Pair) -> None:
    before = pair.hosts[1].remote.written
    rate = link_rate(pair.hosts[1], 1 << 30, 0.1)
    assert rate is not None
    assert rate > 0
    assert pair.hosts[1].remote.written - before > 4 * tree.BLOCK
    assert list(pair.target.iterdir()) == []
    pair.hosts[1].limit(2e6)
    held = link_rate(pair.hosts[1], 1 << 30, 0.5)
    assert held is not None
    assert held < 4e6
    pair.hosts[1].name = "local"
    assert link_rate(pair.hosts[1], 1 << 30) is None


@pytest.mark.parametrize("content", [0, 20 << 20, 400 << 20])
def test_a_trial_of_the_link_sends_a_small_share_of_what_will_travel(
    pair: Pair, content: int
) -> None:
    before = pair.hosts[1].remote.written
    assert link_rate(pair.hosts[1], content, 60.0)
    sent = pair.hosts[1].remote.written - before
    assert sent > 4 * tree.BLOCK
    # Each block has a header, and each round a request.
    assert sent < (0.02 * content + 4 * tree.BLOCK) * 1.02 + 4000
    assert sent > 0.005 * content
