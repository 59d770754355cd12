"""The functions and variables that an ELF file asks for, and those that it has.

musl's loader finds every one of them before the program starts, and ends where one is missing
(ldso/dynlink.c, do_relocs); glibc's goes by versions first. Sources: System V ABI, "Symbol Table"
and "Hash Table"; glibc, elf/dl-lookup.c (the GNU hash table).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from portkit.needs.elf import ElfError, File, Read

_HASH, _SYMTAB, _STRSZ, _GNU_HASH = 4, 6, 10, 0x6FFFFEF5
_GLOBAL, _WEAK, _UNIQUE = 1, 2, 10  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
_SYMBOLS = 200_000  # of one file; libLLVM has 60,000
_NAMES_BYTES = 16 << 20
_NAMED = 3  # that a message names


@dataclass(frozen=True)
class Symbols:
    """asks: names that have to be found elsewhere. has: those that others may find in it."""

    asks: frozenset[str] = frozenset()
    has: frozenset[str] = frozenset()


def read(data: Read) -> Symbols:
    """The dynamic symbols of a file; ElfError where they are damaged."""
    try:
        return _Tables(data).symbols()
    except struct.error:
        raise ElfError("it ends too early") from None


def missing(files: Iterable[Symbols]) -> frozenset[str]:
    """What the files of one process ask for and none of them has."""
    rows = list(files)
    has = frozenset(name for each in rows for name in each.has)
    asks = frozenset(name for each in rows for name in each.asks)
    # musl takes fopen for fopen64 and the like (ldso/dynlink.c, get_lfs64).
    return frozenset(name for name in asks - has if name.replace("64", "") not in has)


def in_words(names: frozenset[str]) -> str:
    """The first of some names, and how many more there are."""
    first = sorted(names)[:_NAMED]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return ", ".join(first) + more


class _Tables(File):
    def symbols(self) -> Symbols:
        if not self.first(_SYMTAB):
            return Symbols()
        form = "IBBHQQ" if self.bits == 64 else "IIIBBH"
        size = struct.calcsize("<" + form)
        table = self.exactly(self.place(self.first(_SYMTAB)), self._count_symbols() * size)
        names = self._read(self._strings, min(self.first(_STRSZ), _NAMES_BYTES))
        asks, has = set(), set()
        for at in range(size, len(table), size):  # the first is none
            row = self.unpack(form, table, at)
            info, section = (row[1], row[3]) if self.bits == 64 else (row[3], row[5])
            name = names[row[0] : names.find(b"\0", row[0])].decode("utf-8", "surrogateescape")
            if section and info >> 4 in (_GLOBAL, _WEAK, _UNIQUE):
                has.add(name)
            elif not section and info >> 4 == _GLOBAL:
                asks.add(name)
        return Symbols(frozenset(asks), frozenset(has))

    def _count_symbols(self) -> int:
        if self.first(_HASH):
            _, count = self.unpack("II", self.exactly(self.place(self.first(_HASH)), 8), 0)
        else:
            count = self._count_by_gnu_hash()
        if count > _SYMBOLS:
            raise ElfError(f"it has more than {_SYMBOLS} symbols")
        return count

    def _count_by_gnu_hash(self) -> int:
        """The table has no count: it ends with the last chain."""
        if not self.first(_GNU_HASH):
            return 0
        at = self.place(self.first(_GNU_HASH))
        buckets, first, bloom, _ = self.unpack("IIII", self.exactly(at, 16), 0)
        if buckets > _SYMBOLS or bloom > _SYMBOLS:
            raise ElfError("its table of symbols is malformed")
        at += 16 + bloom * self.bits // 8
        last = max(self.unpack(f"{buckets}I", self.exactly(at, 4 * buckets), 0), default=0)
        if last < first:
            return first
        at += 4 * buckets
        while last < _SYMBOLS:
            (value,) = self.unpack("I", self.exactly(at + 4 * (last - first), 4), 0)
            last += 1
            if value & 1:
                break
        return last
