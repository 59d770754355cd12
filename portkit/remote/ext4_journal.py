"""What the journal of an ext4 file system has that is not in its place yet. Pure.

A kernel that mounts the file system writes these blocks to their places first. Who only reads looks
into the journal instead: nothing is written. Source: Linux,
Documentation/filesystems/ext4/journal.rst; fs/jbd2/recovery.c.
"""

from __future__ import annotations

import struct
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from portkit.remote import crc32c
from portkit.remote.ext4_layout import damaged, unread

MAGIC = 0xC03B3998
ESCAPED = struct.pack(">I", MAGIC)  # what a block began with that is escaped
_HEADER = struct.Struct(">III")
_DESCRIPTOR, _COMMIT, _SUPERBLOCKS, _REVOKE = 1, 2, (3, 4), 5
_WIDE, _CHECKED = 0x2, 0x10  # 64bit, csum_v3
# revoke; async_commit says when a commit may be written, and is told apart by its checksum.
_READ = 0x1 | _WIDE | 0x4 | _CHECKED
_ESCAPED, _SAME_UUID, _LAST = 1, 2, 8  # of a tag
_OTHER = "a block of its journal has another checksum than it says"
_WRAP = 1 << 31  # sequence numbers go round


class Place(NamedTuple):
    """Where a block's content is. number: of the journal's block. escaped: its first four bytes
    were the journal's magic, and are zeros there."""

    number: int
    escaped: bool


class _Begun:
    """A transaction whose commit has not come yet. blocks: (of the file system, where, checksum).
    gone: what it gives away. whole: what came of it has the checksums that it says."""

    def __init__(self) -> None:
        self.blocks: List[Tuple[int, Place, int]] = []
        self.gone: Set[int] = set()
        self.whole = True


class _Log(NamedTuple):
    """The journal's superblock. seed: of its checksums, None where it has none."""

    block: int
    first: int
    end: int
    start: int
    sequence: int
    wide: bool
    seed: Optional[int]


def pending(read: Callable[[int], bytes], count: int, block: int) -> Dict[int, Place]:
    """The blocks of the file system that a replay would write, and where their content is.

    read: a block of the journal, by its number there. count: how many it has; block: their size.
    """
    log = _log(read(0), count, block)
    found: Dict[int, Tuple[int, Place]] = {}
    revoked: Dict[int, int] = {}
    if not log.start:
        return {}
    for sequence, places, gone in _transactions(log, read):
        for number in gone:
            revoked[number] = sequence
        for number, place in places:
            found[number] = sequence, place
    # A block that was given away in a transaction or after it is not what it was in that.
    return {
        number: place
        for number, (sequence, place) in found.items()
        if number not in revoked or _is_after(sequence, revoked[number])
    }


def _is_after(one: int, other: int) -> bool:
    return 0 < (one - other) % (1 << 32) < _WRAP


def _log(data: bytes, count: int, block: int) -> _Log:
    magic, kind, _ = _HEADER.unpack_from(data)
    size, most, first, sequence, start = struct.unpack_from(">IIIII", data, 12)
    _, incompat, _ = struct.unpack_from(">III", data, 36)
    if magic != MAGIC or kind not in _SUPERBLOCKS:
        raise damaged("its journal is none")
    if kind == _SUPERBLOCKS[0]:  # the first version has no features
        incompat = 0
    if incompat & ~_READ:
        raise unread("features of its journal: 0x%x" % incompat)
    seed = None
    if incompat & _CHECKED:
        (said,) = struct.unpack_from(">I", data, 252)
        if crc32c.extend(crc32c.SEED, data[:252] + bytes(4) + data[256:1024]) != said:
            raise damaged("its journal's superblock has another checksum than it says")
        seed = crc32c.extend(crc32c.SEED, data[48:64])
    if size != block or not 0 < first < most <= count or start >= most:
        raise damaged("the sizes of its journal do not fit together")
    return _Log(block, first, most, start, sequence, bool(incompat & _WIDE), seed)


