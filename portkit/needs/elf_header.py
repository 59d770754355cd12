"""What the kernel looks at in an ELF file's header before it looks at the machine. Pure."""

from __future__ import annotations

import struct

from portkit.needs.elf import STARTED, Read

_LOAD, _MOST = 1, 256  # a segment that is mapped; of all segments, linkers make some dozen
_TYPES = {1: "an object file for a linker", 4: "a memory dump (core)"}


def refused(head: bytes, file_bytes: int) -> str:
    """Why the kernel starts no file with this header, whatever the machine is; "" where it may
    (Linux, fs/binfmt_elf.c, load_elf_binary). head: the first 64 bytes, or fewer."""
    wide = head[4:5] == b"\2"
    if len(head) < (64 if wide else 52):
        return "it is cut off within its header"
    order = ">" if head[5] == 2 else "<"
    (kind,) = struct.unpack_from(order + "H", head, 16)
    if kind not in STARTED:
        return f"it is {_TYPES.get(kind, 'an ELF file of an unknown type')}, and no program"
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
    entry, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    if entry != (56 if wide else 32) or not count:
        return "it has no program headers"
    if table + entry * count > file_bytes:
        return "it is cut off within its program headers"
    return ""


def end(read: Read) -> int:
    """How many bytes a file must have for its segments, by its program headers alone; 0 where these
    cannot be read. Other parts of it may be missing."""
    head = read(0, 64)
    wide = head[4:5] == b"\2"
    if refused(head, 1 << 62):
        return 0
    order = ">" if head[5] == 2 else "<"
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    form = "IIQQQQ" if wide else "IIIII"  # type, flags or offset, and so on
    rows = read(table, size * min(count, _MOST))
    ends = [0]
    for at in range(0, len(rows) - size + 1, size):
        fields = struct.unpack_from(order + form, rows, at)
        offset, length = (fields[2], fields[5]) if wide else (fields[1], fields[4])
        ends.append(offset + length if fields[0] == _LOAD and length else 0)
    return max(ends)
