"""The partition table of a disk, and what a BIOS would start from its first sector.

Source: UEFI specification 2.10, chapter 5 (GPT), 13.3 (file systems); the MBR of the IBM PC as
Linux reads it (block/partitions/msdos.c). Everything on the disk is input.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from portkit.model.disk import Layout, Partition, TableKind

Read = Callable[[int, int], bytes]  # offset, length

SECTOR, LARGE_SECTOR = 512, 4096
_SIGNATURE = b"\x55\xaa"
_CODE_BYTES = 440
_MBR_ENTRY = struct.Struct("<B3xB3xII")
_EXTENDED = frozenset({0x05, 0x0F, 0x85})
_PROTECTIVE = 0xEE
_MOST_LOGICAL = 64
_GPT = struct.Struct("<8sIIIIQQQQ16sQIII")  # 92 bytes
_GPT_ENTRY = struct.Struct("<16s16sQQQ")
_MOST_ENTRIES, _MOST_ENTRY_BYTES = 1024, 1024
_LEGACY_BOOTABLE = 1 << 2  # UEFI 2.10, table 5.8
# Texts of boot code that starts the partition which is marked active: SYSLINUX's (mbr.bin,
# gptmbr.bin) and that of Windows and DOS.
_NO_SYSTEM = b"This is not a bootable disk"  # what mkfs.fat writes: it prints just that
_ACTIVE = (b"Missing OS", b"Missing operating system", b"Invalid partition table")


def layout(read: Read, disk_bytes: int) -> Layout:
    """How a disk is divided. read: its bytes, fewer at its end."""
    first = read(0, SECTOR).ljust(SECTOR, b"\0")
    signature, code = first[510:] == _SIGNATURE, _code(first)
    rows = list(_rows(first)) if signature else []
    if any(kind == _PROTECTIVE for _, kind, _, _ in rows):
        return _gpt(read, disk_bytes, signature, code)
    if _is_fat(first):  # before the rows: its own code lies where a table would
        return Layout(TableKind.NONE, signature=signature, code=code, fat=True)
    parts = tuple(_mbr(read, rows, disk_bytes))
    if not parts:
        return Layout(TableKind.NONE, signature=signature, code=code)
    return Layout(TableKind.MBR, parts, signature, code, faults=tuple(_faults(parts, disk_bytes)))


def _code(first: bytes) -> str:
    """What the first sector starts: see `Layout.code`."""
    if not any(first[:_CODE_BYTES]) or _NO_SYSTEM in first:
        return ""
    if b"GRUB" in first:
        return "grub"
    return "active" if any(text in first for text in _ACTIVE) else "other"


def _is_fat(sector: bytes) -> bool:
    """Whether a FAT file system begins with it: the names that every program writes there."""
    return sector[510:512] == _SIGNATURE and (sector[54:57] == b"FAT" or sector[82:87] == b"FAT32")


def _rows(sector: bytes) -> Iterator[tuple[bool, int, int, int]]:
    """Of a boot record: active, type, first sector, sectors."""
    for at in range(446, 510, 16):
        flag, kind, start, count = _MBR_ENTRY.unpack_from(sector, at)
        if kind and count:
            yield flag == 0x80, kind, start, count


def _mbr(
    read: Read, rows: list[tuple[bool, int, int, int]], disk_bytes: int
) -> Iterator[Partition]:
    for active, kind, start, count in rows:
        if kind in _EXTENDED:
            yield from _logical(read, start, disk_bytes)
        else:
            yield _partition(read, start, count, f"{kind:02X}", active=active)


def _logical(read: Read, base: int, disk_bytes: int) -> Iterator[Partition]:
    """The chain of records in an extended partition; one that leads back ends."""
    seen: set[int] = set()
    at = base
    while at not in seen and len(seen) < _MOST_LOGICAL and at * SECTOR < disk_bytes:
        seen.add(at)
        sector = read(at * SECTOR, SECTOR).ljust(SECTOR, b"\0")
        if sector[510:] != _SIGNATURE:
            return
        rows = list(_rows(sector))
        for active, kind, start, count in rows:
            if kind not in _EXTENDED:
                yield _partition(read, at + start, count, f"{kind:02X}", active=active)
        onward = [start for _, kind, start, _ in rows if kind in _EXTENDED]
        if not onward:
            return
        at = base + onward[0]


def _partition(read: Read, start: int, count: int, kind: str, *, active: bool) -> Partition:
    fat = _is_fat(read(start * SECTOR, SECTOR))
    return Partition(start * SECTOR, count * SECTOR, kind, active, fat)


@dataclass(frozen=True)
class _Table:
    """A copy of a GPT. parts: None where it is not whole, `why` then says so."""

    parts: tuple[Partition, ...] | None
    why: str = ""


def _gpt(read: Read, disk_bytes: int, signature: bool, code: str) -> Layout:
    sector, main, spare = SECTOR, *_copies(read, disk_bytes, SECTOR)
    if main.parts is spare.parts is None:  # of a disk whose sectors are larger ("4Kn")
        larger = _copies(read, disk_bytes, LARGE_SECTOR)
        if any(copy.parts is not None for copy in larger):
            sector, main, spare = LARGE_SECTOR, *larger
    faults = [
        f"the {name} copy of its GPT: {copy.why}"
        for name, copy in (("first", main), ("second", spare))
        if copy.parts is None
    ]
    # A firmware takes the second copy where the first is damaged (UEFI 2.10, 5.3.2).
    parts = main.parts if main.parts is not None else spare.parts
    rows = parts or ()
    faults += _faults(rows, disk_bytes)
    return Layout(
        TableKind.GPT,
        rows,
        signature,
        code,
        faults=tuple(faults),
        damaged=parts is None,
        sector_bytes=sector,
    )


def _copies(read: Read, disk_bytes: int, unit: int) -> tuple[_Table, _Table]:
    """Both copies of a table for sectors of that size."""
    return _copy(read, 1, unit), _copy(read, disk_bytes // unit - 1, unit)


def _copy(read: Read, sector: int, unit: int) -> _Table:
    head = read(sector * unit, SECTOR) if sector > 0 else b""
    if len(head) < SECTOR or head[:8] != b"EFI PART":
        return _Table(None, "it is not there")
    fields = _GPT.unpack_from(head)
    size, sum_, own = fields[2], fields[3], fields[5]
    entries_at, count, width, entries_sum = fields[10:14]
    if not _GPT.size <= size <= SECTOR or own != sector:
        return _Table(None, f"a header of {size} bytes for sector {own}")
    if zlib.crc32(head[:16] + bytes(4) + head[20:size]) != sum_:
        return _Table(None, "the checksum of its header is wrong")
    if not 0 < count <= _MOST_ENTRIES or width % 128 or not 128 <= width <= _MOST_ENTRY_BYTES:
        return _Table(None, f"{count} entries of {width} bytes")
    data = read(entries_at * unit, count * width)
    if len(data) < count * width or zlib.crc32(data) != entries_sum:
        return _Table(None, "the checksum of its entries is wrong")
    return _Table(tuple(_entries(read, data, width, unit)))


def _entries(read: Read, data: bytes, width: int, unit: int) -> Iterator[Partition]:
    for at in range(0, len(data), width):
        kind, _, start, last, attributes = _GPT_ENTRY.unpack_from(data, at)
        if any(kind) and last >= start:
            guid = str(UUID(bytes_le=kind)).upper()
            active = bool(attributes & _LEGACY_BOOTABLE)
            place, size = start * unit, (last - start + 1) * unit
            fat = _is_fat(read(place, SECTOR))
            yield Partition(place, size, guid, active, fat)


def _faults(parts: tuple[Partition, ...], disk_bytes: int) -> Iterator[str]:
    for number, each in enumerate(parts, 1):
        if each.start + each.bytes > disk_bytes:
            yield (
                f"partition {number} ends at byte {each.start + each.bytes}, "
                f"and the disk at {disk_bytes}"
            )
