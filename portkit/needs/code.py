"""What the machine code of a program shows, where no note of it says so. Pure.

Its instructions are those of `portkit.needs.instructions`; a system call is looked for by its
number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from portkit.needs import instructions
from portkit.needs.elf import Elf
from portkit.needs.instructions import Instructions

CODE_BYTES = 32 << 20  # of one program
IO_URING_SETUP = 425
# A line of what `go version -m` shows (cmd/go/internal/load, setBuildInfo).
_GO = re.compile(rb"build\tGOAMD64=v([234])\n")
_CPUID = b"\x0f\xa2"
# Bytes of code, in which a program for the baseline has legacy instructions by the dozen.
_LARGE = 1 << 16
_VERY_LARGE = 1 << 18  # the same, where something in it asks for the processor, or looks like it
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


@dataclass(frozen=True)
class Scan:
    """What the code of one file shows.

    asks: it finds out by itself what the processor can, so that it may have code for several, of
    which it takes the right one. tells: it may find that out for others, or load what does.
    go_level: see `go_level`.
    """

    found: Instructions
    asks: bool
    tells: bool
    go_level: int


def scan(parts: Sequence[bytes], data: Iterable[bytes], read: Elf) -> Scan:
    """parts: all of its code. data: of its other segments."""
    level, cpuinfo = 0, False
    for part in chain(data, parts):
        level = level or go_level(part)
        cpuinfo = cpuinfo or reads_cpuinfo(part)
    # Of a part of the code nothing is said: the rest may ask.
    whole = sum(map(len, parts)) == sum(size for _, size in read.code)
    asks = read.asks_processor or not whole or any(_CPUID in part for part in parts)
    tells = asks or cpuinfo or "dlopen" in read.names
    return Scan(instructions.of(*parts), asks, tells, level)


def runs(scan_: Scan, *, alone: bool, library: bool) -> tuple[frozenset[str], frozenset[str]]:
    """The instructions that a file certainly runs, and those that it may choose other code for, by
    their flags. alone: nothing in the process can tell it what the processor can.

    Where a compiler may use AVX it does so throughout. Other instructions may be in a few functions
    only, and it is not known whether the program calls those of a library.
    """
    found, nothing = scan_.found, frozenset[str]()
    every = found.avx | found.others
    if found.through and not scan_.asks and (alone or found.size >= _LARGE):
        return every, nothing
    if scan_.asks:
        # Code that chooses has the baseline's instructions beside.
        return nothing, found.avx if found.through and found.size >= _VERY_LARGE else nothing
    avx = found.avx if found.through or alone else nothing
    if library:
        return nothing, every if found.through or alone else nothing
    return (found.others, avx) if alone else (nothing, avx | found.others)


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
