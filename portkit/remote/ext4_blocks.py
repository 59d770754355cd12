"""What is in the blocks of an ext4 file system: extents, names, attributes. Pure.

Source: Linux, Documentation/filesystems/ext4; fs/ext4/namei.c (the index of a folder), xattr.c,
acl.h.
"""

from __future__ import annotations

import struct
from typing import Iterator, List, NamedTuple, Optional, Tuple

from portkit.remote import crc32c
from portkit.remote.ext4_layout import damaged, halves, unread

_EXTENTS, _ATTRIBUTES = 0xF30A, 0xEA020000
_ROW = 12  # bytes of an extent, and of a header
_LONGEST = 32768  # blocks of an extent that was written; more says that it was only set aside
_MOST_LEVELS = 5
_LEAST_ENTRY = 8
_TAIL = struct.pack("<IHBB", 0, 12, 0, 0xDE)  # what is before the checksum of a folder's block
_PREFIXES = {1: b"user.", 2: b"system.posix_acl_access", 3: b"system.posix_acl_default"}
_PREFIXES.update({4: b"trusted.", 6: b"security.", 7: b"system.", 8: b"system.richacl"})
_ACCESS_LISTS = (2, 3)
# Of an access list: on the disk, and as getxattr(2) gives it; tags that have an id.
_ON_DISK, _AS_TOLD = 1, 2
_NAMED = (2, 8)


class Run(NamedTuple):
    """Blocks of a file that lie behind each other: its own number of the first, where that is in
    the file system, and how many. written: else they read as zeros."""

    logical: int
    physical: int
    blocks: int
    written: bool = True


class Node(NamedTuple):
    """A part of a tree of extents: runs at the bottom, above it (first block of the file, block of
    the node)."""

    depth: int
    runs: List[Run]
    below: List[Tuple[int, int]]


def node(data: bytes, seed: Optional[int], depth: Optional[int]) -> Node:
    """From the area of an inode, or from a block. seed: of the checksum that a block has.
    depth: that it has to have; None at the top."""
    magic, count, most, found = struct.unpack_from("<HHHH", data)
    fits = most <= (len(data) - _ROW) // _ROW and count <= most
    if magic != _EXTENTS or not fits or found > _MOST_LEVELS or depth not in (None, found):
        raise damaged("a tree of extents is none")
    if seed is not None:
        at = _ROW * (most + 1)
        if crc32c.extend(seed, data[:at]) != int.from_bytes(data[at : at + 4], "little"):
            raise damaged("a block of extents has another checksum than it says")
    rows = [data[_ROW * (n + 1) : _ROW * (n + 2)] for n in range(count)]
    if found:
        return Node(found, [], list(map(_pointer, rows)))
    return Node(0, list(map(_run, rows)), [])


def _pointer(row: bytes) -> Tuple[int, int]:
    first, low, high = struct.unpack_from("<IIH", row)
    return first, high << 32 | low


def _run(row: bytes) -> Run:
    logical, count, high, low = struct.unpack("<IHHI", row)
    written = count <= _LONGEST
    return Run(logical, high << 32 | low, count if written else count - _LONGEST, written)


def pointers(data: bytes) -> List[int]:
    """Numbers of blocks, as ext3 tells where those of a file are; 0 is a hole."""
    return [number for (number,) in struct.iter_unpack("<I", data)]


# ---------------------------------------------------------------- folders


class Name(NamedTuple):
    """An entry of a folder. kind: as directories have it, 0 where it does not say."""

    name: bytes
    inode: int
    kind: int


def names(data: bytes, seed: Optional[int]) -> Iterator[Name]:
    """Of a block of a folder, `.` and `..` included. seed: of its checksum."""
    if seed is not None:
        _require_sealed(data, seed)
    at = 0
    while at < len(data):
        inode, length, size, kind = struct.unpack_from("<IHBB", data, at)
        if len(data) == 1 << 16 and length in (0, (1 << 16) - 1):
            length = 1 << 16
        if length % 4 or length < _LEAST_ENTRY or at + length > len(data):
            raise damaged("an entry of a folder is longer than its block, or has no length")
        if inode:
            name = data[at + _LEAST_ENTRY : at + _LEAST_ENTRY + size]
            if size > length - _LEAST_ENTRY or not name or b"/" in name or b"\0" in name:
                raise damaged("an entry of a folder has a name that none can have: %r" % name[:80])
            yield Name(name, inode, kind)
        at += length
        if len(data) - at < _LEAST_ENTRY and at != len(data):
            raise damaged("the entries of a folder do not fill its block")


