"""An initrd as the kernel reads it. Pure.

Source: Documentation/driver-api/early-userspace/buffer-format.rst, "newc".
"""

from __future__ import annotations

from collections.abc import Mapping

_FILE, _FOLDER = 0o100000, 0o040000


def cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An uncompressed cpio of files (path -> permissions, content); their folders are made.

    Deterministic: no times, owners 0, inodes counted. Padded to 512, so that archives can follow
    each other.
    """
    entries: dict[str, tuple[int, bytes]] = {}
    for path, (mode, data) in sorted(files.items()):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            entries.setdefault("/".join(parts[:depth]), (_FOLDER | 0o755, b""))
        entries[path] = (_FILE | mode, data)
    out = bytearray()
    for inode, (path, (mode, data)) in enumerate(entries.items(), 1):
        out += _entry(path, inode, mode, data)
    out += _entry("TRAILER!!!", 0, 0, b"")
    return bytes(out) + bytes(-len(out) % 512)


def _entry(path: str, inode: int, mode: int, data: bytes) -> bytes:
    name = path.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    head += bytes(-len(head) % 4)
    return head + data + bytes(-len(data) % 4)
