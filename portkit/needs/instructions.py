"""Which instructions x86-64 code has, by the flags that they need in /proc/cpuinfo. Pure.

Nothing marks a file for the instructions in it, except where a linker is told to (-z x86-64-v3).
So a few sequences of bytes are looked for that compilers make. Source: Intel SDM, volume 2 (2.3:
VEX, 2.7: EVEX, appendix A: opcodes); AMD APM, volumes 4 and 6 (XOP, FMA4, SSE4A).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

# The flags that only code in the form of VEX or EVEX has, and that a compiler uses throughout.
AVX_FAMILY = frozenset(("avx", "avx2", "avx512f", "f16c", "fma"))
_SPARSE = 1 << 13  # bytes of code, in which a program for v3 has dozens of instructions of VEX
# Of each legacy instruction. Programs for v3 and v4 have 30 and more; those that choose at most 1.
_CLEARLY = 4
_MOST = 200_000  # matches of one part: then it is known what it is
_FEW = 3  # of these instructions: fewer may be a number that looks like one
_OTHER_FORMS = "__"  # what stands behind in the name of a group is not of its flag


def _class(fits: Callable[[int], bool]) -> bytes:
    """A class of the bytes that fit."""
    return b"[" + re.escape(bytes(each for each in range(256) if fits(each))) + b"]"


def _pp(prefix: int, long: int | None = None) -> bytes:
    """The last byte of a VEX prefix. prefix: 0 to 3 for none, 66, F3, F2. long: 1 for 256 bits."""
    return _class(lambda each: each & 3 == prefix and (long is None or each >> 2 & 1 == long))


def _map(number: int) -> bytes:
    """The second byte of three of a VEX prefix; no register behind the seventh is an index."""
    return b"[" + re.escape(bytes(each + number for each in (0x40, 0x60, 0xC0, 0xE0))) + b"]"


def _begins(first: bytes, *ways: bytes) -> re.Pattern[bytes]:
    return re.compile(first + b"(?:" + b"|".join(ways) + b")", re.DOTALL)


def _group(name: str, *patterns: bytes) -> bytes:
    return b"(?P<" + name.encode() + b">" + b"|".join(patterns) + b")"


def _evex(opcode_map: int, third: Iterable[int], operations: bytes) -> bytes:
    """Instructions of AVX-512: the second byte names the map of operations, the fourth says how
    long the vectors are; masked or not."""
    second = bytes(each for each in range(256) if each & 15 == opcode_map)
    each_of = (second, bytes(third), b"\x08\x09\x28\x29\x48\x49\x18\x58")
    return b"".join(b"[" + re.escape(one) + b"]" for one in each_of) + operations


# C4, C5 and 62 begin nothing else in 64-bit code; neither does 8F before a byte from 08 on. Each
# pattern begins with one byte, which is what `re` finds quickly.
_OF_MAP_2 = (
    _group("avx", _pp(1) + rb"[\x18-\x1a]"),
    _group("avx2", _pp(1) + rb"[\x16\x36\x45-\x47\x58-\x5a\x78\x79\x8c\x8e\x90-\x93]"),
    _group("fma", _pp(1) + rb"[\x96-\x9f\xa6-\xaf\xb6-\xbf]"),
    _group("f16c", _pp(1) + rb"\x13"),
    _group("bmi1", _pp(0) + rb"[\xf2\xf3\xf7]"),
    _group("bmi2", _pp(0) + rb"\xf5", _pp(1) + rb"\xf7", _pp(2) + rb"[\xf5\xf7]"),
    _group("bmi2__2", _pp(3) + rb"[\xf5-\xf7]"),
    _group("avx_vnni", _pp(1) + rb"[\x50-\x53]"),
    _group("vaes", _pp(1, 1) + rb"[\xdc-\xdf]"),
    _group("aes", _pp(1) + rb"[\xdb-\xdf]"),
    _group("gfni", _pp(1) + rb"\xcf"),
)
_OF_MAP_3 = (
    _group("avx__3", _pp(1) + rb"[\x06\x18\x19\x4a\x4b]"),
    _group("avx2__3", _pp(1) + rb"[\x00-\x02\x38\x39\x46]"),
    _group("f16c__3", _pp(1) + rb"\x1d"),
    _group("bmi2__3", _pp(3) + rb"\xf0"),
    _group("aes__3", _pp(1) + rb"\xdf"),
    _group("vpclmulqdq", _pp(1, 1) + rb"\x44"),
    _group("pclmulqdq", _pp(1, 0) + rb"\x44"),
    _group("gfni__3", _pp(1) + rb"[\xce\xcf]"),
    _group("fma4", _pp(1) + rb"[\x5c-\x5f\x68-\x6f\x78-\x7f]"),
)
_VEX = (
    _begins(
        b"\xc5",
        _group(
            "avx",
            rb"\xf8\x77|\xfe[\x6f\x7f]|\xfd[\x6f\x7f]|\xfc[\x10\x11\x28\x29\x57-\x59]",
            rb"[\xfa\xfb\xf2\xf3\xea\xeb\xe2\xe3][\x10\x11\x2a\x58-\x5a\x5c\x5e]",
        ),
        _group("avx2", rb"[\xdd\xe5\xed\xf5\xfd][\x74-\x76\xd4\xdb\xeb\xef\xfa\xfb\xfe]"),
    ),
    _begins(
        b"\xc4",
        _map(2) + b"(?:" + b"|".join(_OF_MAP_2) + b")",
        _map(3) + b"(?:" + b"|".join(_OF_MAP_3) + b")",
    ),
    _begins(
        b"\x8f",
        _group(
            "xop",
            _map(8) + _pp(0) + rb"[\x85-\x87\x8e\x8f\x95-\x97\x9e\x9f\xa2\xa3\xa6\xb6\xc0-\xc3"
            rb"\xcc-\xcf\xec-\xef]",
            _map(9) + _pp(0) + rb"[\x80-\x83\x90-\x9b\xc1-\xc3\xc6\xc7\xcb\xd1-\xd3]",
        ),
    ),
    # The third byte has bit 2 set; with a prefix of 66, of two operands, its bits 3 to 6 are set,
    # too. Only operations that compilers write, and each in its map: text in code, as an immediate
    # value, looks like the first bytes of others ("(bad", before REX.W: 62 61 64 48).
    _begins(
        b"\x62",
        _group(
            "avx512f",
            _evex(1, b"\x7c\x7d\x7e\x7f\xfc\xfd\xfe\xff", rb"[\x10\x11\x28\x29\x6f\x7a\x7b\x7f]"),
            _evex(
                1,
                (each for each in range(256) if each & 4),
                rb"[\x51\x54-\x59\x5c-\x5f\xd4\xdb\xdf\xeb\xef\xfa-\xfe]",
            ),
            _evex(
                2,
                (each for each in range(256) if each & 7 == 5),
                rb"[\x18\x19\x1e\x1f\x36\x3d\x3f\x40\x58-\x5b\x64\x7a-\x7f\x98-\x9f\xa8-\xaf\xb8-\xbf]",
            ),
            _evex(
                3,
                (each for each in range(256) if each & 7 == 5),
                rb"[\x18-\x1b\x1e\x1f\x25\x38-\x3b\x3e\x3f\x43]",
            ),
        ),
    ),
)
_REX = rb"[\x40-\x4f]?"
_NOT_F2 = rb"(?<!\xf2\x0f\x38)(?<!\xf2[\x40-\x4f]\x0f\x38)"  # crc32 has it
_NOT_F3 = rb"(?<!\xf3\x0f\xc7)(?<!\xf3[\x40-\x4f]\x0f\xc7)"  # rdpid has it
# What the carry flag is used for, which says whether there was a random number.
_CARRY = rb"(?=.{0,16}?(?:\x0f[\x42\x43\x82\x83\x92\x93]|[\x72\x73]))"
# A number that ends with 0F, before a comparison (38 C8), looks the same; but a hash has many.
_ANOTHER_SHA = rb"(?=.{1,80}?\x0f(?:\x38[\xc8-\xcd]|\x3a\xcc))"
_OF_0F38 = (
    _group("ssse3", rb"[\x00-\x0b\x1c-\x1e]"),
    _group("sse4_1", rb"[\x10\x14\x15\x17\x20-\x25\x28-\x2b\x30-\x36\x38-\x41]"),
    _group("sse4_2", rb"\x37"),
    _group("aes", rb"[\xdb-\xdf]"),
    _group("gfni", rb"\xcf"),
    _group("adx", rb"\xf6"),
)
_OF_0F3A = (
    _group("ssse3__3", rb"\x0f"),
    _group("sse4_1__3", rb"[\x08-\x0e\x14-\x17\x20-\x22\x40-\x42]"),
    _group("sse4_2__3", rb"[\x60-\x63]"),
    _group("pclmulqdq", rb"\x44"),
    _group("aes__3", rb"\xdf"),
    _group("gfni__3", rb"[\xce\xcf]"),
)
_LEGACY = (
    _begins(
        b"\x66" + _REX + b"\x0f",
        rb"\x38(?:" + b"|".join(_OF_0F38) + b")",
        rb"\x3a(?:" + b"|".join(_OF_0F3A) + b")",
        _group("pni", rb"[\x7c\x7d\xd0]"),
    ),
    _begins(
        b"\xf2" + _REX + b"\x0f",
        _group("sse4_2", rb"\x38[\xf0\xf1]"),
        _group("pni", rb"[\x12\x7c\x7d\xd0]|\xf0[\x00-\xbf]"),
        _group("sse4a", rb"\x2b[\x00-\xbf]|[\x78\x79][\xc0-\xff]"),
    ),
    _begins(
        b"\xf3" + _REX + b"\x0f",
        _group("popcnt", rb"\xb8"),
        _group("abm", rb"\xbd"),
        _group("pni", rb"[\x12\x16]"),
        _group("sse4a", rb"\x2b[\x00-\xbf]"),
        _group("adx", rb"\x38\xf6"),
        _group("fsgsbase", rb"\xae[\xc0-\xdf]"),
    ),
    _begins(
        b"\x0f\x38",
        _group("movbe", _NOT_F2 + rb"[\xf0\xf1][\x00-\xbf]"),
        _group("sha_ni", rb"[\xc8-\xcd]" + _ANOTHER_SHA),
    ),
    _begins(b"\x0f\x3a", _group("sha_ni", rb"\xcc" + _ANOTHER_SHA)),
    _begins(
        b"\x0f\xc7" + _NOT_F3,
        _group("rdrand", rb"[\xf0-\xf7]" + _CARRY),
        _group("rdseed", rb"[\xf8-\xff]" + _CARRY),
    ),
)
# Moves and sums of SSE and SSE2 in their legacy form. A compiler that may use AVX writes none: it
# would be slower (Intel, optimization manual, 15.3). Where they are many, only some functions are
# for more than the baseline, and something chooses.
_BASELINE = re.compile(
    rb"[\x66\xf2\xf3][\x40-\x4f]?\x0f[\x10\x11\x28-\x2a\x58-\x5a\x5c\x5e\x6f\x7f\xd4\xeb\xef\xfe]"
    rb"|[\x40-\x4f]?\x0f[\x10\x11\x28\x29]"
)
# Bytes of code for each of these, of which fewer than that may be numbers. A random number is read
# in one place of a program, and its pattern is longer than the others'.
_EACH = {
    "abm": 1 << 15,
    "fsgsbase": 1 << 19,
    "movbe": 1 << 16,
    "pni": 1 << 15,
    "popcnt": 1 << 16,
    "rdrand": 1 << 16,
    "rdseed": 1 << 16,
    "sse4a": 1 << 15,
}
_ONE_IS_ENOUGH = frozenset(("fsgsbase", "rdrand", "rdseed"))


@dataclass(frozen=True)
class Instructions:
    """avx: flags of AVX_FAMILY. through: they are in all of the code, and not in some functions
    alone. others: other flags. size: bytes of code."""

    avx: frozenset[str] = frozenset()
    through: bool = False
    others: frozenset[str] = frozenset()
    size: int = 0


def of(*parts: bytes) -> Instructions:
    """What the code, in parts, has beyond the baseline of x86-64."""
    size = sum(map(len, parts))
    vex, legacy = _counts(_VEX, parts), _counts(_LEGACY, parts)
    enough = max(_FEW, size // _SPARSE)
    total = sum(vex[name] for name in vex if name not in ("fma4", "xop"))
    found = {name for name in vex if vex[name] >= max(_FEW, enough // 8) and total >= enough}
    found |= {name for name in ("aes", "fma4", "pclmulqdq", "xop") if vex[name] >= enough}
    found |= {name for name, count in legacy.items() if count >= _least(name, size)}
    avx, through = found & AVX_FAMILY, False
    if avx:
        most = total // _CLEARLY
        through = _count(_BASELINE, parts, most + 1) <= most
    # What AVX is part of is named with it.
    avx |= {"avx"} if avx - {"avx"} else set()
    return Instructions(frozenset(avx), through, frozenset(found - AVX_FAMILY), size)


def _least(name: str, size: int) -> int:
    few = 1 if name in _ONE_IS_ENOUGH else _FEW
    return max(few, size // _EACH[name] if name in _EACH else few)


def _counts(patterns: Iterable[re.Pattern[bytes]], parts: Sequence[bytes]) -> Counter[str]:
    out: Counter[str] = Counter()
    for pattern in patterns:
        matches = chain.from_iterable(map(pattern.finditer, parts))
        found = Counter(match.lastgroup or "" for match in islice(matches, _MOST))
        for name, count in found.items():
            out[name.partition(_OTHER_FORMS)[0]] += count
    return out


def _count(pattern: re.Pattern[bytes], parts: Sequence[bytes], most: int) -> int:
    matches = chain.from_iterable(map(pattern.finditer, parts))
    return sum(1 for _ in islice(matches, most))
