"""JSON that somebody else wrote: an engine, a host, a bundle, a Store. Pure.

The reader is narrower than Python's own: UTF-8 only, no key twice in an object, no NaN, no half of
a surrogate pair (which no file and no engine can take). What costs more memory or time than its
bytes has a limit, so that no input takes over 200 MiB or 2 s. The ValueError that it raises never
quotes the text: there may be passwords in it.
"""

from __future__ import annotations

import json
import re
from typing import Any, List, NoReturn, Tuple

from portkit.wire.json_types import JsonObject

# One emoji makes four bytes of each character, in the text and once more in its strings.
LIMIT = 16 << 20  # bytes
# An object in memory takes some 200 bytes, "{}," only three: without it, 16 MB become 600.
MAX_VALUES = 500_000
# Of what a schema is held against: pydantic keeps a kilobyte for each thing that is wrong.
MAX_CHECKED = 100_000
MAX_DEPTH = 100  # levels; the deepest that an engine writes have some ten
_MAX_DIGITS = 400  # of an integer; more take quadratic time before Python 3.11
_HALF = re.compile("[\ud800-\udfff]")


def loads(data: bytes, *, halves: bool = False, most: int = MAX_VALUES) -> Any:
    """The value; ValueError for anything else than JSON, or when it has more than `most` values.

    halves: of surrogate pairs are allowed.
    """
    if len(data) > LIMIT:
        raise ValueError(f"it has more than {LIMIT} bytes")
    if sum(map(data.count, (b",", b"{", b"["))) > most:
        raise ValueError(f"it has more than {most} values")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON at character {error.pos}: {error.msg}") from None
    _look_through(value, halves)
    return value


def _look_through(value: object, halves: bool) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: List[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each
                inner += each.values()
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, str) and not (halves or each.isascii()) and _HALF.search(each):
                raise ValueError("a text in it holds half a character")
        if not inner:
            return
        level = inner
    raise ValueError("it is nested too deeply")


def _once(pairs: List[Tuple[str, object]]) -> JsonObject:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number in it has too many digits")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_integer
)
