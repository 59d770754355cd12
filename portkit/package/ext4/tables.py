"""Superblock, group descriptors, inodes and the empty journal as bytes. Pure.

Sources: Linux, Documentation/filesystems/ext4/super.rst, group_descr.rst, inodes.rst, journal.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from portkit.package.ext4 import checksum
from portkit.package.ext4.extents import BLOCK
from portkit.package.ext4.geometry import GROUP, INODE, Geometry

ROOT, JOURNAL, FIRST = 2, 8, 11  # numbers of inodes; those below the first have a fixed use
EXTENTS = 0x80000  # flag of an inode
# has_journal, ext_attr, dir_index / filetype, extents, 64bit, flex_bg, metadata_csum_seed
_COMPATIBLE, _INCOMPATIBLE = 0x4 | 0x8 | 0x20, 0x2 | 0x40 | 0x80 | 0x200 | 0x2000
# sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum
_READ_ONLY = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400
_ATTRIBUTES_AND_ACLS = 0xC
_HALF_MD4, _SIGNED = 1, 1
_EXTRA = 32  # bytes of an inode's fields behind the first 128
_EPOCHS = (-(1 << 31), (1 << 34) - (1 << 31) - 1)  # seconds that an inode can tell
UNUSED_INODES, UNUSED_BLOCKS, CLEAN_TABLE = 1, 2, 4  # flags of a group


@dataclass(frozen=True)
class Numbers:
    """What the superblock tells of the whole: identity, label, and what is free.

    uuid: the seed of the directories' hashes is the same.
    """

    uuid: bytes
    label: bytes
    free_blocks: int
    free_inodes: int
    journal: bytes  # the journal inode's 60 bytes of extents


def superblock(shape: Geometry, told: Numbers, group: int) -> bytes:
    """The 1,024 bytes; group: the one in which this copy stands."""
    size = shape.journal * BLOCK
    row = struct.pack("<III", shape.inodes * shape.groups, shape.blocks & 0xFFFFFFFF, 0)
    row += struct.pack("<IIII", told.free_blocks & 0xFFFFFFFF, told.free_inodes, 0, 2)
    row += struct.pack("<6I", 2, GROUP, GROUP, shape.inodes, 0, 0)
    row += struct.pack("<HHHHHHIIII", 0, 0xFFFF, 0xEF53, 1, 1, 0, 0, 0, 0, 1)
    row += struct.pack("<HHIHH", 0, 0, FIRST, INODE, group)
    row += struct.pack("<III", _COMPATIBLE, _INCOMPATIBLE, _READ_ONLY)
    row += told.uuid + told.label.ljust(16, b"\0") + bytes(64)
    row += struct.pack("<IBBH", 0, 0, 0, 0) + bytes(16) + struct.pack("<III", JOURNAL, 0, 0)
    row += told.uuid + struct.pack("<BBH", _HALF_MD4, 1, 64)
    row += struct.pack("<III", _ATTRIBUTES_AND_ACLS, 0, 0)
    row += told.journal + struct.pack("<II", size >> 32, size & 0xFFFFFFFF)
    row += struct.pack("<III", shape.blocks >> 32, 0, told.free_blocks >> 32)
    row += struct.pack("<HHIHHQIBB", _EXTRA, _EXTRA, _SIGNED, 0, 0, 0, 0, 4, 1)
    row = row.ljust(0x270, b"\0") + struct.pack("<I", checksum.SEED)
    row = row.ljust(1020, b"\0")
    return row + struct.pack("<I", checksum.extend(0xFFFFFFFF, row))


@dataclass
class Group:
    """One group's descriptor: where its tables are, and what of it is free."""

    block_bits: int
    inode_bits: int
    table: int
    free_blocks: int = 0
    free_inodes: int = 0
    unused_inodes: int = 0
    folders: int = 0
    flags: int = CLEAN_TABLE
    block_sum: int = 0
    inode_sum: int = 0

    def encoded(self, number: int) -> bytes:
        low = [value & 0xFFFFFFFF for value in (self.block_bits, self.inode_bits, self.table)]
        high = [value >> 32 for value in (self.block_bits, self.inode_bits, self.table)]
        counts = (self.free_blocks, self.free_inodes, self.folders)
        sums = (self.block_sum, self.inode_sum)
        row = struct.pack("<IIIHHHHI", *low, *counts, self.flags, 0)
        row += struct.pack("<HHHH", *(value & 0xFFFF for value in sums), self.unused_inodes, 0)
        row += struct.pack("<IIIHHHHI", *high, 0, 0, 0, 0, 0)
        row += struct.pack("<HHI", *(value >> 16 for value in sums), 0)
        total = checksum.extend(checksum.extend(checksum.SEED, struct.pack("<I", number)), row)
        return row[:30] + struct.pack("<H", total & 0xFFFF) + row[32:]