def _transactions(
    log: _Log, read: Callable[[int], bytes]
) -> Iterator[Tuple[int, List[Tuple[int, Place]], Set[int]]]:
    """Of each that was committed: its number, its blocks, and those that it gives away.

    A kernel that is cut off leaves blocks of a transaction that has no end, some of them written
    and others not. So nothing of one is judged before its commit.
    """
    at, sequence, left = log.start, log.sequence, log.end
    begun = _Begun()
    while True:
        data = read(at)
        magic, kind, said = _HEADER.unpack_from(data)
        if magic != MAGIC or said != sequence:
            return  # the end, or what was not committed
        at, left = _next(log, at), left - 1
        if kind == _COMMIT:
            if not begun.whole or not _is_sealed(log, data, 16):
                raise damaged(_OTHER)
            yield sequence, _written(log, read, sequence, begun.blocks), begun.gone
            begun, sequence = _Begun(), (sequence + 1) % (1 << 32)
        elif not _is_sealed(log, data, log.block - 4):
            # It may be the remains of a block, and says nothing. A descriptor is stepped over by
            # what it says of its length all the same, as Linux does it: to see whether a commit
            # follows.
            begun.whole = False
            steps = _steps(log, data) if kind == _DESCRIPTOR else 0
            for _ in range(steps):
                at, left = _next(log, at), left - 1
        elif kind == _REVOKE:
            begun.gone.update(_given_away(log, data))
        elif kind == _DESCRIPTOR:
            for number, escaped, checksum in _tags(log, data):
                begun.blocks.append((number, Place(at, escaped), checksum))
                at, left = _next(log, at), left - 1
        else:
            raise damaged("its journal has a block of kind %d" % kind)
        if left < 0 and not begun.whole:
            return  # stepped over by a length that may be none
        if left < 0:
            raise damaged("its journal has no end")


def _written(
    log: _Log,
    read: Callable[[int], bytes],
    sequence: int,
    blocks: List[Tuple[int, Place, int]],
) -> List[Tuple[int, Place]]:
    """The blocks of a transaction that was committed, each as its tag says that it was."""
    if log.seed is not None:
        begin = crc32c.extend(log.seed, struct.pack(">I", sequence))
        for _, place, checksum in blocks:
            if crc32c.extend(begin, read(place.number)) != checksum:
                raise damaged(_OTHER)
    return [(number, place) for number, place, _ in blocks]


def _next(log: _Log, at: int) -> int:
    return at + 1 if at + 1 < log.end else log.first


def _is_sealed(log: _Log, data: bytes, at: int) -> bool:
    """Whether its checksum is what it says; so is one that has none."""
    if log.seed is None:
        return True
    said = int.from_bytes(data[at : at + 4], "big")
    return crc32c.extend(log.seed, data[:at] + bytes(4) + data[at + 4 :]) == said


def _steps(log: _Log, data: bytes) -> int:
    """How many blocks follow a descriptor with another checksum than it says."""
    at, count = _HEADER.size, 0
    while at + 16 <= log.block - 4:
        _, flags = struct.unpack_from(">II", data, at)
        at, count = at + (16 if flags & _SAME_UUID else 32), count + 1
        if flags & _LAST:
            break
    return count


def _tags(log: _Log, data: bytes) -> Iterator[Tuple[int, bool, int]]:
    """(block of the file system, whether it is escaped, checksum) of each that follows."""
    checked = log.seed is not None
    size = 16 if checked else 12 if log.wide else 8
    at, end = _HEADER.size, log.block - (4 if checked else 0)
    while True:
        if at + size > end:
            raise damaged("a block of its journal has no end")
        if checked:
            low, flags, high, checksum = struct.unpack_from(">IIII", data, at)
        else:
            low, checksum, flags = struct.unpack_from(">IHH", data, at)
            (high,) = struct.unpack_from(">I", data, at + 8) if log.wide else (0,)
        at += size + (0 if flags & _SAME_UUID else 16)
        yield low | (high << 32 if log.wide else 0), bool(flags & _ESCAPED), checksum
        if flags & _LAST:
            return


def _given_away(log: _Log, data: bytes) -> List[int]:
    (end,) = struct.unpack_from(">I", data, _HEADER.size)
    one = struct.Struct(">Q" if log.wide else ">I")
    begin = _HEADER.size + 4
    if not begin <= end <= log.block or (end - begin) % one.size:
        raise damaged("a block of its journal has no end")
    return [number for (number,) in one.iter_unpack(data[begin:end])]
