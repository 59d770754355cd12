"""Small disks for tests: what a partition table and a qcow2 header are made of."""

import struct
import zlib
from collections.abc import Sequence
from uuid import UUID

SECTOR = 512
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
FAT_SECTOR = b"\xeb\x3c\x90mkfs.fat".ljust(54, b"\0") + b"FAT16   "
CODE = b"\xfa\xb8code"


def signed(sector: bytes) -> bytes:
    """The same as a boot sector."""
    return sector.ljust(510, b"\0")[:510] + b"\x55\xaa"


def mbr(rows: Sequence[tuple[int, int, int, int]], code: bytes = b"") -> bytes:
    """A boot record. rows: flag, type, first sector, sectors."""
    table = b"".join(struct.pack("<B3xB3xII", *row) for row in rows)
    return signed(code.ljust(446, b"\0") + table)


def gpt(sectors: int, rows: Sequence[tuple[str, int, int, int]], code: bytes = b"") -> bytearray:
    """A disk with both copies of a table. rows: type, first sector, last sector, attributes."""
    disk = bytearray(sectors * SECTOR)
    disk[:SECTOR] = mbr([(0, 0xEE, 1, sectors - 1)], code)
    entries = b"".join(
        UUID(kind).bytes_le
        + bytes([number + 1]) * 16
        + struct.pack("<QQQ", first, last, more)
        + bytes(72)
        for number, (kind, first, last, more) in enumerate(rows)
    ).ljust(128 * 128, b"\0")
    for own, other, at in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)):
        disk[at * SECTOR : at * SECTOR + len(entries)] = entries
        places = (own, other, 34, sectors - 34)
        body = struct.pack(
            "<4I4Q16sQIII", 0x10000, 92, 0, 0, *places, bytes(16), at, 128, 128, zlib.crc32(entries)
        )
        head = b"EFI PART" + body
        head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
        disk[own * SECTOR : own * SECTOR + len(head)] = head
    return disk


def bootable(sectors: int = 4096) -> bytearray:
    """A disk that starts both ways, as far as its headers tell."""
    rows = [(ESP, 64, 1023, 4), (LINUX, 1024, sectors - 100, 0)]
    disk = gpt(sectors, rows, CODE)
    disk[64 * SECTOR : 65 * SECTOR] = signed(FAT_SECTOR)
    return disk


def qcow2(
    content: bytes,
    *,
    features: int = 0,
    kind: int = 0,
    version: int = 3,
    backing: bytes = b"",
    method: int = 0,
    extension: int = 0,
) -> bytearray:
    """A qcow2 of version 2 or 3 in clusters of 4 KiB that holds all of `content`, or nothing of it
    where there is none."""
    size, bits = 4096, 12
    clusters = -(-len(content) // size)
    tables = -(-clusters // 512)
    l2_at, data_at = 2 * size, (2 + tables) * size
    place = 112 + 16 if extension else 112
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        place + 8 if backing else 0,
        len(backing),
        bits,
        len(content),
        method,
        tables,
        size,
        size,
        1,
        0,
        0,
    )
    if version == 3:
        head += struct.pack(">QQQIIB7x", features, 0, 0, 4, 112, kind)
        head += struct.pack(">II8x", extension, 8) if extension else b""
    file = bytearray(data_at + clusters * size)
    file[: len(head)] = head
    if backing:
        file[place + 8 : place + 8 + len(backing)] = backing
    for number in range(tables):
        struct.pack_into(">Q", file, size + 8 * number, (l2_at + number * size) | 1 << 63)
    for number in range(clusters):
        struct.pack_into(">Q", file, l2_at + 8 * number, (data_at + number * size) | 1 << 63)
    file[data_at : data_at + len(content)] = content
    return file
