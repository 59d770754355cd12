"""What an ELF program of an image needs: its loader, and the libraries that this one loads.

Sources: Linux, fs/binfmt_elf.c; `portkit.needs.loader`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from portkit.model import RunSpec
from portkit.model.needs import Binary, Lack, Missing, Role
from portkit.needs import code, elf, elf_header, loader
from portkit.needs.elf import Elf, ElfError
from portkit.needs.instructions import Instructions
from portkit.needs.loader import Object, Search
from portkit.needs.rights import READ, RUN, Rights
from portkit.needs.root import Entry, Root, joined

_FILES = 1000  # ELF files of one service
_READS = 500_000  # of all ELF files; a desktop program with 300 libraries takes a fifth of it
_SMALL_LOADER_BYTES = 1 << 18  # gcompat's has 20 KiB
_CODE_BYTES = 256 << 20  # of all ELF files whose instructions are looked at
_TRIES = 200_000  # of paths for libraries
# Libraries of compilers and C libraries: none tells a program what the processor can, but by
# a function whose name says so.
_RUNTIME = re.compile(
    r"(?:ld-[a-z0-9-]+|lib(?:c|m|dl|rt|pthread|util|gcc_s|stdc\+\+|c\+\+|c\+\+abi|unwind|atomic|gomp)"
    r"|libc\.musl-x86_64)\.so(?:\.[0-9]+)?"
)
NO_MODE_X = "its mode has no x"
_PAGE = 4096  # bytes; no machine has smaller ones
_DIGITS = re.compile("[0-9]{1,6}")


@dataclass(frozen=True)
class Process:
    """What one program of the start has in its memory: itself and its libraries. load: its loader.
    known: the libraries by the names that others need. whole: none is missing."""

    files: tuple[Object, ...]
    load: Entry
    search: Search
    known: Mapping[str, Elf | None]
    whole: bool
    sure: bool


class Linked:
    """The ELF files that a service needs, beginning with programs; what was found is in its fields.

    sure: the start runs the program for certain.
    """

    def __init__(self, root: Root, spec: RunSpec) -> None:
        self._root, self._spec = root, spec
        self._env = dict(spec.env)
        self.rights = Rights(root, spec)
        targets = [each.target for each in spec.mounts]
        targets += [each.target for each in spec.contents]
        resolved = [root.resolved(target) for target in targets]
        self._hidden = {target.rstrip("/") for target in (*targets, *resolved)}
        self._searches: dict[tuple[str, str, bool], Search] = {}
        self._elves: dict[str, Elf | None] = {}
        self._reads, self._tries = _READS, _TRIES
        self.binaries: dict[str, Binary] = {}
        self.missing: dict[Missing, None] = {}
        self.unread: dict[str, None] = {}
        self.loaders: dict[str, str] = {}  # path, and whose it is
        self.files: dict[str, Elf] = {}
        self.processes: list[Process] = []
        self.io_uring: list[str] = []  # programs whose code calls it
        self._called: set[str] = set()
        self._scans: dict[str, code.Scan] = {}
        self._code_left = _CODE_BYTES

    @property
    def argv(self) -> tuple[str, ...]:
        """The service's command."""
        return self._spec.argv

    @property
    def variables(self) -> Mapping[str, str]:
        """The process's environment."""
        return self._env

    def beside(self, path: str) -> str:
        """A path as the process sees it from its working directory."""
        return joined(self._spec.cwd or "/", path)

    def covered(self, path: str) -> bool:
        """Whether a volume or a file of the App is over it, or over what symlinks make of it."""
        return any(
            not each or one == each or one.startswith(each + "/")
            for one in ((path, self._root.resolved(path)) if self._hidden else ())
            for each in self._hidden
        )

    def _elf(self, entry: Entry, *, sure: bool = False) -> Elf | None:
        if entry.path not in self._elves:
            try:
                read = elf.parse(lambda at, size: self._bytes(entry, at, size))
            except ElfError as error:
                read = None
                self._unreadable(entry, error, sure=sure)
            self._elves[entry.path] = read
        return self._elves[entry.path]

    def _unreadable(self, entry: Entry, error: ElfError, *, sure: bool) -> None:
        has = self._root.member(entry).size
        end = elf_header.end(lambda at, size: self._root.read(entry, at, size))
        if _is_cut(has, end):
            self.lack(Missing(Lack.EXECUTABLE, entry.path, entry.path, _cut(has, end), sure))
        else:
            self.unread[f"{entry.path}: {error}"] = None

    def _bytes(self, entry: Entry, at: int, size: int) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise ElfError(f"more than {_READS} reads of ELF files")
        return self._root.read(entry, at, size)

    def program(self, entry: Entry, *, sure: bool, by_engine: bool = False) -> None:
        """A program, its loader and its libraries. by_engine: see `Rights.denied`."""
        before = self.binaries.get(entry.path)
        if before is not None and (before.sure or not sure):
            return
        read = self._elf(entry, sure=sure)
        if read is None:
            return
        self._keep(entry, Role.PROGRAM, read, sure=sure)
        self._look_at_calls(entry, read)
        if not read.interpreter:
            self._look_at_code([Object(entry.path, read)], whole=True)
            self._without_loader(entry, read, sure=sure)
            return
        found = self._root.file(self.beside(read.interpreter))
        if found is None:
            if self.covered(self.beside(read.interpreter)):
                self.unread[f"{read.interpreter} may be on a volume"] = None
            else:
                self.lack(Missing(Lack.LOADER, read.interpreter, entry.path, "", sure))
            return
        if not self._root.member(found).mode & 0o111:
            self.lack(Missing(Lack.EXECUTABLE, found.path, entry.path, NO_MODE_X, sure))
            return
        if sure:
            self.may(found, RUN, entry.path, by_engine=by_engine)
        load = self._elf(found, sure=sure)
        if load is None:
            return
        self._load(entry, read, found, load, sure=sure)

    def loaded(self, entry: Entry, load: Entry, *, sure: bool) -> None:
        """A program that its command gives to a loader."""
        read, own = self._elf(entry), self._elf(load)
        if read is not None and own is not None:
            self._keep(entry, Role.PROGRAM, read, sure=sure)
            self._load(entry, read, load, own, sure=sure)

    def _load(self, entry: Entry, read: Elf, found: Entry, load: Elf, *, sure: bool) -> None:
        if load.key != read.key:  # the kernel says ELIBBAD
            why = f"its loader {found.path} is for {load.machine}, and it is for {read.machine}"
            self.lack(Missing(Lack.EXECUTABLE, entry.path, entry.path, why, sure))
            return
        self._keep(found, Role.LOADER, load, sure=sure)
        kind = loader.kind_of(found.path, load)
        if not kind and loader.is_gcompat(self._root.read(found, 0, _SMALL_LOADER_BYTES)):
            kind = loader.MUSL
        self.loaders[found.path] = kind
        if self.loaders[found.path]:
            gains = self.rights.gains(entry)
            files, whole = self._libraries(Object(entry.path, read), found, sure=sure, gains=gains)
            self._look_at_code(files, whole=whole)
        else:
            self._look_at_code([Object(entry.path, read)], whole=False)
            self.unread[f"{found.path} is a loader whose rules are not known"] = None

    def _without_loader(self, entry: Entry, read: Elf, *, sure: bool) -> None:
        """A static program, or a loader itself; a library is none: nothing loads what it needs, and
        where it begins there is no code."""
        if read.needed:
            why = "it is a shared library, or was linked without a loader: nothing loads what it"
            self.lack(Missing(Lack.EXECUTABLE, entry.path, entry.path, f"{why} needs", sure))
        elif not read.entry:
            why = "it is a shared library: it has no entry point"
            self.lack(Missing(Lack.EXECUTABLE, entry.path, entry.path, why, sure))

    def may(self, entry: Entry, what: int, by: str, *, by_engine: bool = False) -> None:
        """Note where the service's user may not run or read a file."""
        if denied := self.rights.denied(entry, what):
            with_rights = by_engine and not self.rights.denied(entry, what, by_engine=True)
            lack = Lack.ACCESS_BY_RIGHTS if with_rights else Lack.ACCESS
            self.lack(Missing(lack, denied.what, by, denied.place))

    def _look_at_calls(self, entry: Entry, read: Elf) -> None:
        if read.machine != "amd64" or entry.path in self._called:
            return
        self._called.add(entry.path)
        for part in self._parts(entry, read.code):
            if code.calls(part, code.IO_URING_SETUP, imports_syscall=read.imports_syscall):
                self.io_uring.append(entry.path)

    def _look_at_code(self, files: Sequence[Object], *, whole: bool) -> None:
        """Which instructions a program, the first of the files, and its libraries run. whole: none
        of its libraries is missing."""
        scans = {
            each.path: scan
            for number, each in enumerate(files)
            if each.elf.machine == "amd64" and (number == 0 or _is_others(each.path))
            for scan in [self._scan(each)]
        }
        alone = whole and not any(each.tells for each in scans.values())
        for number, (path, scan) in enumerate(scans.items()):
            sure, perhaps = code.runs(scan, alone=alone, library=number > 0)
            entry = self._root.file(path)
            if entry is None:
                continue
            before = self.binaries[entry.path]
            sure |= set(before.features)
            perhaps = (perhaps | set(before.perhaps_features)) - sure
            self.binaries[entry.path] = replace(
                before,
                level=max(before.level, scan.go_level),
                features=tuple(sorted(sure)),
                perhaps_features=tuple(sorted(perhaps)),
            )

    def _scan(self, file: Object) -> code.Scan:
        if file.path not in self._scans:
            entry = self._root.file(file.path)
            assert entry is not None, "it was found there"
            size = sum(size for _, size in file.elf.code)
            self._code_left -= size
            if self._code_left < 0:
                scan = code.Scan(Instructions(), asks=True, tells=True, go_level=0)
            else:
                parts = list(self._parts(entry, file.elf.code))
                scan = code.scan(parts, self._parts(entry, file.elf.data), file.elf)
            self._scans[file.path] = scan
        return self._scans[file.path]

    def _parts(self, entry: Entry, places: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        budget = code.CODE_BYTES  # segments of a file that is meant to harm may be one another's
        for offset, size in places:
            data = self._root.read(entry, offset, min(size, budget))
            budget -= len(data)
            yield data

    def _libraries(
        self, program: Object, load: Entry, *, sure: bool, gains: bool
    ) -> tuple[list[Object], bool]:
        """The program and what is loaded with it, and whether that is all. Breadth first, as
        loaders do: a library that is loaded under a name is not looked for again. gains: see
        `Rights.gains`."""
        kind = self.loaders[load.path]
        search = self._search(kind, program.elf.machine, load.path, gains)
        known = {load.path.rpartition("/")[2]: self._elf(load)}
        known[program.elf.interpreter.rpartition("/")[2]] = self._elf(load)
        pending, files, whole = deque([program]), [program], True
        while pending:
            each = pending.popleft()
            for name in each.elf.needed:
                if name in known or (kind == loader.MUSL and loader.of_musl(name)):
                    continue
                if len(self.binaries) >= _FILES:
                    self.unread[f"more than {_FILES} files"] = None
                    return files, False
                found = self._library(name, each, search, sure=sure)
                known[name], whole = found.elf if found else None, whole and found is not None
                if found:
                    known.setdefault(found.elf.soname, found.elf)
                    pending.append(found)
                    files.append(found)
            if kind == loader.GLIBC:
                self._versions(each, known, sure=sure and search.sure)
        self.processes.append(Process(tuple(files), load, search, known, whole, sure))
        return files, whole

    def _search(self, kind: str, machine: str, load: str, gains: bool) -> Search:
        key = (machine, load, gains)
        if key not in self._searches:
            cwd, env = self._spec.cwd or "/", {} if gains else self._env
            self._searches[key] = Search(self._root, kind, machine, load, env, cwd)
        return self._searches[key]

    def _library(self, name: str, by: Object, search: Search, *, sure: bool) -> Object | None:
        other = ""
        for path in search.places(name, by):
            self._tries -= 1
            if self._tries < 0:
                self.unread[f"libraries in more than {_TRIES} places"] = None
                return None
            entry = self._root.file(path)
            if entry is None:
                if self.covered(path):
                    self.unread[f"{name} may be on a volume"] = None
                    return None
                continue
            if sure and (denied := self.rights.denied(entry, READ)):
                other = f"{denied.what} ({denied.place})"
                continue
            read = self._elf(entry, sure=sure)
            if read is None:
                return None
            if read.key == by.elf.key:  # else the loader goes on
                self._keep(entry, Role.LIBRARY, read, sure=sure, kind=search.kind)
                return Object(path, read, (*by.parents, by))
            other = f"{entry.path} is for {read.machine}"
        if not other and not search.asks and "LD_LIBRARY_PATH" in self._env:
            other = "LD_LIBRARY_PATH does not count for a program with more rights than its user"
        self.lack(Missing(Lack.LIBRARY, name, by.path, other, sure and search.sure))
        return None

    def _versions(self, each: Object, known: dict[str, Elf | None], *, sure: bool) -> None:
        """glibc's loader ends where a library lacks a version; musl's does not look at them."""
        for wanted in each.elf.wanted:
            library = known.get(wanted.library)
            # A library without any version is taken, with a warning.
            if library is None or not library.defined:
                continue
            for version in wanted.versions:
                if version not in library.defined:
                    has = f"{wanted.library} has {_newest(library.defined, version)}"
                    self.lack(Missing(Lack.VERSION, version, each.path, has, sure))

    def _keep(self, entry: Entry, role: Role, read: Elf, *, sure: bool, kind: str = "") -> None:
        before = self.binaries.get(entry.path)
        if before is None or (sure and not before.sure):
            self.files[entry.path] = read
            has = self._root.member(entry).size
            if _is_cut(has, read.end):
                why = _cut(has, read.end)
                self.lack(Missing(Lack.EXECUTABLE, entry.path, entry.path, why, sure))
            # Kernels, and musl, look at where segments are; glibc also at what they state.
            stated = role is Role.LIBRARY and kind == loader.GLIBC
            self.binaries[entry.path] = Binary(
                path=entry.path,
                role=role,
                machine=read.machine,
                bits=read.key[1],
                level=read.level,
                kernel=read.kernel,
                align=read.align if stated else read.page,
                sure=sure,
            )

    def lack(self, missing: Missing) -> None:
        """Note that something is not there; what is sure stands in place of what is not."""
        if not missing.sure and replace(missing, sure=True) in self.missing:
            return
        if missing.sure:
            self.missing.pop(replace(missing, sure=False), None)
        self.missing[missing] = None


def _is_cut(has: int, end: int) -> bool:
    """Whether a file lacks pages of its segments. The kernel maps pages that are not there, and
    touching one ends the program. In the page where the file ends, the rest is zeros."""
    return has <= (end - 1) // _PAGE * _PAGE


def _cut(has: int, end: int) -> str:
    return f"it is cut off: it has {has} bytes, and its segments end at {end}"


def _is_others(path: str) -> bool:
    return _RUNTIME.fullmatch(path.rpartition("/")[2]) is None


def _newest(defined: frozenset[str], like: str) -> str:
    """The newest version of the same kind (GLIBC_2.38: another of GLIBC_)."""
    kind = like.rpartition("_")[0] + "_"
    rows = [each for each in defined if each.startswith(kind) and numbers(each)]
    return max(rows, key=numbers, default="none of them")


def numbers(version: str) -> tuple[int, ...]:
    """(2, 38) of GLIBC_2.38; () where it does not end with a number."""
    text = version.rpartition("_")[2]
    parts = text.split(".")
    return tuple(map(int, parts)) if all(map(_DIGITS.fullmatch, parts)) else ()
