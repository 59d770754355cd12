"""A folder that is looked at before a Move, through two real remote halves."""

from __future__ import annotations

import os
import threading
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from portkit.remote.volume_survey import Sample
from portkit.volumes import Folder
from portkit.volumes.survey import link_rate, survey
from portkit.wire import tree
from tests.unit.volumes.folders import Pair, seen

_MIB, WINDOW_S = 1 << 20, 0.3


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
    found = survey(Folder(pair.hosts[0], str(pair.origin)), pair.hosts[1], window_s=WINDOW_S)
    assert found.whole
    assert found.entries == 6
    assert 4 * _MIB <= found.bytes < 5 * _MIB
    assert found.sampled_bytes == 4 * _MIB + 100
    assert (found.changed_bytes, found.grown_bytes) == (0, 0)
    assert found.wire_bytes > 0
    assert 0 < found.tried_bytes <= found.sampled_bytes
    assert found.tried_s > 0
    assert [each.stat().st_atime_ns for each in files] == [1] * len(files)
    assert seen(pair.origin) == before
    assert list(pair.target.iterdir()) == []


def test_only_named_entries_and_an_empty_folder(pair: Pair) -> None:
    empty = survey(Folder(pair.hosts[0], str(pair.origin)), pair.hosts[1], window_s=WINDOW_S)
    assert (empty.entries, empty.bytes, empty.tried_bytes, empty.tried_s) == (1, 0, 0, 0.0)
    (pair.origin / "disk").write_bytes(b"d" * 5000)
    (pair.origin / "log").write_bytes(b"l" * 5000)
    found = survey(
        Folder(pair.hosts[0], str(pair.origin)), pair.hosts[1], ["disk"], window_s=WINDOW_S
    )
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
        found = survey(Folder(pair.hosts[0], str(pair.origin)), pair.hosts[1], window_s=WINDOW_S)
    finally:
        ended.set()
        writer.join()
    assert 0 < found.changed_bytes <= 2 * _MIB
    assert found.window_s >= 0.2


def test_the_rate_of_a_link_is_that_of_bytes_that_nothing_shortens(pair: Pair) -> None:
    before = pair.hosts[1].remote.written
    rate = link_rate(pair.hosts[1], 0.1)
    assert rate is not None
    assert rate > 0
    assert pair.hosts[1].remote.written - before > 4 * tree.BLOCK
    assert list(pair.target.iterdir()) == []
    pair.hosts[1].limit(2e6)
    held = link_rate(pair.hosts[1], 0.5)
    assert held is not None
    assert held < 4e6
    pair.hosts[1].name = "local"
    assert link_rate(pair.hosts[1]) is None
