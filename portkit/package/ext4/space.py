"""Which blocks and inodes are in use."""

from __future__ import annotations

from collections.abc import Iterable

from portkit.package.ext4 import checksum
from portkit.package.ext4.extents import BLOCK, Run
from portkit.package.ext4.geometry import GROUP, Geometry
from portkit.package.ext4.tables import (
    CLEAN_TABLE,
    UNUSED_BLOCKS,
    UNUSED_INODES,
    Group,
)


class NoRoom(Exception):
    """The file system is full."""


class Space:
    """Gives out blocks from the front to the back. What a file gets lies in one piece, but where
    a copy of the superblock is in the way."""

    def __init__(self, shape: Geometry) -> None:
        self._shape = shape
        self._next = 0
        self._bits: dict[int, bytearray] = {}
        self._folders: dict[int, int] = {}
        self._fixed = [shape.first(group) for group in shape.copies()]
        for first in self._fixed:
            _mark(self._bits, first, 1 + shape.descriptors, GROUP)
        self._next = 1 + shape.descriptors
        self._tables = (
            self.block(shape.groups),
            self.block(shape.groups),
            [self.block(shape.table) for _ in range(shape.groups)],
        )

    def take(self, count: int, logical: int = 0) -> list[Run]:
        """The next free blocks, for the blocks of a file from `logical` on. NoRoom when there are
        fewer."""
        found = []
        while count:
            taken = min(count, self._until_fixed())
            found.append(Run(logical, self._next, taken))
            _mark(self._bits, self._next, taken, GROUP)
            self._next += taken
            logical, count = logical + taken, count - taken
        return found

    def block(self, count: int = 1) -> int:
        """The first of so many blocks in one piece."""
        while self._until_fixed() < count:
            self._next += self._until_fixed()
        (run,) = self.take(count)
        return run.physical

    def align(self, unit: int) -> None:
        """Go on at a multiple of that many blocks; those in between stay free."""
        self._next += -self._next % unit

    def folder(self, inode: int) -> None:
        """Count a directory in the group of its inode."""
        group = (inode - 1) // self._shape.inodes
        self._folders[group] = self._folders.get(group, 0) + 1

    def place(self, inode: int) -> int:
        """Where in the file system that inode is, in bytes."""
        group, index = divmod(inode - 1, self._shape.inodes)
        return self._tables[2][group] * BLOCK + index * 256

    def groups(self, inodes: Iterable[tuple[int, int]]) -> tuple[list[Group], dict[int, bytes]]:
        """All descriptors, and the blocks of bits to write; inodes: the used ones, as (first, how
        many)."""
        made, bits = [], {}
        used: dict[int, bytearray] = {}
        for first, count in inodes:
            _mark(used, first - 1, count, self._shape.inodes)
        for number in range(self._shape.groups):
            group, blocks, inode_bits = self._group(number, used.get(number))
            made.append(group)
            # The bits of a group in which nothing is used need not be there.
            if not group.flags & UNUSED_BLOCKS:
                bits[group.block_bits] = blocks
            if not group.flags & UNUSED_INODES:
                bits[group.inode_bits] = inode_bits
        return made, bits

    def _group(self, number: int, inodes: bytearray | None) -> tuple[Group, bytes, bytes]:
        shape = self._shape
        blocks, size = self._bits.get(number, bytearray(BLOCK)), shape.size(number)
        used = int.from_bytes(blocks, "little").bit_count()
        marked = bytes(blocks) if size == GROUP else _filled(blocks, size)
        numbers = int.from_bytes(inodes or b"", "little")
        inode_marks = _filled(inodes or bytearray(BLOCK), shape.inodes)
        own = 1 + shape.descriptors if shape.first(number) in self._fixed else 0
        last = number == shape.groups - 1  # mke2fs and the kernel always want its bits
        flags = CLEAN_TABLE
        flags |= UNUSED_BLOCKS if used == own and number and not last else 0
        flags |= UNUSED_INODES if not numbers else 0
        block_bits, inode_bits, tables = self._tables
        group = Group(
            block_bits=block_bits + number,
            inode_bits=inode_bits + number,
            table=tables[number],
            free_blocks=size - used,
            free_inodes=shape.inodes - numbers.bit_count(),
            unused_inodes=shape.inodes - numbers.bit_length(),
            folders=self._folders.get(number, 0),
            flags=flags,
            block_sum=checksum.extend(checksum.SEED, marked),
            inode_sum=checksum.extend(checksum.SEED, inode_marks[: shape.inodes // 8]),
        )
        return group, marked, inode_marks

    def _until_fixed(self) -> int:
        """How many blocks are free from the next one on, up to a copy of the superblock; the next
        one is moved behind such a copy first."""
        for first in self._fixed:
            if first <= self._next < first + 1 + self._shape.descriptors:
                self._next = first + 1 + self._shape.descriptors
        ends = [first for first in self._fixed if first > self._next]
        free = min([*ends, self._shape.blocks]) - self._next
        if free <= 0:
            raise NoRoom
        return free


def _mark(bits: dict[int, bytearray], first: int, count: int, group_size: int) -> None:
    """Set so many bits from the first on, each group's in its own block."""
    while count:
        group, start = divmod(first, group_size)
        here = min(count, group_size - start)
        _set(bits.setdefault(group, bytearray(BLOCK)), start, start + here)
        first, count = first + here, count - here


def _set(bits: bytearray, start: int, end: int) -> None:
    """Set bits from start on, to before the end."""
    first, last = -(-start // 8), end // 8
    if first > last or start % 8 or end % 8:
        for bit in (*range(start, min(end, first * 8)), *range(max(start, last * 8), end)):
            bits[bit // 8] |= 1 << bit % 8
    if first < last:
        bits[first:last] = b"\xff" * (last - first)


def _filled(bits: bytearray, size: int) -> bytes:
    """What is behind the last one counts as used."""
    whole = bytearray(bits)
    _set(whole, size, GROUP)
    return bytes(whole)
