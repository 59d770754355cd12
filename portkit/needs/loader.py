"""Which file a dynamic loader takes for a library's name, in an image.

Sources: ld.so(8) and glibc's elf/dl-load.c; musl's ldso/dynlink.c; glibc, sysdeps/generic/
dl-cache.h; uClibc-ng, ldso/ldso/dl-elf.c; gcompat, loader/loader.c. A name is looked for as the
loader does, but in no folder of glibc-hwcaps: these hold second copies for better processors. What
a program loads later by dlopen is not in its file.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from portkit.needs.elf import Elf
from portkit.needs.root import Root, joined

GLIBC, MUSL, UCLIBC = "glibc", "musl", "uclibc"
_CACHE_BYTES = 8 << 20
_CACHE_ENTRIES = 50_000
_CACHE = b"glibc-ld.so.cache1.1"
_HEADER = 48  # bytes of the cache before its entries, each of _ENTRY
_ENTRY = 24
_PATHS = 64  # folders of one search path
_FOLDERS = 4096  # that one file's libraries are looked for in, its parents' own included
_PATH_MAX = 4096  # bytes of a path that the kernel takes
_USUAL = re.compile("/(usr/)?lib[^/]*/")
# Debian's names of folders for libraries of a machine; others use lib64, or lib alone.
_TRIPLES = {
    "amd64": "x86_64-linux-gnu",
    "386": "i386-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "arm": "arm-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "ppc64le": "powerpc64le-linux-gnu",
}
_MUSL_MACHINES = {
    "amd64": "x86_64",
    "386": "i386",
    "arm64": "aarch64",
    "arm": "armhf",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "ppc64le": "powerpc64le",
}
_OF_UCLIBC = ("ld-uClibc", "ld64-uClibc", "ld32-uClibc")
# musl is one library: these names are its own, whatever is on the disk (ldso/dynlink.c, reserved).
_OF_MUSL = ("c", "pthread", "rt", "m", "dl", "util", "xnet")


@dataclass(frozen=True)
class Object:
    """A loaded file. path: as it was found, symlinks not followed, which $ORIGIN is of. parents:
    those that led to it, the program first."""

    path: str
    elf: Elf
    parents: tuple[Object, ...] = ()


def kind_of(path: str, elf: Elf) -> str:
    """Whose loader a file is: "glibc", "musl", "uclibc", or "" for one whose rules are not known
    here."""
    name = posixpath.basename(path)
    if name.startswith(_OF_UCLIBC) or elf.soname.startswith(_OF_UCLIBC):
        return UCLIBC
    if name.startswith("ld-musl-") or elf.soname.startswith(("libc.musl-", "ld-musl-")):
        return MUSL
    if elf.soname.startswith(("ld-linux", "ld64.so", "ld.so")) and "GLIBC_PRIVATE" in elf.defined:
        return GLIBC
    return ""


def is_gcompat(data: bytes) -> bool:
    """Whether a loader, by its content, is that of gcompat, which starts musl's with a library that
    has what glibc has more."""
    return b"libgcompat.so" in data


def of_musl(name: str) -> bool:
    """Whether musl's loader takes the name for itself."""
    return name.startswith("lib") and name[3:].partition(".")[0] in _OF_MUSL and "." in name


