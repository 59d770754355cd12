"""What the headers of a tar are made of: its errors, numbers and bytes, with limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 20  # bytes that are read at once
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*", re.ASCII)


class TarError(ValueError):
    """It is damaged, truncated, or asks for more than the limits."""


def read(file: BinaryIO, position: int, count: int) -> Iterator[bytes]:
    """What is there, in pieces of at most CHUNK; TarError where the file ends before."""
    while count > 0:
        file.seek(position)
        data = file.read(min(count, CHUNK))
        if not data:
            raise TarError("it became shorter while it was read")
        yield data
        position += len(data)
        count -= len(data)


@dataclass(slots=True)
class Before:
    """What the extended headers before a member say of it."""

    records: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)  # numbers of GNU.sparse.offset and numbytes
    name: str | None = None
    link: str | None = None


@lru_cache(4096)  # modes, owners and times of most members of a layer are the same few
def number(data: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set (GNU)."""
    if data[0] & 0x80:
        value = int.from_bytes(data, "big", signed=False)
        bits = 8 * len(data)
        # The first bit is a mark; the second is the sign.
        value &= (1 << (bits - 1)) - 1
        value -= (1 << (bits - 1)) if data[0] & 0x40 else 0
        if not -(1 << 63) <= value < 1 << 63:
            raise TarError("a number in a header is out of range")
        return value
    match = _OCTAL.fullmatch(data)
    if match is None:
        raise TarError("a number in a header is malformed")
    return int(match[1] or b"0", 8)


def decimal(text: str) -> int:
    """Decimal digits, as in extended headers."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise TarError("a number in an extended header is malformed")
    return int(text)
