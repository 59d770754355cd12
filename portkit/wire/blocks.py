"""Blocks of files between both ends: which are wanted, and what they are made of."""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Tuple

from portkit.wire.tree import BLOCK, HASH, HINT, MAX_SIZE, PAGE, Cut, steps

_WANT = struct.Struct(">HQI")
_BLOCK = struct.Struct(">HQIIII")


class Want(NamedTuple):
    """A block that is asked for. length: of the block. expected: its sha256 as the index has it.
    hints: hashes of the pages that the target has; b"" asks for all of it."""

    path: bytes
    number: int
    length: int
    expected: bytes
    hints: bytes = b""

    def pack(self) -> bytes:
        """As the payload of a record."""
        head = _WANT.pack(len(self.path), self.number, self.length)
        return head + self.path + self.expected + self.hints


def unpack_want(payload: bytes) -> Want:
    """ValueError when it is none."""
    cut = Cut(payload)
    path, number, length = cut.unpack(_WANT)
    want = Want(cut.take(path), number, length, cut.take(HASH), payload[_WANT.size + path + HASH :])
    steps(want.path)
    _check_place(number, length)
    if len(want.hints) not in (0, HINT * pages_of(length)):
        raise ValueError("a block's pages are not those of its length")
    return want


class Block(NamedTuple):
    """What a block is made of. fresh, holes: bits of the pages that follow, and of those that are
    holes; the others stay as they are. data: the fresh pages. digest: sha256 of the whole block,
    or HOLE."""

    path: bytes
    number: int
    length: int
    fresh: int
    holes: int
    digest: bytes
    data: bytes

    def pack(self) -> bytes:
        """As the payload of a record."""
        head = _BLOCK.pack(
            len(self.path), self.number, self.length, self.fresh, self.holes, len(self.data)
        )
        return head + self.path + self.digest + self.data


def unpack_block(payload: bytes) -> Block:
    """ValueError when it is none."""
    cut = Cut(payload)
    path, number, length, fresh, holes, size = cut.unpack(_BLOCK)
    name, digest, data = cut.take(path), cut.take(HASH), cut.take(size)
    cut.end()
    block = Block(name, number, length, fresh, holes, digest, data)
    steps(name)
    _check_place(number, length)
    if fresh & holes or (fresh | holes) >> pages_of(length):
        raise ValueError("a block has pages that there are not")
    if size != sum(size for _, size in runs(fresh, length)):
        raise ValueError("a block's data is not that of its pages")
    return block


def _check_place(number: int, length: int) -> None:
    if not 0 < length <= BLOCK or number * BLOCK + length > MAX_SIZE:
        raise ValueError("a block lies behind the end of any file")


def pages_of(length: int) -> int:
    """How many pages a block of that length has."""
    return -(-length // PAGE)


def runs(bits: int, length: int) -> List[Tuple[int, int]]:
    """(offset, length) in a block of the pages whose bits are set; neighbours are one run."""
    found: List[Tuple[int, int]] = []
    for page in range(pages_of(length)):
        if bits >> page & 1:
            start = page * PAGE
            size = min(PAGE, length - start)
            if found and sum(found[-1]) == start:
                found[-1] = (found[-1][0], found[-1][1] + size)
            else:
                found.append((start, size))
    return found