class Search:
    """The order in which one loader looks for the libraries of programs.

    loader: its own path, symlinks followed. env, cwd: of the process.
    """

    def __init__(
        self, root: Root, kind: str, machine: str, loader: str, env: Mapping[str, str], cwd: str
    ) -> None:
        self._root, self.kind, self._machine, self._cwd = root, kind, machine, cwd
        self._home = posixpath.dirname(loader)
        # A loader elsewhere was built with default folders that its path only suggests.
        # uClibc's can be told by its build to look elsewhere.
        self.sure = bool(_USUAL.match(loader)) and kind != UCLIBC
        self.asks = "LD_LIBRARY_PATH" in env
        self._asked = self._split(env.get("LD_LIBRARY_PATH", ""))
        self._last: tuple[Object, tuple[str, ...]] | None = None

    def places(self, name: str, by: Object) -> Iterator[str]:
        """The paths that are tried for a name, in their order."""
        if "/" in name:
            yield from (joined(self._cwd, each) for each in self._expanded(name, by)[:1])
            return
        if self._last is None or self._last[0] is not by:
            # The chain of parents may be long, and is the same for each name of one file.
            self._last = by, tuple(islice(dict.fromkeys(self._folders(by)), _FOLDERS))
        for folder in self._last[1]:
            yield joined(self._cwd, joined(folder, name))
        if self.kind == GLIBC:
            yield from self._cache.get(name, ())
        if self.kind == MUSL or by.elf.default_folders:
            for folder in self._default:
                yield f"{folder}/{name}"

    def _folders(self, by: Object) -> Iterator[str]:
        if self.kind == MUSL:
            yield from self._asked
            for each in (by, *reversed(by.parents)):
                yield from self._path(each.elf.runpath or each.elf.rpath, each)
            return
        if not by.elf.runpath:  # which turns the other off, also for the parents' own
            for each in (by, *reversed(by.parents)):
                if not each.elf.runpath:
                    yield from self._path(each.elf.rpath, each)
        yield from self._asked
        yield from self._path(by.elf.runpath, by)

    def _path(self, text: str, of: Object) -> Iterator[str]:
        for folder in self._split(text):
            yield from self._expanded(folder, of)

    def _expanded(self, text: str, of: Object) -> list[str]:
        """$LIB and $PLATFORM differ between distributions: all that are usual. Nothing where it
        would be longer than the kernel takes."""
        for name in ("ORIGIN", "LIB", "PLATFORM"):
            text = text.replace(f"${{{name}}}", f"${name}")
        origin = posixpath.dirname(of.path)
        if len(text) + text.count("$ORIGIN") * len(origin) > _PATH_MAX:
            return []
        text = text.replace("$ORIGIN", origin)
        triple = _TRIPLES.get(self._machine, "")
        found = [text]
        if "$LIB" in text:
            found = [text.replace("$LIB", lib) for lib in (f"lib/{triple}", "lib64", "lib")]
        return [each.replace("$PLATFORM", triple.partition("-")[0]) for each in found]

    def _split(self, text: str) -> list[str]:
        """The folders of a search path; glibc also takes `;`, and an empty one is the working
        directory (elf/dl-load.c, fillin_rpath), which musl leaves out."""
        if not text:
            return []
        empty = "." if self.kind == GLIBC else ""
        rows = text.replace(";", ":").split(":")
        return [each or empty for each in rows if each or empty][:_PATHS]

    @cached_property
    def _default(self) -> Sequence[str]:
        if self.kind == MUSL:
            machine = _MUSL_MACHINES.get(self._machine, "")
            told = self._root.text(f"/etc/ld-musl-{machine}.path", 1 << 16)
            named = self._split(told.replace("\n", ":")) or ["/lib", "/usr/local/lib", "/usr/lib"]
            return named if self.sure else [*named, self._home]
        triple = _TRIPLES.get(self._machine)
        own = (f"/lib/{triple}", f"/usr/lib/{triple}") if triple else ()
        usual = (*own, "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib32", "/usr/lib32")
        return (self._home, *usual)

    @cached_property
    def _cache(self) -> Mapping[str, Sequence[str]]:
        # A glibc with a prefix of its own has its cache there.
        folders = ("/etc",) if self.sure else (f"{posixpath.dirname(self._home)}/etc", "/etc")
        entries = (self._root.file(f"{folder}/ld.so.cache") for folder in folders)
        entry = next((each for each in entries if each is not None), None)
        return {} if entry is None else read_cache(self._root.read(entry, 0, _CACHE_BYTES))


def read_cache(data: bytes) -> dict[str, list[str]]:
    """The paths of each name in glibc's ld.so.cache; nothing where it is none or is damaged, as the
    loader does not use it then. /etc/ld.so.conf is read by ldconfig alone, which makes the cache.
    """
    # Where the old format comes first the new one follows it, aligned.
    begin = data.find(_CACHE)
    if begin < 0 or len(data) < begin + _HEADER:
        return {}
    count, _ = struct.unpack_from("<II", data, begin + len(_CACHE))
    found: dict[str, list[str]] = {}
    budget = _CACHE_BYTES  # strings may overlap, and each entry be 8 KiB of the same bytes
    for number in range(min(count, _CACHE_ENTRIES)):
        at = begin + _HEADER + number * _ENTRY
        if at + _ENTRY > len(data):
            break
        _, key, value = struct.unpack_from("<iII", data, at)
        name, path = _string(data, begin + key), _string(data, begin + value)
        budget -= len(name) + len(path)
        if budget < 0:
            break
        if name and path.startswith("/"):
            found.setdefault(name, []).append(path)
    return found


def _string(data: bytes, at: int) -> str:
    end = data.find(b"\0", at, at + 4096)
    return data[at:end].decode("utf-8", "surrogateescape") if 0 <= at < end else ""
