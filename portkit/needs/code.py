"""What the machine code of a program shows, where no note of it says so. Pure.

A linker marks a file for a level of x86-64 only where it is told to (-z x86-64-v3), and nothing
marks a system call. So a few sequences of bytes are looked for that compilers make.
"""

from __future__ import annotations

import re
from itertools import islice

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
# A line of what `go version -m` shows (cmd/go/internal/load, setBuildInfo).
_GO = re.compile(rb"build\tGOAMD64=v([234])\n")
_CPUID = b"\x0f\xa2"
_FEW = 3  # of these instructions: fewer may be a number that looks like one
_SPARSE = 1 << 13  # bytes of code, in which a program for v3 has dozens of them
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


def level(code: bytes) -> int:
    """3 for code that is compiled for x86-64-v3 or later, else 0: not known.

    A program that asks the processor what it can (cpuid) may have code for several, of which it
    takes the right one: of that nothing is said.
    """
    if _CPUID in code:
        return 0
    enough = max(_FEW, len(code) // _SPARSE)
    found = sum(1 for _ in islice(_V3.finditer(code), enough))
    return 3 if found >= enough else 0


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
