"""What a build prints, without the values of its arguments."""

from __future__ import annotations

import json
import re
from typing import Callable, Dict, Iterator, Set

STARS = "***"
_SHORT = 4  # characters; a shorter value is in too many innocent words


def masker(args: Dict[str, str]) -> Callable[[str], str]:
    """A function that hides the values in a line: anywhere, a short one behind its name only.

    BuildKit prints instructions with their arguments filled in (FROM, COPY, and RUN in a history),
    and programs in a build print what they are given.
    """
    long: Set[str] = set()
    short = []
    for name, value in args.items():
        long.update(each for each in _forms(value) if len(each) >= _SHORT)
        if 0 < len(value) < _SHORT:
            short.append(re.escape("%s=%s" % (name, value)) + r"(?![\w.-])")
    # The longest first: one value may be a part of another.
    words = [re.escape(each) for each in sorted(long, key=len, reverse=True)] + short
    if not words:
        return lambda line: line
    pattern = re.compile("|".join(words))
    return lambda line: pattern.sub(STARS, line)


def _forms(value: str) -> Iterator[str]:
    """The value as it may be printed: as it is, line by line, quoted."""
    for each in (value, *value.splitlines()):
        yield each
        yield each.strip()
        # BuildKit prints commands in Go's quoting, which for most texts is JSON's, with or without
        # \u escapes.
        yield json.dumps(each)[1:-1]
        yield json.dumps(each, ensure_ascii=False)[1:-1]
