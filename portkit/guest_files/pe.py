"""Programs for UEFI: who signed them, and what a shim trusts and starts.

Sources: Microsoft, "PE Format"; shim, README.md and shim.c (second stage, fallback).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

SIGNATURE_BYTES = 64 << 10
BODY_BYTES = 3 << 20  # libguestfs reads up to 4 MiB at once
# What a loader has of itself in its own bytes.
_MARKS = {
    "systemd-boot": b"LoaderInfo: systemd-boot",
    "GRUB": b"Welcome to GRUB!",
    "shim": b"UEFI SHIM",
}
# In a certificate: the attribute commonName, a kind of text, its length, and the text (RFC 5280).
_COMMON_NAME = re.compile(rb"\x06\x03\x55\x04\x03[\x0c\x13\x14]([\x01-\x7f])", re.DOTALL)
# A text of UEFI: two bytes for each character.
_STARTED = re.compile(rb"\\\0((?:[0-9A-Za-z_.+-]\0){1,40}?e\0f\0i\0)", re.IGNORECASE)
_MOST = 32


def certificates(g: Any, path: str) -> tuple[int, int]:
    """Where the certificates of a program are, and how many bytes; zeros where it has none (the
    fifth data directory)."""
    head = bytes(g.pread(path, 4096, 0))
    at = int.from_bytes(head[60:64], "little")
    row = at + 24 + (112 if head[at + 24 : at + 26] == b"\x0b\x02" else 96) + 4 * 8
    place, size = (int.from_bytes(head[row + i : row + i + 4], "little") for i in (0, 4))
    if head[:2] != b"MZ" or head[at : at + 4] != b"PE\0\0" or not place or not size:
        return 0, 0
    return place, size


def signature(g: Any, path: str) -> bytes:
    """The certificates of a program for UEFI."""
    place, size = certificates(g, path)
    return bytes(g.pread(path, min(size, SIGNATURE_BYTES), place)) if place else b""


def body(g: Any, path: str) -> bytes:
    """A program without what follows it: the signature of a shim names who made that, the shim
    itself whom it trusts."""
    place, _ = certificates(g, path)
    return bytes(g.pread(path, min(place or BODY_BYTES, BODY_BYTES), 0))


def kind(data: bytes) -> str:
    """Which program for UEFI it is; "" for another one, "none" for no program."""
    other = "" if data.startswith(b"MZ") else "none"
    return next((name for name, mark in _MARKS.items() if mark in data), other)


def names(data: bytes) -> list[str]:
    """The common names in the certificates that are somewhere in it."""
    found = (
        data[match.end() : match.end() + match[1][0]].decode("utf-8", "replace")
        for match in _COMMON_NAME.finditer(data)
    )
    return list(dict.fromkeys(found))[:_MOST]


def started(data: bytes) -> list[str]:
    """The names of programs that a shim starts from its own folder."""
    found = (match[1].decode("utf-16-le").lower() for match in _STARTED.finditer(data))
    return list(dict.fromkeys(found))[:_MOST]


def is_fallback(name: str) -> bool:
    """Whether a shim's own folder has, by that name, what looks for the shims of other folders."""
    return name == "fallback.efi" or bool(re.fullmatch(r"fb[a-z0-9]+\.efi", name))


def second_stages(starts: Sequence[str]) -> list[str]:
    """Of what a shim starts, the boot loaders: neither the fallback nor the manager of keys."""
    managers = re.compile(r"mm[a-z0-9]+\.efi|mokmanager\.efi")
    return [name for name in starts if not is_fallback(name) and not managers.fullmatch(name)]
