"""Seeded mutations: bytes, text, JSON and tars are spoilt in ways that readers meet."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

_NUMBERS = (
    0,
    -1,
    1,
    127,
    128,
    255,
    256,
    65535,
    1 << 31,
    (1 << 32) - 1,
    1 << 63,
    -(1 << 63),
    10**30,
)
_TEXTS = (
    "",
    " ",
    "\0",
    "..",
    "../x",
    "/etc/passwd",
    "-rf",
    "\ud800",
    "\x1b[31m",
    "é\u202e",
    "%s{}$(id)",
    "x" * 5000,
    "9" * 5000,
    "sha256:",
    "null",
    "NaN",
    "a\nb",
    "${A",
    "1e999",
    "~nobody/x",
)
_TOKENS = (
    b"\0",
    b"\xff",
    b"\n",
    b"{",
    b"[",
    b'"',
    b":",
    b"'",
    b"$",
    b"&a ",
    b"*a",
    b"!!x ",
    b"- ",
    b"\t",
)
_BLOCK = 512
_SIZES = (1 << 16, 1 << 18, 1 << 20, 1 << 22)  # bytes that are added where a part is repeated
_ITEMS = 60_000


def spoil_bytes(data: bytes, chance: Random) -> bytes:
    """Flips, cuts, repeats and inserts, a few of them."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del out[at : at + chance.choice((1, 4, 64, 4096))]
        elif kind == 2:
            out[at:at] = chance.choice(_TOKENS) * chance.choice((1, 1, 8, 2000))
        elif kind == 3:
            out[at:at] = out[at : at + chance.choice((1, 16, 512))] * chance.choice((1, 2, 50))
        elif kind == 4:
            number = chance.choice(_NUMBERS) & (1 << 64) - 1
            out[at : at + 8] = number.to_bytes(8, chance.choice(("big", "little")))
        elif kind == 5:
            out[at:at] = chance.choice(_TEXTS).encode("utf-8", "surrogatepass")
        else:
            out[at:] = out[at : at + chance.randrange(1, 1 << 10)]
    return bytes(out)


def swell(data: bytes, chance: Random) -> bytes:
    """A part of it so often that it has up to four megabytes: a few bytes, a line, or blocks."""
    at, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 7, 40, 2000))
    kind = chance.randrange(3)
    if kind == 0:
        at = data.rfind(b"\n", 0, at) + 1
        length = (data.find(b"\n", at) + 1 or len(data)) - at
    elif kind == 1:
        at, length = at - at % _BLOCK, chance.choice((1, 2, 4)) * _BLOCK
    part = data[at : at + length] or b"x"
    return data[:at] + part * (chance.choice(_SIZES) // len(part)) + data[at:]


def _swollen(value: Any, chance: Random) -> Any:
    """One of its lists or objects with many items more."""
    holders = [each for each in _inner(value) if isinstance(each, (dict, list)) and each]
    if not holders:
        return [value] * _ITEMS
    chosen = chance.choice(holders)
    if isinstance(chosen, list):
        chosen += [chance.choice((chance.choice(chosen), None, {}, "x"))] * _ITEMS
    else:
        same = chosen[chance.choice(list(chosen))]
        chosen.update((f"{number}", same) for number in range(_ITEMS))
    return value


def _inner(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value
    return (
        [value, *(each for one in inner for each in _inner(one))]
        if isinstance(inner, list)
        else [value]
    )


def spoil_value(value: Any, chance: Random) -> Any:
    """A JSON value with something odd at some place of it."""
    spoilt = copy.deepcopy(value)
    holder: Any = [spoilt]
    key: Any = 0
    while isinstance(holder[key], (dict, list)) and holder[key] and chance.random() < 0.8:
        holder = holder[key]
        key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    top = holder if key != 0 or len(holder) != 1 else None
    kind = chance.randrange(6)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, list) and top is not None:
        holder.extend([holder[key]] * chance.choice((1, 3, 300)))
    elif kind == 2 and isinstance(holder, dict):
        holder[chance.choice(_TEXTS)] = holder[key]
    else:
        holder[key] = _odd(holder[key], chance)
    return spoilt if top is not None else (holder[0] if holder else None)


def _odd(old: Any, chance: Random) -> Any:
    deep: Any = old
    for _ in range(chance.choice((1, 50))):
        deep = [deep] if chance.random() < 0.5 else {"a": deep}
    return chance.choice(
        (None, True, [], {}, deep, chance.choice(_NUMBERS), chance.choice(_TEXTS), 1.5, [old, old])
    )


def spoil_json(data: bytes, chance: Random) -> bytes:
    """JSON whose structure is odd, or at times whose bytes are."""
    if chance.random() < 0.2:
        return spoil_bytes(data, chance)
    value = json.loads(data)
    if chance.random() < 0.01:
        return json.dumps(_swollen(value, chance)).encode()
    for _ in range(chance.choice((1, 1, 2, 5))):
        value = spoil_value(value, chance)
    return json.dumps(value).encode()


def spoil_lines(data: bytes, chance: Random) -> bytes:
    """Text whose lines are dropped, doubled, moved and spoilt."""
    lines = data.splitlines(keepends=True)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(lines)) if lines else 0
        kind = chance.randrange(4)
        if kind == 0:
            del lines[at : at + 1]
        elif kind == 1:
            lines[at:at] = lines[at : at + 1] * chance.choice((1, 2, 200))
        elif kind == 2 and lines:
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
        elif lines:
            lines[at] = spoil_bytes(lines[at], chance)
    return b"".join(lines)


def spoil_tar(data: bytes, chance: Random) -> bytes:
    """A tar one of whose headers says something odd, with a checksum that is right."""
    if chance.random() < 0.2 or len(data) < _BLOCK:
        return spoil_bytes(data, chance)
    out = bytearray(data)
    heads = [at for at in range(0, len(out), _BLOCK) if out[at + 257 : at + 262] == b"ustar"]
    if not heads:
        return spoil_bytes(data, chance)
    at = chance.choice(heads)
    field, size = chance.choice(((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (157, 100)))
    text = chance.choice((*_TEXTS, "7" * 12, "-1", "00000000000")).encode("utf-8", "surrogatepass")
    if chance.random() < 0.3:
        out[at + 156] = chance.choice(b"0123456789gxLKSDVAX\0\xff")
    elif field == 124 and chance.random() < 0.5:  # GNU's numbers of 11 bytes
        out[at + 124 : at + 136] = b"\x80" + (chance.choice(_NUMBERS) % (1 << 88)).to_bytes(
            11, "big"
        )
    else:
        out[at + field : at + field + size] = text[:size].ljust(size, b"\0")
    out[at + 148 : at + 156] = b" " * 8
    out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + _BLOCK])
    return bytes(out)
