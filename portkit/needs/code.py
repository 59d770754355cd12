"""What the machine code of a program shows, where no note of it says so. Pure.

A linker marks a file for a level of x86-64 only where it is told to (-z x86-64-v3), and nothing
marks a system call. So a few sequences of bytes are looked for that compilers make.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain, islice

CODE_BYTES = 32 << 20  # of one program
IO_URING_SETUP = 425
# VEX instructions: vzeroupper; moves and sums of 256 bits; scalar moves, conversions, sums; FMA,
# AVX2, BMI1 and BMI2; rorx. In 64-bit code the first byte, C4 or C5, begins nothing else (Intel
# SDM, volume 2, 2.3).
_V3 = re.compile(
    rb"\xc5(?:\xf8\x77|\xfe[\x6f\x7f]|\xfd[\x6f\x7f\xef\xfe\xd4\xdb\xeb]"
    rb"|\xfc[\x10\x11\x28\x29\x57\x58\x59]"
    rb"|[\xfa\xfb\xf2\xf3\xea\xeb\xe2\xe3][\x10\x11\x2a\x58-\x5a\x5c\x5e])"
    rb"|\xc4(?:[\x42\x62\xc2\xe2].[\x58\x59\x78\x79\x90-\x93\xf2\xf3\xf5-\xf7]"
    rb"|[\x42\x62\xc2\xe2].[\x98-\x9f\xa8-\xaf\xb8-\xbf]"
    rb"|[\x43\x63\xc3\xe3][\x7b\xfb]\xf0)",
    re.DOTALL,
)
# Legacy instructions of v2: crc32; pshufb and its kin, SSE4.1 and SSE4.2. Not popcnt, which QEMU's
# qemu64 runs under libvirt. Of 700 files of a distribution for the baseline, those alone have one
# of these that choose between functions.
_V2 = re.compile(
    rb"\xf2[\x40-\x4f]?\x0f\x38[\xf0\xf1]"
    rb"|\x66[\x40-\x4f]?\x0f(?:\x38[\x00-\x0b\x10\x14\x15\x17\x1c-\x1e\x20-\x25\x28-\x2b\x30-\x41]"
    rb"|\x3a[\x08-\x0f\x14-\x17\x20-\x22\x40-\x42\x60-\x63])"
)


def _evex(opcode_map: int, third: Iterable[int], operations: bytes) -> bytes:
    """A pattern of instructions of AVX-512 (Intel SDM, volume 2, 2.7): the second byte names the
    map of operations, the fourth says how long the vectors are; masked or not."""
    second = bytes(each for each in range(256) if each & 15 == opcode_map)
    each_of = (second, bytes(third), b"\x08\x09\x28\x29\x48\x49\x18\x58")
    return b"\x62" + b"".join(b"[" + re.escape(one) + b"]" for one in each_of) + operations


# The third byte has bit 2 set; with a prefix of 66, of two operands, its bits 3 to 6 are set, too.
# Only operations that compilers write, and each in its map: text in code, as an immediate value,
# looks like the first bytes of others ("(bad", before REX.W: 62 61 64 48).
_V4 = re.compile(
    b"|".join(
        (
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
        )
    ),
    re.DOTALL,
)
# Instructions that no level includes, by the name of their flag in /proc/cpuinfo: in their legacy
# form, and AES and PCLMULQDQ with VEX (Intel SDM, volume 2).
_VEX_66 = rb"[\x01\x05\x09\x0d\x11\x15\x19\x1d\x21\x25\x29\x2d\x31\x35\x39\x3d" + (
    rb"\x41\x45\x49\x4d\x51\x55\x59\x5d\x61\x65\x69\x6d\x71\x75\x79\x7d]"
)
_FEATURES = {
    "aes": re.compile(
        rb"\x66[\x40-\x4f]?\x0f(?:\x38[\xdb-\xdf]|\x3a\xdf)"
        rb"|\xc4[\x42\x62\xc2\xe2]" + _VEX_66 + rb"[\xdb-\xdf]",
        re.DOTALL,
    ),
    "pclmulqdq": re.compile(
        rb"\x66[\x40-\x4f]?\x0f\x3a\x44|\xc4[\x43\x63\xc3\xe3]" + _VEX_66 + rb"\x44", re.DOTALL
    ),
    "sha_ni": re.compile(rb"(?<![\x66\xf2\xf3])(?:[\x40-\x4f])?\x0f(?:\x38[\xc8-\xcd]|\x3a\xcc)"),
}
# Moves and sums of SSE and SSE2 in their legacy form. A compiler that may use AVX writes none: it
# would be slower (Intel, optimization manual, 15.3). Where they are many, only some functions are
# for more than the baseline, and something chooses.
_LEGACY = re.compile(
    rb"[\x66\xf2\xf3][\x40-\x4f]?\x0f[\x10\x11\x28-\x2a\x58-\x5a\x5c\x5e\x6f\x7f\xd4\xeb\xef\xfe]"
    rb"|[\x40-\x4f]?\x0f[\x10\x11\x28\x29]"
)
# A line of what `go version -m` shows (cmd/go/internal/load, setBuildInfo).
_GO = re.compile(rb"build\tGOAMD64=v([234])\n")
_CPUID = b"\x0f\xa2"
_FEW = 3  # of these instructions: fewer may be a number that looks like one
_SPARSE = 1 << 13  # bytes of code, in which a program for v3 has dozens of them
# Of each legacy instruction. Programs for v3 and v4 have 30 and more; those that choose at most 1.
_CLEARLY = 4
# Bytes of code, in which a program for the baseline has legacy instructions by the dozen.
_LARGE = 1 << 16
_CALL = re.compile(rb"\xe8(.{4})", re.DOTALL)
# What syscall(3) of a C library begins with: mov %rdi,%rax ... syscall.
_WRAPPER = re.compile(rb"\x48\x89\xf8.{0,40}\x0f\x05", re.DOTALL)
# And musl's, which is C with variable arguments: it stores r8 and r9 with the others first.
_VARIADIC = re.compile(
    rb"(?=.{0,80}\x4c\x89[\x40-\x47\x80-\x87])(?=.{0,96}\x4c\x89[\x48-\x4f\x88-\x8f])"
    rb".{0,600}?\x0f\x05",
    re.DOTALL,
)
_NEAR = 32  # bytes between an argument and the call


def level(*parts: bytes, alone: bool) -> tuple[int, bool]:
    """The level of x86-64 that all the code of a program, in parts, is compiled for, and whether it
    is certain that it runs code of that level; (0, False): not known, or the baseline.

    A program that asks the processor what it can may have code for several levels, of which it
    takes the right one. Where it asks by itself (cpuid), nothing is said. alone: nothing else can
    ask for it, as a function of a library; else its code has to show it.
    """
    if any(_CPUID in part for part in parts):
        return 0, False
    size = sum(map(len, parts))
    enough = max(_FEW, size // _SPARSE)
    evex, vex = _count(_V4, parts), _count(_V3, parts)
    if max(evex, vex) >= enough:
        most = (evex + vex) // _CLEARLY
        through = _count(_LEGACY, parts, most + 1) <= most
        found = 4 if evex >= enough else 3
        return (found, through and (alone or size >= _LARGE)) if through or alone else (0, False)
    return (2, alone) if _count(_V2, parts, _FEW) == _FEW else (0, False)


def features(*parts: bytes) -> tuple[str, ...]:
    """The instructions beside the levels that the code of a program has, by their flags. As for
    `level`: where it asks the processor by itself, nothing is said."""
    if any(_CPUID in part for part in parts):
        return ()
    return tuple(
        name for name, pattern in _FEATURES.items() if _count(pattern, parts, _FEW) == _FEW
    )


def _count(pattern: re.Pattern[bytes], parts: Iterable[bytes], most: int | None = None) -> int:
    matches = chain.from_iterable(map(pattern.finditer, parts))
    return sum(1 for _ in islice(matches, most))


def reads_cpuinfo(data: bytes) -> bool:
    """Whether it has the name of the file where the kernel lists what the processor can."""
    return b"/proc/cpuinfo" in data


def go_level(data: bytes) -> int:
    """The level that a program of Go was built for, as its build information states it; 0 where
    none is stated, or the baseline. Such a program ends at once on a lesser processor
    (runtime/asm_amd64.s)."""
    match = _GO.search(data)
    return int(match[1]) if match else 0


def calls(code: bytes, number: int, *, imports_syscall: bool) -> bool:
    """Whether code makes a system call by its number, itself or through syscall(3).

    imports_syscall: the program has that function from a library.
    """
    value = number.to_bytes(4, "little")
    for match in re.finditer(b"\xb8" + re.escape(value), code):
        if b"\x0f\x05" in code[match.end() : match.end() + _NEAR]:
            return True
    for match in re.finditer(b"\xbf" + re.escape(value), code):
        for call in _CALL.finditer(code, match.end(), match.end() + _NEAR):
            target = call.end() + int.from_bytes(call[1], "little", signed=True)
            if imports_syscall or (target >= 0 and _WRAPPER.match(code, target)):
                return True
            if target >= 0 and _WRAPPER.match(code, target + 4):  # behind endbr64
                return True
            if target >= 0 and _VARIADIC.match(code, target):
                return True
    return False
