"""Versions as programs print them, as numbers that can be compared."""

from __future__ import annotations

import re

Version = tuple[int, ...]
_NUMBERS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,4}")


def version(text: str | None) -> Version:
    """(20, 10, 24) of "20.10.24+dfsg1"; () where it does not begin with a number."""
    match = _NUMBERS.match(text or "")
    return tuple(map(int, match[0].split("."))) if match else ()


def dotted(numbers: Version) -> str:
    """(3, 17, 0) as "3.17.0"."""
    return ".".join(map(str, numbers))
