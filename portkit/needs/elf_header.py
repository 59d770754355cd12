"""What the kernel looks at in an ELF file's header before it looks at the machine. Pure."""

from __future__ import annotations

import struct

from portkit.needs.elf import STARTED

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
