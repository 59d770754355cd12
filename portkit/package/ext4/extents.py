"""Where the blocks of a file are: runs of blocks, and the tree of extents that tells them. Pure.

Source: Linux, Documentation/filesystems/ext4/ifork.rst, "Extent Tree".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BLOCK = 4096
_MAGIC = 0xF30A
_IN_INODE = 4
_IN_BLOCK = (BLOCK - 12) // 12  # the checksum takes the four bytes that are left
_LONGEST = 32768  # blocks of one extent; more would mean "not written yet"


class Run(NamedTuple):
    """Blocks of a file that lie behind each other: its own number of the first, where that is in
    the file system, and how many."""

    logical: int
    physical: int
    blocks: int


def split(runs: Sequence[Run]) -> list[Run]:
    """The same blocks in runs that are short enough for one extent."""
    return [
        Run(run.logical + done, run.physical + done, min(_LONGEST, run.blocks - done))
        for run in runs
        for done in range(0, run.blocks, _LONGEST)
    ]


def tree_blocks(extents: int) -> int:
    """How many blocks the tree of so many extents takes beside the inode."""
    total = 0
    while extents > _IN_INODE:
        extents = -(-extents // _IN_BLOCK)
        total += extents
    return total


def tree(extents: Sequence[Run], blocks: Sequence[int]) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The 60 bytes in the inode, and the blocks of the tree without their checksums (number,
    4,092 bytes). blocks: as many numbers as `tree_blocks` told."""
    free = iter(blocks)
    rows = [struct.pack("<IHHI", r.logical, r.blocks, *_halves(r.physical)) for r in extents]
    firsts = [run.logical for run in extents]
    made: list[tuple[int, bytes]] = []
    depth = 0
    while len(rows) > _IN_INODE:
        above, above_firsts = [], []
        for part, first in _parts(rows, firsts):
            number = next(free)
            head = _header(len(part), _IN_BLOCK, depth)
            made.append((number, (head + b"".join(part)).ljust(BLOCK - 4, b"\0")))
            high, low = _halves(number)
            above.append(struct.pack("<IIHH", first, low, high, 0))
            above_firsts.append(first)
        rows, firsts, depth = above, above_firsts, depth + 1
    return (_header(len(rows), _IN_INODE, depth) + b"".join(rows)).ljust(60, b"\0"), made


def _halves(block: int) -> tuple[int, int]:
    return block >> 32, block & 0xFFFFFFFF


def _header(count: int, most: int, depth: int) -> bytes:
    return struct.pack("<HHHHI", _MAGIC, count, most, depth, 0)


def _parts(rows: list[bytes], firsts: list[int]) -> Iterator[tuple[list[bytes], int]]:
    for start in range(0, len(rows), _IN_BLOCK):
        yield rows[start : start + _IN_BLOCK], firsts[start]
