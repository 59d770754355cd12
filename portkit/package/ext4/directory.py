"""The blocks of a directory, one entry behind the other. Pure.

Source: Linux, Documentation/filesystems/ext4/directory.rst, "Linear (Classic) Directories".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from portkit.package.ext4 import checksum
from portkit.package.ext4.extents import BLOCK

_ROOM = BLOCK - 12  # the last entry holds the checksum

Entry = tuple[bytes, int, int]  # name, inode, type


def chunks(names: Iterable[bytes], first: bool) -> list[int]:
    """How many of the names go into each block; first: `.` and `..` stand before them."""
    counts, free = [0], _ROOM - (24 if first else 0)
    for name in names:
        size = _length(name)
        if size > free:
            counts.append(0)
            free = _ROOM
        counts[-1] += 1
        free -= size
    return counts


def block(entries: list[Entry], seed: int) -> bytes:
    """One block; seed: the inode's own. At least one entry, and no more than fit."""
    data = bytearray()
    for name, inode, kind in entries[:-1]:
        data += _entry(name, inode, kind, _length(name))
    name, inode, kind = entries[-1]
    data += _entry(name, inode, kind, _ROOM - len(data))
    return bytes(data) + struct.pack("<IHBBI", 0, 12, 0, 0xDE, checksum.extend(seed, bytes(data)))


def _length(name: bytes) -> int:
    return -(-(8 + len(name)) // 4) * 4


def _entry(name: bytes, inode: int, kind: int, length: int) -> bytes:
    return (struct.pack("<IHBB", inode, length, len(name), kind) + name).ljust(length, b"\0")
