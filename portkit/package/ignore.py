"""What of a build context goes to the engine: .dockerignore, as the docker command reads it.

Each pattern is matched in linear time: a star takes the first place where what follows it fits, and
tries no other. Source: moby/patternmatcher 0.6 (patternmatcher.go, ignorefile/ignorefile.go), whose
regular expressions are linear by themselves.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_PATTERNS = 2_000
MAX_PATTERN = 4096  # characters: no path is longer


@dataclass(frozen=True)
class Pattern:
    """kept: it begins with `!`, so that what it matches is not ignored."""

    text: str
    kept: bool
    matches: re.Pattern[str]


def patterns(text: str) -> list[Pattern]:
    """The patterns of a .dockerignore; ValueError for one that is malformed."""
    found: dict[tuple[str, bool], None] = {}  # of two that are the same, the last counts
    for line in text.split("\n"):
        row = line.strip()
        if not row or line.startswith("#"):
            continue
        kept = row.startswith("!")
        if row == "!":
            raise ValueError("a ! has no pattern")
        clean = posixpath.normpath(row.removeprefix("!").strip()).lstrip("/")
        if len(clean) > MAX_PATTERN:
            raise ValueError(f"a pattern has more than {MAX_PATTERN} characters")
        if clean:
            found.pop((clean, kept), None)
            found[clean, kept] = None
    if len(found) > MAX_PATTERNS:
        raise ValueError(f"there are more than {MAX_PATTERNS} patterns")
    return [_pattern(*each) for each in found]


def _pattern(text: str, kept: bool) -> Pattern:
    return Pattern(text, kept, re.compile(_expression(text), re.DOTALL))


def exactly(name: str) -> Pattern:
    """One that keeps a file, whatever else is ignored."""
    clean = posixpath.normpath(name)
    return Pattern(clean, True, re.compile(re.escape(clean)))


def names(root: Path, rows: Sequence[Pattern]) -> Iterator[str]:
    """Paths below `root` that the patterns leave, files and folders. Links are not followed."""
    pending = [("", [False] * len(rows))]
    while pending:
        folder, above = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = folder + entry.name
                # What matches a folder matches all that is in it.
                hits = [
                    hit or row.matches.fullmatch(name) is not None
                    for row, hit in zip(rows, above, strict=True)
                ]
                last = max((number for number, hit in enumerate(hits) if hit), default=-1)
                ignored = last >= 0 and not rows[last].kept
                if not ignored:
                    yield name
                below = name + "/"
                if entry.is_dir(follow_symlinks=False) and (
                    not ignored or any(r.kept and f"{r.text}/".startswith(below) for r in rows)
                ):
                    pending.append((below, hits))


def _expression(pattern: str) -> str:
    """The regular expression of a clean pattern, in blocks between its `**`."""
    done, block, at = "", "", 0
    opened = False  # a `**/` began this block: it may fit at every folder
    word: list[str] = []  # letters and stars of this name
    while at < len(pattern):
        letter = pattern[at]
        if letter == "/":
            block, word = block + _name(word) + "/", []
        elif letter == "*" and pattern[at + 1 : at + 2] == "*":
            at += 1
            if pattern[at + 1 : at + 2] == "/":
                at += 1
            if at + 1 == len(pattern):
                return done + _placed(block + _name(word, ends=False) + ".*", opened)
            if word:
                raise ValueError("a ** in the middle of a name is not supported")
            done, block, opened = done + _placed(block, opened), "", True
        elif letter == "*":
            word.append("*")
        else:
            part, at = _letter(pattern, at)
            word.append(part)
        at += 1
    return done + _placed(block + _name(word) + r"\Z", opened)


def _placed(block: str, opened: bool) -> str:
    """A block at its place: for what follows, the first where it fits is as good as any."""
    return f"(?>(?:[^/]*/)*?{block})" if opened else block


def _name(word: Sequence[str], *, ends: bool = True) -> str:
    """A name of letters and stars. Each star takes as little as it can, but for the last, which
    takes what is left where the name ends here."""
    parts = [""]
    for each in word:
        if each == "*":
            parts.append("")
        else:
            parts[-1] += each
    if len(parts) == 1:
        return parts[0]
    first, *middle, last = parts
    found = first + "".join(f"(?>[^/]*?{each})" for each in middle if each)
    return f"{found}[^/]*{last}" + (r"(?=/|\Z)" if ends else "")


def _letter(pattern: str, at: int) -> tuple[str, int]:
    """One letter's expression, and where it ends."""
    letter = pattern[at]
    if letter == "?":
        return "[^/]", at
    if letter == "\\":
        if at + 1 == len(pattern):
            raise ValueError("a pattern ends with a backslash")
        return re.escape(pattern[at + 1]), at + 1
    if letter != "[":
        return re.escape(letter), at
    found, at = "[", at + 1
    if pattern[at : at + 1] == "^":
        found, at = "[^", at + 1
    while at < len(pattern) and pattern[at] != "]":
        if pattern[at] == "\\":
            at += 1
        found += "-" if pattern[at : at + 1] == "-" else re.escape(pattern[at : at + 1])
        at += 1
    if at >= len(pattern) or found in ("[", "[^"):
        raise ValueError("a [ in a pattern is not closed, or is empty")
    return found + ("/]" if found.startswith("[^") else "]"), at
