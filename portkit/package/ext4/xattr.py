"""Extended attributes: behind the fields of an inode where they fit, else in one block. Pure.

Source: Linux, Documentation/filesystems/ext4/attributes.rst; fs/ext4/xattr.c (hashes, order).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from portkit.package.ext4 import checksum
from portkit.package.ext4.extents import BLOCK

_MAGIC = 0xEA020000
_ROOM_IN_INODE = 256 - 128 - 32 - 4
_HEADER = 32
_MASK = 0xFFFFFFFF
# Whole names before prefixes. What has none of them no ext4 can hold, and no engine sets on it.
_PREFIXES = (
    ("system.posix_acl_access", 2),
    ("system.posix_acl_default", 3),
    ("user.", 1),
    ("trusted.", 4),
    ("security.", 6),
)


class Attributes(NamedTuple):
    """The attributes of one inode, encoded: one of the two is empty."""

    in_inode: bytes
    block: bytes  # its hash and checksum are still to be put in


def blocks(values: Mapping[str, bytes]) -> int:
    """How many blocks they take; ValueError when they do not fit into one."""
    return int(_size(_entries(values)) > _ROOM_IN_INODE)


def encode(values: Mapping[str, bytes]) -> Attributes:
    """ValueError when they do not fit into a block."""
    entries = _entries(values)
    if not entries:
        return Attributes(b"", b"")
    if _size(entries) <= _ROOM_IN_INODE:
        packed, _ = _packed(entries, _ROOM_IN_INODE, 0)
        return Attributes(struct.pack("<I", _MAGIC) + packed, b"")
    packed, hashes = _packed(entries, BLOCK - _HEADER, _HEADER)
    total = 0
    for each in hashes:
        total = (total << 16 ^ total >> 16 ^ each) & _MASK
    head = struct.pack("<IIII", _MAGIC, 1, 1, total).ljust(_HEADER, b"\0")
    return Attributes(b"", head + packed)


def sealed(block: bytes, number: int) -> bytes:
    """The block with its checksum; number: where it is."""
    total = checksum.extend(checksum.extend(checksum.SEED, struct.pack("<Q", number)), block)
    return block[:16] + struct.pack("<I", total) + block[20:]


def _entries(values: Mapping[str, bytes]) -> list[tuple[int, bytes, bytes]]:
    """(kind, name, value), in ext4's order."""
    rows = sorted(
        (index, len(name), name, value)
        for key, value in values.items()
        for index, name in _named(key)
    )
    entries = [(index, name, value) for index, _, name, value in rows]
    if any(len(name) > 255 for _, name, _ in entries):
        raise ValueError("an extended attribute has a name that is too long")
    if _size(entries) > BLOCK - _HEADER:
        raise ValueError(f"its extended attributes take more than {BLOCK} bytes")
    return entries


def _named(key: str) -> list[tuple[int, bytes]]:
    for prefix, index in _PREFIXES:
        rest = key.removeprefix(prefix)
        if rest != key and bool(rest) == prefix.endswith("."):
            return [(index, rest.encode("utf-8", "surrogateescape"))]
    return []


def _padded(count: int) -> int:
    return -(-count // 4) * 4


def _size(entries: list[tuple[int, bytes, bytes]]) -> int:
    """Bytes of the entries, of the four zeros behind them, and of their values."""
    return 4 + sum(16 + _padded(len(name)) + _padded(len(value)) for _, name, value in entries)


def _packed(
    entries: list[tuple[int, bytes, bytes]], room: int, base: int
) -> tuple[bytes, list[int]]:
    """Entries from the front, values from the back; base: what offsets of values count from lies
    so far before the entries."""
    front, back, hashes = b"", b"", []
    for index, name, value in entries:
        padded = value.ljust(_padded(len(value)), b"\0")
        back = padded + back
        offset = base + room - len(back) if value else 0
        hashes.append(_hash(name, padded))
        front += struct.pack("<BBHIII", len(name), index, offset, 0, len(value), hashes[-1])
        front += name.ljust(_padded(len(name)), b"\0")
    return front + bytes(room - len(front) - len(back)) + back, hashes


def _hash(name: bytes, value: bytes) -> int:
    total = 0
    for byte in name:
        total = (total << 5 ^ total >> 27 ^ byte) & _MASK
    for (word,) in struct.iter_unpack("<I", value):
        total = (total << 16 ^ total >> 16 ^ word) & _MASK
    return total
