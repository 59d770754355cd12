"""The parts of an ELF file that decide where it runs. Pure but for the reader that it is given.

A file may be anybody's: every count has a limit, every place is checked, and ElfError is all that
comes out. (pyelftools was tried: of 500 spoilt files 11 ended in errors that are not its own.)
Sources: System V ABI, "Object Files"; psABI for x86-64, "Program property"; glibc, elf/elf.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from portkit.needs.call_numbers import CALLED

Read = Callable[[int, int], bytes]  # (offset, bytes) -> what the file has there, less at its end
MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _INTERP, _NOTE, _PROPERTY = 1, 2, 3, 4, 0x6474E553
_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_FLAGS_1, _VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = (
    0x6FFFFFFB,
    0x6FFFFFFC,
    0x6FFFFFFD,
    0x6FFFFFFE,
    0x6FFFFFFF,
)
_NODEFLIB = 0x800  # DF_1_NODEFLIB: not the default folders
_WEAK = 2  # VER_FLG_WEAK: the loader only warns where this version is missing
_ABI_TAG, _PROPERTIES = 1, 5  # types of notes whose owner is "GNU"
_LEVEL_NEEDED = 0xC0008002  # GNU_PROPERTY_X86_ISA_1_NEEDED: bit 0 baseline, then v2, v3, v4
_SEGMENTS = 256  # the kernel takes 64 KiB of them; linkers make some dozen
_SEGMENT_BYTES = 1 << 18  # of notes, and of a dynamic section
_NAME_BYTES = 4096  # PATH_MAX
_VERSIONS = 8192  # of all needed or defined: libstdc++ has some hundred
_ENTRIES = 4096  # libraries that a file needs, at most
X86_64 = 62
STARTED = (2, 3)  # ET_EXEC, ET_DYN
# Functions of glibc 2.34 that end in clone3: themselves, or by a helper thread or child.
_BY_CLONE3 = frozenset(
    ("pthread_create", "thrd_create", "posix_spawn", "posix_spawnp", "popen", "system", "wordexp")
) | frozenset(("timer_create", "mq_notify", "getaddrinfo_a", "lio_listio", "lio_listio64"))
_AIO = frozenset(f"aio_{what}{bits}" for what in ("read", "write", "fsync") for bits in ("", "64"))
# And those after which other code runs, that was not looked at.
_TO_OTHERS = frozenset(
    ("dlopen", "dlmopen", "fork", "vfork", "_Fork", "clone", "syscall", "fexecve", "execveat")
)
_EXEC = frozenset(f"exec{kind}" for kind in ("l", "lp", "le", "v", "vp", "ve", "vpe"))
FUNCTIONS = _BY_CLONE3 | _AIO | _TO_OTHERS | _EXEC
# glibc's __x86_get_cpuid_feature_leaf, Rust's std_detect, cpu_features, has_avx2 and the like.
_ASKING = re.compile(
    rb"cpu_?(?:id(?!le)|info|feature|model|support|cap|flag)|std_detect"
    rb"|(?:has|have|can|is|supports?|detect)_?(?:avx|sse|bmi|fma|aes|sha|pclmul)"
    rb"|(?:avx|sse)[0-9]*_?(?:support|avail)",
    re.IGNORECASE,
)

_MACHINES = {
    (3, 32, True): "386",
    (62, 64, True): "amd64",
    (62, 32, True): "x32",
    (40, 32, True): "arm",
    (183, 64, True): "arm64",
    (243, 64, True): "riscv64",
    (22, 64, False): "s390x",
    (21, 64, True): "ppc64le",
    (21, 64, False): "ppc64",
    (8, 32, True): "mipsle",
    (8, 32, False): "mips",
    (8, 64, True): "mips64le",
    (258, 64, True): "loong64",
    (20, 32, False): "ppc",
    (8, 64, False): "mips64",
    (40, 32, False): "armbe",
    (183, 64, False): "arm64be",
    (2, 32, False): "sparc",
    (43, 64, False): "sparc64",
    (4, 32, False): "m68k",
    (22, 32, False): "s390",
}


class ElfError(ValueError):
    """The file is no ELF file that a kernel or a loader would take."""


@dataclass(frozen=True)
class Wanted:
    """Versions of symbols that a file needs of one library."""

    library: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Elf:
    """What a file says of itself; see `model.needs.Binary` for level and kernel.

    key: the machine as ELF numbers it, bits, whether it is little-endian: what a loader compares.
    align: the least that a segment states to be aligned to (p_align), which glibc's loader checks
    of libraries. page: the largest page with which all of them can be mapped; 0 is any. Where it is
    smaller than the kernel's page, mmap(2) refuses. code: offset and bytes of the segments that are
    executable; data: of the others. end: bytes that the file has to have for its segments. entry:
    the address at which it begins; 0 is none.
    imports_syscall: whether syscall(3) is among its names. names: those of FUNCTIONS that a name in
    it is, or ends with: a linker writes a name that another one ends with no second time.
    called: those of CALLED. asks_processor: a name is of a function that reports what it can.
    """

    key: tuple[int, int, bool]
    program: bool
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""
    soname: str = ""
    default_folders: bool = True
    wanted: tuple[Wanted, ...] = ()
    defined: frozenset[str] = frozenset()
    kernel: tuple[int, int, int] | None = None
    level: int = 0
    align: int = 0
    page: int = 0
    code: tuple[tuple[int, int], ...] = ()
    data: tuple[tuple[int, int], ...] = ()
    end: int = 0
    entry: int = 0
    imports_syscall: bool = False
    names: frozenset[str] = frozenset()
    called: frozenset[str] = frozenset()
    asks_processor: bool = False

    @property
    def machine(self) -> str:
        """Its machine in Go's words."""
        return machine_of(self.key)