def _require_sealed(data: bytes, seed: int) -> None:
    said = int.from_bytes(data[-4:], "little")
    if data[-12:-4] == _TAIL:
        total = crc32c.extend(seed, data[:-12])
    else:
        at = _index(data)
        count, most = 0, 0
        if at is not None:
            most, count = halves(data, at)
        # The checksum is behind the last place for a row; of its own eight bytes, the half before
        # it counts, and it itself as zeros.
        tail = (at or 0) + 8 * most
        if not 0 < count <= most or tail + 8 > len(data):
            raise damaged("a block of a folder has no checksum")
        said = int.from_bytes(data[tail + 4 : tail + 8], "little")
        total = crc32c.extend(seed, data[: (at or 0) + 8 * count])
        total = crc32c.extend(total, data[tail : tail + 4] + bytes(4))
    if total != said:
        raise damaged("a block of a folder has another checksum than it says")


def _index(data: bytes) -> Optional[int]:
    """Where the rows of a folder's index begin in a block; None where it has none."""
    first, _ = halves(data, 4)
    if first == len(data) & 0xFFFF:
        return 8
    second, _ = halves(data, 16)
    head = data[24:32]
    if first == 12 and second == len(data) - 12 and head[:4] == bytes(4) and head[5] == 8:
        return 32
    return None


# ---------------------------------------------------------------- attributes


def attributes(data: bytes) -> List[Tuple[bytes, bytes]]:
    """Of what is behind an inode's fields."""
    if int.from_bytes(data[:4], "little") != _ATTRIBUTES:
        return []
    return _attributes(data[4:], 0)


def block_of_attributes(data: bytes, number: int, seed: Optional[int]) -> List[Tuple[bytes, bytes]]:
    """Of a block of its own. seed: of the file system."""
    magic, _, blocks, _, said = struct.unpack_from("<IIIII", data)
    if magic != _ATTRIBUTES or blocks != 1:
        raise damaged("the attributes of an entry are none")
    if seed is not None:
        total = crc32c.extend(seed, struct.pack("<Q", number))
        if crc32c.extend(total, data[:16] + bytes(4) + data[20:]) != said:
            raise damaged("a block of attributes has another checksum than it says")
    return _attributes(data, 32)


def _attributes(data: bytes, at: int) -> List[Tuple[bytes, bytes]]:
    """Entries from `at` on, up to one that is zero; the places of values count from the front."""
    found: List[Tuple[bytes, bytes]] = []
    room = len(data)  # values do not overlap
    while True:
        if at + 4 > len(data):
            raise damaged("the attributes of an entry have no end")
        if data[at : at + 4] == bytes(4):
            return found
        if at + 16 > len(data):
            raise damaged("the attributes of an entry have no end")
        size, kind, place, elsewhere, length, _ = struct.unpack_from("<BBHIII", data, at)
        name = data[at + 16 : at + 16 + size]
        at += 16 + -(-size // 4) * 4
        if elsewhere:
            raise unread("an attribute has an inode of its own (ea_inode)")
        room -= length
        if kind not in _PREFIXES or at > len(data) or place + length > len(data) or room < 0:
            raise damaged("an attribute has an unknown kind, or is outside of its block")
        value = data[place : place + length]
        if kind in _ACCESS_LISTS:
            value = access_list(value)
        found.append((_PREFIXES[kind] + name, value))


def access_list(value: bytes) -> bytes:
    """A POSIX ACL as getxattr(2) gives it: each entry has an id there, on the disk only some."""
    if value[:4] != struct.pack("<I", _ON_DISK):
        raise damaged("an access list is of another version")
    told, at = [struct.pack("<I", _AS_TOLD)], 4
    while at < len(value):
        tag, _ = halves(value, at)
        size = 8 if tag in _NAMED else 4
        if at + size > len(value):
            raise damaged("an access list ends within an entry")
        told.append(value[at : at + size].ljust(8, b"\xff"))
        at += size
    return b"".join(told)
