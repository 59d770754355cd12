"""A text by which the App's answer is told from another application's. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# A pattern with a bounded number of parts takes time that grows with the answer alone; a regular
# expression could be kept busy for ever by an answer that somebody made for it.
_ANY = re.compile(r"(?<!\\)\*")
_MOST_LINE = 64 << 10  # bytes of a line whose end has not come


class Expected:
    r"""`x-portkit.health.expect`: a text within one line, in which `*` is any text and `\*` a star.

    A line of the answer's head is `name: value`, with the name in any case; the other lines are
    those of its body, which `body` gets in parts.
    """

    def __init__(self, pattern: str) -> None:
        self._parts = _parts(pattern)
        self._line = b""

    def head(self, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether a header has it."""
        # As http.client has decoded them.
        lines = (
            (name.lower().encode("latin-1", "replace"), f": {value}".encode("latin-1", "replace"))
            for name, value in headers
        )
        return any(_within(name + rest, self._parts, len(name)) for name, rest in lines)

    def body(self, data: bytes) -> bool:
        """Whether what has come so far has it, with these bytes."""
        *whole, rest = (self._line + data).split(b"\n")
        self._line = rest[-_MOST_LINE:]
        return any(_within(line, self._parts) for line in (*whole, rest))


def _parts(pattern: str) -> list[bytes]:
    return [part.replace("\\*", "*").encode() for part in _ANY.split(pattern)]


def _within(line: bytes, parts: Iterable[bytes], name: int = 0) -> bool:
    """name: so many bytes at the beginning, in small letters, are the same in any case."""
    at = 0
    for part in parts:
        # The first place is as good as any: what follows has the most room behind it.
        found = _find(line, part, at, name)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _find(line: bytes, part: bytes, at: int, name: int) -> int:
    for place in range(at, name):
        inside = name - place
        if line.startswith(part[:inside].lower() + part[inside:], place):
            return place
    return line.find(part, max(at, name))


def why_not(pattern: str) -> Iterator[str]:
    """What is wrong with a pattern, in words."""
    if len(pattern) > 1000:
        yield "it is longer than 1000 characters"
    if any(ord(c) < 32 or ord(c) == 127 for c in pattern):
        yield "it must be within one line, without control characters"
    if not any(part.strip() for part in _parts(pattern)):
        yield "it is empty"
