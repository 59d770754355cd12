"""Text from elsewhere before it is shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

# Control, format (such as right-to-left overrides) and lone surrogates.
_UNSHOWN = ("Cc", "Cf", "Cs")


def counted(number: int, noun: str) -> str:
    """A number of things: "1 volume", "2 volumes"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first ones with commas between them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def printable(text: str, limit: int | None = None) -> str:
    """`text` without escape codes and other control characters but newlines and tabs; the first
    `limit` characters of it."""
    text = text if limit is None else text[:limit]
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNSHOWN)
