"""Where the blocks of a file are: what cannot be is found at once, no block is listed."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.remote import ext4_runs
from portkit.remote.ext4_blocks import Run
from portkit.remote.ext4_layout import Superblock
from portkit.remote.ext4_runs import Runs
from portkit.wire.frames import RemoteError

BLOCK = 1024


def runs_of(*found: Run, blocks: int = 1 << 24) -> Runs:
    fs = Superblock(BLOCK, blocks, 0, 8192, 64, 64, 256, 64, 11, 0, None, False)
    runs = Runs(fs, 12)
    for run in found:
        runs.add(run)
    return runs


def test_neighbours_are_one() -> None:
    runs = runs_of(Run(0, 10, 1), Run(1, 11, 2), Run(3, 13, 1, False), Run(4, 14, 1), Run(6, 16, 1))
    assert list(runs) == [Run(0, 10, 3), Run(3, 13, 1, False), Run(4, 14, 1), Run(6, 16, 1)]
    assert (runs.total, runs.unwritten, len(runs)) == (6, 1, 4)
    assert list(runs.numbers()) == [10, 11, 12, 14, 16]


@pytest.mark.parametrize(
    "run",
    [Run(3, 20, 1), Run(4, 0, 1), Run(4, 20, 0), Run(4, 99, 2), Run(4, 1 << 47, 1)],
)
def test_a_run_that_cannot_be(run: Run) -> None:
    runs = runs_of(Run(0, 10, 4), blocks=100)
    with pytest.raises(RemoteError) as caught:
        runs.add(run)
    assert caught.value.details == "the blocks of inode 12 overlap or are outside"


def test_blocks_that_are_there_more_than_once_are_not_listed() -> None:
    runs = runs_of(Run(0, 1, 1 << 23), Run(1 << 23, 1, 1 << 23))
    with pytest.raises(RemoteError) as caught:
        runs.add(Run(1 << 24, 1, 1))
    assert caught.value.details == "inode 12 has more blocks than the file system"


def test_a_file_in_too_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ext4_runs, "MOST_RUNS", 3)
    runs = runs_of(*(Run(n, 10, 1) for n in range(3)))
    with pytest.raises(RemoteError, match="cannot read"):
        runs.add(Run(3, 10, 1))


pieces = st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans())


@given(st.lists(pieces), st.integers(0, 40 * BLOCK), st.integers(0, 9 * BLOCK))
def test_what_is_between_two_offsets(
    lot: list[tuple[int, int, bool]], begin: int, length: int
) -> None:
    ends = accumulate(gap + blocks for gap, blocks, _ in lot)
    found = [
        Run(end - blocks, 1 + 2 * end, blocks, written)
        for end, (_, blocks, written) in zip(ends, lot, strict=True)
    ]
    wanted = {
        at: run.physical * BLOCK + at - run.logical * BLOCK
        for run in found
        if run.written
        for at in range(run.logical * BLOCK, (run.logical + run.blocks) * BLOCK, 512)
        if begin <= at < begin + length
    }
    got = {
        at: place + at - start
        for start, stop, place in runs_of(*found).within(begin, begin + length)
        for at in range(-(-start // 512) * 512, stop, 512)
    }
    assert got == wanted
