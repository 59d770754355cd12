"""Whether a process finds all functions and variables that its files ask for, where its loader is
musl's: it looks for every one before the program starts. With gcompat it also has that library.
"""

from __future__ import annotations

from collections.abc import Iterator

from portkit.model.needs import Lack, Missing
from portkit.needs import elf, loader, symbols
from portkit.needs.elf import ElfError
from portkit.needs.linked import Process
from portkit.needs.root import Root
from portkit.needs.start import Start
from portkit.needs.symbols import Symbols

_FOLDERS = ("/lib", "/usr/lib", "/usr/local/lib")
_GCOMPAT = "libgcompat.so.0"


def look(root: Root, start: Start) -> None:
    """Note what programs and libraries of the start ask for in vain."""
    for process in start.processes:
        there = of_process(root, start, process)
        if there is None:
            continue
        lacks = symbols.missing(there.values())
        for path, table in there.items():
            if own := table.asks & lacks:
                row = Missing(Lack.SYMBOL, symbols.in_words(own), path, "", process.sure)
                start.lack(row)


def of_process(root: Root, start: Start, process: Process) -> dict[str, Symbols] | None:
    """The symbols of the files of a process whose loader is musl's, by path; None for another one,
    or where they are not known."""
    if process.search.kind != loader.MUSL or not process.whole or "LD_PRELOAD" in start.variables:
        return None
    try:
        paths = [*(each.path for each in process.files), *_of_loader(root, process)]
        return {path: read(root, path) for path in paths}
    except ElfError:
        return None


def _of_loader(root: Root, process: Process) -> Iterator[str]:
    """The loader, which is the C library as well; or, of gcompat, what its own starts with."""
    if process.load.path.rpartition("/")[2].startswith("ld-musl-"):
        yield process.load.path
        return
    own = [f"/lib/{name}" for name in root.names("/lib") if name.startswith("ld-musl-")]
    if not own:
        raise ElfError("musl's loader is elsewhere")
    yield from own
    pending, seen = [_GCOMPAT], set[str]()
    while pending:
        name = pending.pop()
        path = next((f"{at}/{name}" for at in _FOLDERS if root.file(f"{at}/{name}")), "")
        if path and path not in seen:
            seen.add(path)
            yield path
            pending += _needed(root, path)
        elif not path and not loader.of_musl(name):
            raise ElfError(f"{name} is elsewhere")


def _needed(root: Root, path: str) -> tuple[str, ...]:
    entry = root.file(path)
    if entry is None:
        return ()
    return elf.parse(lambda at, size: root.read(entry, at, size)).needed


def read(root: Root, path: str) -> Symbols:
    """The symbols of a file; ElfError where they cannot be read."""
    entry = root.file(path)
    if entry is None:
        raise ElfError(f"{path} is not there")
    return symbols.read(lambda at, size: root.read(entry, at, size))
