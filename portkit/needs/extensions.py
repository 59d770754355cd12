"""Extensions in machine code that an interpreter may load: packages of Python, Node.js and Ruby.

No file says which of them the app loads. So one that could not be loaded makes the verdict unknown.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from portkit.model.needs import Binary, Lack, Missing, Role
from portkit.needs import elf, loader, relocations, symbols
from portkit.needs.elf import Elf, ElfError
from portkit.needs.linked import Process
from portkit.needs.loader import Object
from portkit.needs.root import Entry, Root
from portkit.needs.start import Start
from portkit.needs.symbols import Symbols

# Where the packages of an interpreter are, by its name.
_FOLDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "node": ("node_modules",),
        "nodejs": ("node_modules",),
        "python": ("site-packages", "dist-packages"),
        "ruby": ("gems",),
    }
)
_NAME = re.compile(r"(node|nodejs|python|ruby)([0-9]?)\.?([0-9]{0,2})")
_FILE = re.compile(r".+\.(?:node|so)(?:\.[0-9.]+)?")
_TAG = re.compile(r"\.cpython-([0-9]+)")  # of the Python that alone loads it (PEP 3149)
_FILES = 3000  # that are looked at
_NODES = 300_000  # of the tree
_LACKS = 20  # that are noted


@dataclass(frozen=True)
class _Found:
    entry: Entry
    elf: Elf


def look(root: Root, start: Start) -> None:
    """Note which extensions an interpreter of the start could not load."""
    before = len(start.missing)
    for process in start.processes:
        match = _NAME.fullmatch(posixpath.basename(process.files[0].path))
        if match is None or start.files.get(process.files[0].path) is None:
            continue
        tables = relocations.of_process(root, start, process)
        for each in _found(root, start, match[1], match[2] + match[3]):
            if each.elf.key != process.files[0].elf.key:
                if match[1] == "python":  # packages of others come with files for many machines
                    _note_machine(start, process, each)
            elif process.search.kind == loader.GLIBC:
                _note_versions(root, start, process, each)
            elif tables is not None:
                _note_symbols(root, start, process, each, tables)
            if each.elf.level and each.elf.key == process.files[0].elf.key:
                row = Binary(each.entry.path, Role.LIBRARY, each.elf.machine, each.elf.key[1])
                row = replace(row, level=each.elf.level, sure=False)
                start.binaries.setdefault(each.entry.path, row)
                start.files.setdefault(each.entry.path, each.elf)
            if len(start.missing) - before > _LACKS:
                return


def _found(root: Root, start: Start, name: str, version: str) -> Iterator[_Found]:
    """The extensions that an interpreter of that name and version (312) could load."""
    count = 0
    for path in _paths(root, _FOLDERS[name]):
        tag = _TAG.search(path)
        if (tag and len(version) > 1 and tag[1] != version) or start.covered(path):
            continue
        entry = root.file(path)
        count += 1
        if entry is None or count > _FILES:
            continue
        if (read := _parsed(root, entry)) is not None:
            yield _Found(entry, read)


def _paths(root: Root, folders: tuple[str, ...]) -> Iterator[str]:
    top = root.find("/")
    pending = [("", top.node, False)] if top is not None else []
    seen = 0
    while pending and seen < _NODES:
        path, node, inside = pending.pop()
        for name, child in node.children.items():
            seen += 1
            if child.folder:
                pending.append((f"{path}/{name}", child, inside or name in folders))
            elif inside and _FILE.fullmatch(name):
                yield f"{path}/{name}"


def _note_machine(start: Start, process: Process, each: _Found) -> None:
    name, path = posixpath.basename(each.entry.path), each.entry.path
    why = f"{path} is for {each.elf.machine}"
    start.lack(Missing(Lack.LIBRARY, name, process.files[0].path, why, sure=False))


def _note_versions(root: Root, start: Start, process: Process, each: _Found) -> None:
    own = Object(each.entry.path, each.elf, process.files[:1])
    for wanted in each.elf.wanted:
        library = process.known.get(wanted.library) or _library(root, process, wanted.library, own)
        if library is None or not library.defined:
            continue
        lacks = [name for name in wanted.versions if name not in library.defined]
        for name in lacks[:1]:
            why = f"{wanted.library} does not have it"
            start.lack(Missing(Lack.VERSION, name, each.entry.path, why, sure=False))


def _library(root: Root, process: Process, name: str, by: Object) -> Elf | None:
    for path in process.search.places(name, by):
        entry = root.file(path)
        if entry is None:
            continue
        read = _parsed(root, entry)
        if read is None or read.key == by.elf.key:
            return read
    return None


def _parsed(root: Root, entry: Entry) -> Elf | None:
    try:
        return elf.parse(lambda at, size: root.read(entry, at, size))
    except ElfError:  # a script of a linker, say, which nothing loads
        return None


def _note_symbols(
    root: Root, start: Start, process: Process, each: _Found, tables: Mapping[str, Symbols]
) -> None:
    own, rows = Object(each.entry.path, each.elf, process.files[:1]), []
    for name in each.elf.needed:
        if loader.of_musl(name) or name in process.known:
            continue
        path = next((at for at in process.search.places(name, own) if root.file(at)), "")
        if not path and name.startswith("ld-linux"):
            start.lack(Missing(Lack.LIBRARY, name, each.entry.path, "", sure=False))
        if not path:
            return  # what the others have is not known
        rows.append(path)
    try:
        asks = relocations.read(root, each.entry.path)
        others = [relocations.read(root, path) for path in rows]
    except ElfError:
        return
    lacks = symbols.missing([asks, *others, *tables.values()]) & asks.asks
    if lacks:
        names = symbols.in_words(lacks)
        start.lack(Missing(Lack.SYMBOL, names, each.entry.path, "", sure=False))
