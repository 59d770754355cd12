"""What is in the bases, by the content of their blocks: a table in a file, not in memory."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from portkit.transfer.cuts import BLOCK, UNIT, segments

# Bytes that are read at once.
_WINDOW = 1 << 20  # a multiple of BLOCK
# Both share 64 bits with the number of the base, which has the 16 that are left (MOST_BASES).
# Offsets are counted in units of 512 bytes.
_LENGTH_BITS, _OFFSET_BITS = 13, 35  # block lengths up to 4096, offsets up to 16 TiB
_LEAST = 32  # a copy of less than this costs as much as its bytes
_MASK = (1 << 64) - 1
_ZERO_BLOCK = bytes(BLOCK)
# 2 ** (64 - 13 - 35)
MOST_BASES = 1 << 16


class Index:
    """block -> (base, offset, length) for the blocks of the bases; `close` frees it.

    Open addressing over pairs of 64 bits (hash, place) in an unlinked file. The first base that
    has a block wins. A hit is only a hint: the bytes are to be compared. Zeros are not kept.
    The last block of a file is found by its bytes and zeros behind them, as on a disk.
    """

    def __init__(self, bases: Sequence[int], folder: Path) -> None:
        """bases: descriptors. folder: for the table, 32 bytes for each 4 KiB of the bases."""
        self._folder = folder
        self.count = 0  # of the bases in it
        self._open(_slots(bases))
        self.extend(bases)

    def extend(self, bases: Sequence[int]) -> None:
        """More bases; where they have what is in it already, they are not looked at."""
        if _slots(bases) > self._slots - self._used:
            self._grow(max(2 * self._slots, self._used + _slots(bases)))
        for base in bases[: MOST_BASES - self.count]:
            self._add(self.count, base)
            self.count += 1

    def _open(self, least: int) -> None:
        slots = 1 << (least - 1).bit_length()
        with tempfile.TemporaryFile(dir=self._folder) as file:
            # Memory that is mapped from a file can be written back under pressure. A table in
            # anonymous memory would have to be swapped, on machines that often have no swap.
            _set_aside(file.fileno(), 16 * slots)
            self._map = mmap.mmap(file.fileno(), 16 * slots)
        self._table = memoryview(self._map).cast("Q")
        self._slots, self._used = slots, 0

    def close(self) -> None:
        self._table.release()
        self._map.close()

    def _grow(self, least: int) -> None:
        before, mapped, slots = self._table, self._map, self._slots
        self._open(least)
        for at in range(0, 2 * slots, 2):
            if before[at]:
                slot = self._slot(before[at])
                self._table[slot], self._table[slot + 1] = before[at], before[at + 1]
                self._used += 1
        before.release()
        mapped.close()

    def _slot(self, key: int) -> int:
        """The slot that has the key, or the empty one where it belongs."""
        table, mask = self._table, self._slots - 1
        slot = key & mask
        while (found := table[2 * slot]) and found != key:
            slot = (slot + 1) & mask
        return 2 * slot

    def find(self, block: bytes) -> tuple[int, int, int] | None:
        """(base, offset, length) of a block of BLOCK bytes."""
        # Python's own hash of bytes (SipHash) is keyed by process, so nobody can prepare content
        # whose blocks all fall into one slot. 0 stands for an empty slot.
        slot = self._slot(hash(block) & _MASK or 1)
        if not self._table[slot]:
            return None
        place = self._table[slot + 1]
        length = place & ((1 << _LENGTH_BITS) - 1)
        offset = (place >> _LENGTH_BITS) & ((1 << _OFFSET_BITS) - 1)
        return place >> (_LENGTH_BITS + _OFFSET_BITS), offset * UNIT, length

    def _put(self, block: bytes, number: int, offset: int, length: int) -> None:
        # Linear probing becomes slow when a table is more than three quarters full.
        if 4 * self._used > 3 * self._slots:  # many small files: it has been sized by bytes
            self._grow(2 * self._slots)
        key = hash(block) & _MASK or 1
        slot = self._slot(key)
        if self._table[slot] or offset >= UNIT << _OFFSET_BITS:
            return
        self._used += 1
        self._table[slot] = key
        place = (number << _OFFSET_BITS | offset // UNIT) << _LENGTH_BITS | length
        self._table[slot + 1] = place

    def _add(self, number: int, base: int) -> None:
        for segment in segments(base):
            if segment.hole:
                continue
            for start in range(segment.grid, segment.end, _WINDOW):
                window = os.pread(base, min(_WINDOW, segment.end - start), start)
                for at in range(0, len(window), BLOCK):
                    block = window[at : at + BLOCK]
                    length = len(block)
                    if length < BLOCK:
                        if not segment.file or length < _LEAST:
                            continue
                        # ext4 fills the last block of a file with zeros, a tar its last record: so
                        # the end of a file in a tar is found at the end of the same file on a disk.
                        block = block.ljust(BLOCK, b"\0")
                    if block != _ZERO_BLOCK:
                        self._put(block, number, start + at, length)


def _set_aside(file: int, size: int) -> None:
    """Room for a file, in fact: writing to a hole through a map would end in SIGBUS on a full
    disk. OSError when there is none."""
    try:
        os.posix_fallocate(file, 0, size)
    # Not every file system can set room aside (tmpfs of old kernels, NFS before 4.2): there it is
    # written.
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        done = 0
        while done < size:
            done += os.pwrite(file, bytes(min(_WINDOW, size - done)), done)


def _slots(bases: Sequence[int]) -> int:
    """So many are needed for them, with room: two a block."""
    return max(1 << 10, 2 * sum(_data_bytes(base) // BLOCK + 64 for base in bases))


def _data_bytes(descriptor: int) -> int:
    found = os.fstat(descriptor)
    # st_blocks is in units of 512 bytes whatever the file system's block is (inode(7)). Holes take
    # none.
    return min(found.st_size, found.st_blocks * 512)