@dataclass
class Inode:
    """mode: with the file's type. blocks: of 512 bytes, as stat tells them. place: 60 bytes that
    say where the content is, or are it. attributes: those that fit behind the fields."""

    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    time_ns: int = 0
    links: int = 1
    blocks: int = 0
    flags: int = 0
    place: bytes = bytes(60)
    attribute_block: int = 0
    attributes: bytes = b""

    def encoded(self, number: int) -> bytes:
        """All its times are that of the last change: nothing else is told by a layer."""
        time, extra = _time(self.time_ns)
        row = struct.pack("<HHI", self.mode, self.uid & 0xFFFF, self.size & 0xFFFFFFFF)
        row += struct.pack("<IIIIHH", time, time, time, 0, self.gid & 0xFFFF, self.links)
        row += struct.pack("<III", self.blocks & 0xFFFFFFFF, self.flags, 0) + self.place
        row += struct.pack("<IIII", 0, self.attribute_block & 0xFFFFFFFF, self.size >> 32, 0)
        row += struct.pack("<HH", self.blocks >> 32, self.attribute_block >> 32)
        row += struct.pack("<HHHH", self.uid >> 16, self.gid >> 16, 0, 0)
        row += struct.pack("<HHIIIIIII", _EXTRA, 0, extra, extra, extra, time, extra, 0, 0)
        row = (row + self.attributes).ljust(INODE, b"\0")
        total = checksum.extend(checksum.of_inode(number), row)
        low, high = struct.pack("<H", total & 0xFFFF), struct.pack("<H", total >> 16)
        return row[:124] + low + row[126:130] + high + row[132:]


def _time(nanoseconds: int) -> tuple[int, int]:
    """The 32 bits of the seconds, and the field of nanoseconds with two more bits of seconds."""
    seconds, rest = divmod(nanoseconds, 10**9)
    first, last = _EPOCHS
    if not first <= seconds <= last:
        seconds, rest = (first, 0) if seconds < first else (last, 0)
    low = seconds & 0xFFFFFFFF
    signed = low - (1 << 32) if low >> 31 else low
    return low, rest << 2 | (seconds - signed) >> 32 & 3


def device(major: int, minor: int) -> bytes:
    """The place of a device: the old form where it can tell it, else the new one. Of larger
    numbers the kernel keeps the last 12 and 20 bits (linux/kdev_t.h)."""
    major, minor = major & 0xFFF, minor & 0xFFFFF
    if major < 256 and minor < 256:
        return struct.pack("<II", major << 8 | minor, 0).ljust(60, b"\0")
    number = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    return struct.pack("<II", 0, number & 0xFFFFFFFF).ljust(60, b"\0")


def empty_journal(blocks: int) -> bytes:
    """The first block of a journal in which nothing is (big-endian, other than all the rest)."""
    row = struct.pack(">III", 0xC03B3998, 4, 0)
    row += struct.pack(">IIIIIIIII", BLOCK, blocks, 1, 1, 0, 0, 0, 0, 0)
    return (row + bytes(16) + struct.pack(">I", 1)).ljust(BLOCK, b"\0")
