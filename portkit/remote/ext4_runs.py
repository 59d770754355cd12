"""Where the blocks of one entry of an ext4 file system are. Pure.

A disk says that in few bytes of a great deal: a leaf of 4 KiB names 340 runs of 128 MiB. So each
run is checked as it comes, and what is kept of it takes 25 bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Iterator, Tuple

from portkit.remote.ext4_blocks import Run
from portkit.remote.ext4_layout import Superblock, damaged, unread

# Of one file. A database of 100 GB has some thousands; each of these costs 25 bytes of memory, and
# 64 files are read at once.
MOST_RUNS = 1 << 20


class Runs:
    """The runs of an inode in their order; neighbours are one. total: how many blocks they have."""

    def __init__(self, fs: Superblock, inode: int) -> None:
        self._fs, self._inode = fs, inode
        self._logical, self._physical = array("Q"), array("Q")
        self._blocks, self._written = array("Q"), array("B")
        self.total = self.unwritten = 0
        self._end = 0

    def add(self, run: Run) -> None:
        """VerifyError for one that cannot be."""
        last = run.physical + run.blocks
        if run.logical < self._end or not self._fs.first_block < run.physical < last:
            raise self._odd()
        if last > self._fs.blocks:
            raise self._odd()
        self._end = run.logical + run.blocks
        self.total += run.blocks
        # A block belongs to one place of one file.
        if self.total > self._fs.blocks:
            raise damaged("inode %d has more blocks than the file system" % self._inode)
        if not run.written:
            self.unwritten += run.blocks
        if self._continues(run):
            self._blocks[-1] += run.blocks
            return
        if len(self) >= MOST_RUNS:
            raise unread("inode %d is in more than %d places" % (self._inode, MOST_RUNS))
        self._logical.append(run.logical)
        self._physical.append(run.physical)
        self._blocks.append(run.blocks)
        self._written.append(run.written)

    def _odd(self) -> Exception:
        return damaged("the blocks of inode %d overlap or are outside" % self._inode)

    def _continues(self, run: Run) -> bool:
        """Whether it lies behind the last one in the file and on the disk."""
        if not len(self):
            return False
        logical, physical, blocks, written = self[-1]
        here = (logical + blocks, physical + blocks, written)
        return here == (run.logical, run.physical, run.written)

    def __len__(self) -> int:
        return len(self._logical)

    def __getitem__(self, at: int) -> Run:
        written = bool(self._written[at])
        return Run(self._logical[at], self._physical[at], self._blocks[at], written)

    def __iter__(self) -> Iterator[Run]:
        return map(self.__getitem__, range(len(self)))

    def numbers(self) -> Iterator[int]:
        """The blocks that were written."""
        for run in self:
            if run.written:
                yield from range(run.physical, run.physical + run.blocks)

    def within(self, begin: int, end: int) -> Iterator[Tuple[int, int, int]]:
        """Of the data between two offsets: where it starts and ends in the file, and starts on the
        disk."""
        size = self._fs.block
        for at in range(max(0, bisect_right(self._logical, begin // size) - 1), len(self)):
            run = self[at]
            first = run.logical * size
            if first >= end:
                return
            start, stop = max(begin, first), min(end, first + run.blocks * size)
            if start < stop and run.written:
                yield start, stop, run.physical * size + start - first
