"""Recipes: how a blob is made from bases that both ends hold, and the little that is new.

A recipe is a stream of operations, each one byte of kind and its numbers (LEB128, unsigned):

    1 zero     length
    2 literal  length, then so many bytes
    3 copy     offset, length             from the base of the copy before (at first base 0)
    4 copy     base, offset, length
    0 end

A copy's offset is told from where the last copy of that base ended, as a zigzag number: files
that follow each other on both sides cost two bytes. Every number is checked against the sizes
that were declared; nothing may follow the end, and no operation may be empty.
"""

from __future__ import annotations

import hashlib
import os
from typing import Iterator, Sequence, Tuple

from portkit.wire.content import Content
from portkit.wire.sparse import write_at

END, ZERO, LITERAL, COPY, COPY_FROM = range(5)
_CHUNK = 1 << 20
# The usual block of ext4, xfs and btrfs: a hole cannot be smaller.
_BLOCK = 1 << 12
_ZEROS = bytes(_CHUNK)
_ZERO_BLOCK = bytes(_BLOCK)


class RecipeError(ValueError):
    """The recipe is damaged, truncated, or points outside what was declared."""


def number(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed number as an unsigned one, small where it is near zero: 0, -1, 1, -2 become 0, 1, 2,
    3."""
    return value << 1 if value >= 0 else (-value << 1) - 1


class Writer:
    """Operations as bytes; keeps what offsets are told from."""

    def __init__(self) -> None:
        self._base = 0
        self._ends: "dict[int, int]" = {}

    def zero(self, length: int) -> bytes:
        """So many zeros."""
        return bytes((ZERO,)) + number(length)

    def literal(self, length: int) -> bytes:
        """What goes before so many bytes."""
        return bytes((LITERAL,)) + number(length)

    def copy(self, base: int, offset: int, length: int) -> bytes:
        """So many bytes of a base, by its number, from `offset` on."""
        told = number(zigzag(offset - self._ends.get(base, 0))) + number(length)
        head = bytes((COPY,)) if base == self._base else bytes((COPY_FROM,)) + number(base)
        self._base = base
        self._ends[base] = offset + length
        return head + told

    def end(self) -> bytes:
        """The end of the recipe, behind which nothing may follow."""
        return bytes((END,))


class Reader:
    """Operations out of pieces of bytes. RecipeError when they end too early or are malformed."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self._base = 0
        self._ends: "dict[int, int]" = {}

    def _more(self) -> bool:
        """Whether there is a byte at `_at`."""
        while self._at >= len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True

    def _byte(self) -> int:
        if not self._more():
            raise RecipeError("the recipe ends too early")
        self._at += 1
        return self._piece[self._at - 1]

    def number(self) -> int:
        value = 0
        # Nine bytes hold 63 bits: more than any file has, and a stream of bytes with the first bit
        # set ends here.
        for shift in range(0, 63, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise RecipeError("a number of the recipe is too big")

    def take(self, limit: int) -> bytes:
        """The next bytes, at least one and at most `limit`."""
        if not self._more():
            raise RecipeError("the recipe ends too early")
        part = self._piece[self._at : self._at + limit]
        self._at += len(part)
        return part

    def operation(self) -> Tuple[int, int, int, int]:
        """(kind, base, offset, length); the bytes of a literal are then to be taken."""
        kind = self._byte()
        if kind == END:
            if self._more():
                raise RecipeError("something follows the recipe's end")
            return END, 0, 0, 0
        if kind in (ZERO, LITERAL):
            base, offset = 0, 0
        elif kind in (COPY, COPY_FROM):
            base = self.number() if kind == COPY_FROM else self._base
            told = self.number()
            # Zigzag: 0, 1, 2, 3, 4 stand for 0, -1, 1, -2, 2, so that small steps back are small
            # numbers too.
            offset = self._ends.get(base, 0) + (told >> 1 if not told & 1 else -(told + 1 >> 1))
            kind = COPY
        else:
            raise RecipeError("an operation of the recipe is unknown")
        length = self.number()
        if length == 0 or offset < 0:
            raise RecipeError("an operation of the recipe is empty, or begins before its base")
        if kind == COPY:
            self._base = base
            self._ends[base] = offset + length
        return kind, base, offset, length


class Target:
    """The file that is made: bytes come in order, are hashed, and blocks of zeros become holes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._hash = hashlib.sha256()
        self.done = 0
        # The file has its size from the start: what is not written stays a hole, which reads as
        # zeros.
        os.ftruncate(descriptor, size)

    def room(self, length: int) -> None:
        """RecipeError when so many bytes more are more than the file was to have."""
        if length > self._size - self.done:
            raise RecipeError("the recipe makes more than was announced")

    def write(self, data: bytes) -> None:
        """Append bytes; blocks of zeros in them become holes."""
        self.room(len(data))
        self._hash.update(data)
        view = memoryview(data)
        start = 0
        while start < len(data):
            # Cut at the blocks of the file system, so that zeros stay holes.
            stop = start + _BLOCK - (self.done + start) % _BLOCK
            if not _is_zero(data[start:stop]):
                while stop < len(data) and not _is_zero(data[stop : stop + _BLOCK]):
                    stop += _BLOCK
                write_at(self._descriptor, view[start:stop], self.done + start)
            start = stop
        self.done += len(data)

    def zero(self, length: int) -> None:
        self.room(length)
        self.done += length
        while length > 0:
            self._hash.update(_ZEROS[: min(length, _CHUNK)])
            length -= _CHUNK

    def digest(self) -> str:
        """Of all of it; RecipeError when it is not whole."""
        if self.done != self._size:
            raise RecipeError("the recipe makes %d bytes of %d" % (self.done, self._size))
        return "sha256:" + self._hash.hexdigest()


def _is_zero(block: bytes) -> bool:
    return block == _ZERO_BLOCK[: len(block)]


def apply(pieces: Iterator[bytes], bases: Sequence[Content], target: Target) -> None:
    """Carry out a recipe. bases: what copies are taken from."""
    reader = Reader(pieces)
    while True:
        kind, number_of, offset, length = reader.operation()
        if kind == END:
            return
        target.room(length)
        if kind == ZERO:
            target.zero(length)
        elif kind == LITERAL:
            while length > 0:
                data = reader.take(length)
                target.write(data)
                length -= len(data)
        else:
            if number_of >= len(bases) or offset + length > bases[number_of].size:
                raise RecipeError("the recipe points outside its bases")
            _copy(bases[number_of], offset, length, target)


def _copy(base: Content, offset: int, length: int, target: Target) -> None:
    while length > 0:
        try:
            data = base.pread(min(length, _CHUNK), offset)
        except OSError as error:
            raise RecipeError("a base cannot be read any more: %s" % error) from error
        if not data:
            raise RecipeError("a base became shorter while it was read")
        target.write(data)
        offset += len(data)
        length -= len(data)