def machine_of(key: tuple[int, int, bool]) -> str:
    """The name of a machine in Go's words, as in an image's configuration."""
    return _MACHINES.get(key, f"elf-{key[0]}")


def parse(read: Read) -> Elf:
    """The ELF file behind `read`; ElfError where it is none or is damaged."""
    try:
        return File(read).elf()
    except struct.error:
        raise ElfError("it ends too early") from None


@dataclass(frozen=True)
class _Segment:
    type: int
    offset: int
    address: int
    size: int
    align: int
    flags: int


class File:
    """The tables of one file; `portkit.needs.symbols` reads further ones."""

    def __init__(self, read: Read) -> None:
        self._read = read
        head = read(0, 64)
        if head[:4] != MAGIC or len(head) < 52:
            raise ElfError("it is no ELF file")
        if head[4] not in (1, 2) or head[5] not in (1, 2):
            raise ElfError("its class or byte order is unknown")
        self.bits, self.little = 32 * head[4], head[5] == 1
        self._order = "<" if self.little else ">"
        self.type, self.machine = struct.unpack(self._order + "HH", head[16:20])
        wide = self.bits == 64
        if wide and len(head) < 64:
            raise ElfError("it ends within its header")
        place, counts = ("Q", slice(32, 40)) if wide else ("I", slice(28, 32)), 54 if wide else 42
        (self._start,) = struct.unpack(self._order + place[0], head[24 : 32 if wide else 28])
        (self._table,) = struct.unpack(self._order + place[0], head[place[1]])
        self._entry, self._count = struct.unpack(self._order + "HH", head[counts : counts + 4])

    def elf(self) -> Elf:
        if self.type not in STARTED:
            raise ElfError("it is neither a program nor a library")
        interpreter = next((self._path(row) for row in self._of(_INTERP)), "")
        kernel, level = self._notes()
        return Elf(
            key=(self.machine, self.bits, self.little),
            program=self.type == 2 or bool(interpreter),
            interpreter=interpreter,
            needed=tuple(self._name(value) for value in self._values(_NEEDED)),
            rpath=self._first_name(_RPATH),
            runpath=self._first_name(_RUNPATH),
            soname=self._first_name(_SONAME),
            default_folders=not self.first(_FLAGS_1) & _NODEFLIB,
            wanted=tuple(self._wanted()),
            defined=frozenset(self._defined()),
            kernel=kernel,
            level=level if self.machine == X86_64 else 0,
            align=min((row.align for row in self._of(_LOAD) if row.align > 1), default=0),
            page=self._page(),
            code=tuple((row.offset, row.size) for row in self._of(_LOAD) if row.flags & 1),
            end=max((row.offset + row.size for row in self._of(_LOAD) if row.size), default=0),
            data=tuple((row.offset, row.size) for row in self._of(_LOAD) if not row.flags & 1),
            entry=self._start,
            imports_syscall=self._imports_syscall(),
            names=self._names(),
            called=self._called(),
            asks_processor=_ASKING.search(self._name_table) is not None,
        )

    def _page(self) -> int:
        """A segment is mapped where its place in the file and in memory differ by whole pages."""
        differences = [row.address - row.offset for row in self._of(_LOAD)]
        return min((each & -each for each in differences if each), default=0)

    @cached_property
    def _segments(self) -> list[_Segment]:
        entry = 56 if self.bits == 64 else 32
        if self._count > _SEGMENTS or (self._count and self._entry != entry):
            raise ElfError(f"it has {self._count} program headers of {self._entry} bytes")
        table = self.exactly(self._table, entry * self._count)
        rows = []
        for at in range(0, len(table), entry):
            if self.bits == 64:
                kind, flags, offset, address, _, size, _, align = self.unpack("IIQQQQQQ", table, at)
            else:
                kind, offset, address, _, size, _, flags, align = self.unpack("IIIIIIII", table, at)
            rows.append(_Segment(kind, offset, address, size, align, flags))
        return rows

    def _of(self, *types: int) -> Iterator[_Segment]:
        return (row for row in self._segments if row.type in types)

    def unpack(self, form: str, data: bytes, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, data, at)

    def exactly(self, offset: int, size: int) -> bytes:
        data = self._read(offset, size)
        if len(data) != size:
            raise ElfError("it ends too early")
        return data

    def _segment(self, row: _Segment, limit: int) -> bytes:
        if row.size > limit:
            raise ElfError(f"a segment has {row.size} bytes, at most {limit}")
        return self.exactly(row.offset, row.size)

    def _path(self, row: _Segment) -> str:
        data = self._segment(row, _NAME_BYTES)
        if not data.endswith(b"\0"):  # the kernel refuses it then
            raise ElfError("the name of its interpreter does not end")
        return _text(data)

    # ------------------------------------------------------------ notes

    def _notes(self) -> tuple[tuple[int, int, int] | None, int]:
        """The oldest Linux, and the x86-64 level."""
        kernel, level = None, 0
        for row in self._of(_NOTE, _PROPERTY):
            for kind, content in self._notes_of(self._segment(row, _SEGMENT_BYTES)):
                if kind == _ABI_TAG and len(content) >= 16:
                    system, *version = self.unpack("IIII", content, 0)
                    if system == 0:  # Linux
                        kernel = (version[0], version[1], version[2])
                elif kind == _PROPERTIES:
                    level = max(level, self._level(content))
        return kernel, level

    def _notes_of(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Type and content of the notes that are GNU's."""
        at = 0
        while at + 12 <= len(data):
            name, size, kind = self.unpack("III", data, at)
            # Notes are aligned to 4 bytes, but a property of a 64-bit file to 8 (its psABI).
            align = 8 if kind == _PROPERTIES and self.bits == 64 else 4
            begin = at + 12 + name + -name % 4
            if begin + size > len(data):
                raise ElfError("a note in it does not end")
            if data[at + 12 : at + 12 + name] == b"GNU\0":
                yield kind, data[begin : begin + size]
            at = begin + size + -size % align

    def _level(self, data: bytes) -> int:
        at = 0
        while at + 8 <= len(data):
            kind, size = self.unpack("II", data, at)
            if kind == _LEVEL_NEEDED and size == 4 and at + 12 <= len(data):
                (bits,) = self.unpack("I", data, at + 8)
                # Bit 0 is set in every file of a toolchain that writes the note at all.
                return min(bits, 15).bit_length() if bits > 1 else 0
            at += 8 + size + -size % (8 if self.bits == 64 else 4)
        return 0

    # ------------------------------------------------------------ the dynamic section

    @cached_property
    def _dynamic(self) -> list[tuple[int, int]]:
        row = next(self._of(_DYNAMIC), None)
        if row is None:
            return []
        form, width = ("QQ", 16) if self.bits == 64 else ("II", 8)
        data = self._segment(row, _SEGMENT_BYTES)
        found = []
        for at in range(0, len(data) - width + 1, width):
            tag, value = self.unpack(form, data, at)
            if tag == 0:
                break
            found.append((tag, value))
        return found

    def _values(self, tag: int) -> list[int]:
        found = [value for each, value in self._dynamic if each == tag]
        if len(found) > _ENTRIES:
            raise ElfError(f"it has more than {_ENTRIES} entries of one kind")
        return found

    def first(self, tag: int) -> int:
        return next(iter(self._values(tag)), 0)

    def _first_name(self, tag: int) -> str:
        values = self._values(tag)
        return self._name(values[0]) if values else ""

    def place(self, address: int) -> int:
        """Where in the file a virtual address is."""
        for row in self._of(_LOAD):
            if row.address <= address < row.address + row.size:
                return row.offset + address - row.address
        raise ElfError("an address in it is in no segment")

    @cached_property
    def _strings(self) -> int:
        if not self._values(_STRTAB):
            raise ElfError("it has no table of names")
        return self.place(self.first(_STRTAB))

    def _name(self, offset: int) -> str:
        data = self._read(self._strings + offset, _NAME_BYTES)
        if b"\0" not in data:
            raise ElfError("a name in it does not end")
        return _text(data)

    def _imports_syscall(self) -> bool:
        return b"\0syscall\0" in self._name_table

    def _called(self) -> frozenset[str]:  # whole names: `mount` is the end of `umount`, too
        return frozenset(each for each in CALLED if b"\0%b\0" % each.encode() in self._name_table)

    def _names(self) -> frozenset[str]:
        if self.first(_STRSZ) > _SEGMENT_BYTES:
            return FUNCTIONS  # any of them may be among what is not read
        return frozenset(name for name in FUNCTIONS if name.encode() + b"\0" in self._name_table)

    @cached_property
    def _name_table(self) -> bytes:
        size = min(self.first(_STRSZ), _SEGMENT_BYTES)
        return self._read(self._strings, size) if size else b""

    def _wanted(self) -> Iterator[Wanted]:
        """Elf64_Verneed and Elf64_Vernaux, which are the same in files of 32 bits."""
        count, budget = self.first(_VERNEEDNUM), _VERSIONS
        at = self.place(self.first(_VERNEED)) if count else 0
        for _ in range(min(count, _ENTRIES)):
            _, names, file, first, following = self.unpack("HHIII", self.exactly(at, 16), 0)
            versions, place = [], at + first
            for _ in range(names):
                budget -= 1
                if budget < 0:
                    raise ElfError(f"it needs more than {_VERSIONS} versions")
                _, flags, _, name, next_ = self.unpack("IHHII", self.exactly(place, 16), 0)
                if not flags & _WEAK:
                    versions.append(self._name(name))
                if not next_:
                    break
                place += next_
            yield Wanted(self._name(file), tuple(versions))
            if not following:
                return
            at += following

    def _defined(self) -> Iterator[str]:
        """Elf64_Verdef; the first Verdaux of each is its name."""
        count = self.first(_VERDEFNUM)
        at = self.place(self.first(_VERDEF)) if count else 0
        for _ in range(min(count, _VERSIONS)):
            *_, aux, following = self.unpack("HHHHIII", self.exactly(at, 20), 0)
            (name,) = self.unpack("I", self.exactly(at + aux, 4), 0)
            yield self._name(name)
            if not following:
                return
            at += following


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
