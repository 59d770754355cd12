"""JSON that somebody else wrote. Pure.

The reader is narrower than Python's own: UTF-8 only, no key twice in an object, no NaN, no half of
a surrogate pair (which no file and no engine can take), a bounded number of values. The ValueError
that it raises never quotes the text: there may be passwords in it.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

# An object in memory takes some 100 bytes, "{}," only three: without it, 16 MB become 400.
MAX_VALUES = 500_000
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def loads(data: bytes) -> Any:
    """The value; ValueError for anything else than JSON."""
    if sum(map(data.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant
        )
        if _HALF.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a character") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON at character {error.pos}: {error.msg}") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
