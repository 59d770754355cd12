"""The content of a file of a folder's tree, wherever the tree is: what volumes read it by."""

from __future__ import annotations

import errno
import os
from typing import ContextManager, FrozenSet, Iterator, Protocol, Tuple

from portkit.wire import sparse, tree
from portkit.wire.blocks import pages_of


class Status(Protocol):
    """What of stat(2) tells a file from another one, or from what it was."""

    @property
    def st_dev(self) -> int: ...

    @property
    def st_ino(self) -> int: ...

    @property
    def st_size(self) -> int: ...

    @property
    def st_blocks(self) -> int: ...

    @property
    def st_mtime_ns(self) -> int: ...

    @property
    def st_ctime_ns(self) -> int: ...


class Content(Protocol):
    """A file that is open. Several threads may read it at once."""

    def status(self) -> Status:
        """As it is now."""

    def block(self, number: int, length: int = tree.BLOCK) -> bytes:
        """A block, shorter where the file ends."""

    def extents(self) -> Iterator[Tuple[int, int]]:
        """(offset, length) of each run of data, in order."""

    def holes(self, number: int, length: int) -> int:
        """Bits of the pages of a block that are in holes as a whole."""

    def close(self) -> None:
        """Nobody reads it any more."""


class Found(Protocol):
    """An entry of a tree. Its content can be opened as long as the walk is at it."""

    @property
    def path(self) -> bytes: ...

    @property
    def kind(self) -> bytes: ...

    @property
    def status(self) -> Status: ...

    def row(self) -> tree.Row:
        """As a row without hashes."""

    def content(self) -> Content:
        """Of a regular file."""


class Walk(Protocol):
    """All entries of a tree. vanished: how many were gone when they were looked at."""

    @property
    def vanished(self) -> int: ...

    def entries(self) -> Iterator[Found]:
        """Each folder before what is in it, in the order of names."""


class Tree(Protocol):
    """A tree that is open: of a folder of the host, or of the file system in a disk. key: of what
    is remembered of it. mounts: paths below it where something is mounted."""

    descriptor: int
    key: bytes

    @property
    def mounts(self) -> FrozenSet[bytes]: ...

    def provable(self) -> bool:
        """Whether it can prove that a file has not changed (`volume_known`)."""

    def walk(self) -> Walk:
        """All of its entries."""

    def entry(self, path: bytes) -> ContextManager[Found]:
        """One of them; FileNotFoundError where there is none."""

    def __enter__(self) -> Tree: ...

    def __exit__(self, *_: object) -> None: ...


class OfFile:
    """A `Content` by an open descriptor, which is closed with it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def status(self) -> os.stat_result:
        """As it is now."""
        return os.fstat(self._descriptor)

    def block(self, number: int, length: int = tree.BLOCK) -> bytes:
        """A block, shorter where the file ends."""
        return read_block(self._descriptor, number, length)

    def extents(self) -> Iterator[Tuple[int, int]]:
        """(offset, length) of each run of data, in order."""
        return sparse.extents(self._descriptor)

    def holes(self, number: int, length: int) -> int:
        """Bits of the pages of a block that are in holes as a whole."""
        start, bits = number * tree.BLOCK, 0
        end, at = start + length, number * tree.BLOCK
        while at < end:
            try:
                data = min(end, os.lseek(self._descriptor, at, os.SEEK_DATA))
            except OSError as error:
                if error.errno != errno.ENXIO:  # a hole up to the end
                    raise
                data = end
            bits |= pages_within(at - start, data - start, length)
            if data < end:
                data = os.lseek(self._descriptor, data, os.SEEK_HOLE)
            at = data
        return bits

    def close(self) -> None:
        """Nobody reads it any more."""
        os.close(self._descriptor)


def pages_within(first: int, last: int, length: int) -> int:
    """Bits of the pages of a block of that length that are as a whole between two offsets."""
    end = pages_of(length) if last >= length else last // tree.PAGE
    return sum(1 << page for page in range(-(-first // tree.PAGE), end))


def read_block(descriptor: int, number: int, length: int = tree.BLOCK) -> bytes:
    """A block of a file, shorter where the file ends."""
    parts, at = [], number * tree.BLOCK
    while length > 0:
        data = os.pread(descriptor, length, at)
        if not data:
            break
        parts.append(data)
        at += len(data)
        length -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
