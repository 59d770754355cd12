"""What has to be done so that one folder becomes as another. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from portkit.volumes.index import Index
from portkit.wire import tree
from portkit.wire.blocks import Want
from portkit.wire.tree import Row

_FILES = (tree.FILE, tree.LINK)


@dataclass(frozen=True)
class Wanted:
    """A block that the target lacks. known: whether it has another one in that place, of which
    some pages may be the same."""

    want: Want
    known: bool


@dataclass(frozen=True)
class Changes:
    """In this order: the shape, the content, what is beside.

    shape: (REMOVE, MAKE or RESIZE, row). files: the source's row and the target's blocks that it
    is written over, for each file that differs. settle: rows that get their owner, times and so on.
    changed: entries of the source that are touched. deleted: entries that are not in the source.
    """

    shape: tuple[tuple[bytes, Row], ...]
    files: tuple[tuple[Row, bytes], ...]
    settle: tuple[Row, ...]
    changed: int
    deleted: int

    def wanted(self) -> Iterator[Wanted]:
        """The blocks that differ, file by file."""
        for row, base in self.files:
            for number in lacking(row, base):
                yield Wanted(_want(row, number), _known(row, base, number))

    def sizes(self) -> tuple[int, int]:
        """(content that the wanted blocks have at most, room that it takes beside what is removed
        before)."""
        most = room = 0
        for each in self.wanted():
            if each.want.expected != tree.HOLE:
                most += each.want.length
                room += 0 if each.known else each.want.length
        freed = sum(_freed(row) for kind, row in self.shape if kind == tree.REMOVE)
        return most, max(0, room - freed)


def _freed(row: Row) -> int:
    """What a file gives back when it goes, at least."""
    if row.links > 1:
        return 0
    filled = sum(row.hash(number) != tree.HOLE for number in range(row.blocks))
    return min(row.size, max(0, filled - 1) * tree.BLOCK)


def _want(row: Row, number: int) -> Want:
    length = min(tree.BLOCK, row.size - number * tree.BLOCK)
    return Want(row.path, number, length, row.hash(number))


def _old(base: bytes, number: int) -> bytes:
    return base[number * tree.HASH : (number + 1) * tree.HASH]


def _known(row: Row, base: bytes, number: int) -> bool:
    return _old(base, number) not in (b"", tree.HOLE) and row.hash(number) != tree.HOLE


def lacking(row: Row, base: bytes) -> Iterator[int]:
    """Numbers of the blocks of a file that differ from those that are there."""
    if row.hashes == base:
        return
    for number in range(row.blocks):
        mine, old = row.hash(number), _old(base, number)
        # What is not there yet is a hole. A hole may stand for zeros that the source has written
        # out, but what is a hole there shall be one here.
        if mine == old or (mine == tree.HOLE and not old):
            continue
        length = min(tree.BLOCK, row.size - number * tree.BLOCK)
        if old == tree.HOLE and tree.equal(mine, old, length):
            continue
        yield number


def diff(source: Index, target: Index) -> Changes:
    """What makes the target's tree the source's. What has the same name and kind is kept."""
    work = _Diff(source, target)
    work.run()
    return work.changes()


class _Diff:
    def __init__(self, source: Index, target: Index) -> None:
        self._source, self._target = source.rows, target.rows
        rows = target.rows.values()
        self._names = Counter(_first(row) for row in rows if row.kind in _FILES)
        self._claimed: dict[bytes, bytes] = {}  # a file of the target -> of the source
        self._kept: dict[bytes, Row] = {}  # a path of the source -> what it is made of
        self._made: list[Row] = []

    def run(self) -> None:
        for path, row in self._source.items():
            base = self._base(row, self._target.get(path))
            if base is None:
                self._made.append(row)
            else:
                self._kept[path] = base

    def _base(self, row: Row, there: Row | None) -> Row | None:
        """What of the target the entry is made of, without a new name."""
        if there is None:
            return None
        if row.kind == tree.FILE:
            return self._file(row, there)
        if row.kind == tree.LINK:
            same = there.kind in _FILES and self._claimed.get(_first(there)) == row.target
            return there if same else None
        kept = (row.kind, row.target, row.device) == (there.kind, there.target, there.device)
        return there if kept else None

    def _file(self, row: Row, there: Row) -> Row | None:
        if there.kind not in _FILES:
            return None
        first = _first(there)
        base = self._target[first]
        # A file with a name outside of the folder is somebody else's too, and one that has become
        # another file of the source already has that one's content.
        if first in self._claimed or base.links > self._names[first]:
            return None
        self._claimed[first] = row.path
        return base

    def changes(self) -> Changes:
        removed = [row for path, row in self._target.items() if path not in self._kept]
        resized = [row for path, row in self._source.items() if self._is_resized(row, path)]
        files = tuple(self._differing())
        written = {row.path for row, _ in files} | {row.path for row in resized}
        settle = tuple(self._settled(written, removed))
        touched = written | {row.path for row in (*self._made, *settle)}
        return Changes(
            shape=(
                *((tree.REMOVE, row) for row in reversed(removed)),
                *((tree.MAKE, row) for row in self._made),
                *((tree.RESIZE, row) for row in resized),
            ),
            files=files,
            settle=settle,
            changed=len(touched),
            deleted=sum(row.path not in self._source for row in removed),
        )

    def _is_resized(self, row: Row, path: bytes) -> bool:
        kept = self._kept.get(path)
        return row.kind == tree.FILE and kept is not None and kept.size != row.size

    def _differing(self) -> Iterator[tuple[Row, bytes]]:
        for path, row in self._source.items():
            if row.kind == tree.FILE:
                kept = self._kept.get(path)
                base = b"" if kept is None else kept.hashes
                if next(lacking(row, base), None) is not None:
                    yield row, base

    def _settled(self, written: set[bytes], removed: list[Row]) -> Iterator[Row]:
        """Files first, and folders from the innermost out: what is made in a folder changes its
        time."""
        moved = {tree.parent_of(row.path) for row in (*removed, *self._made) if row.path}
        moved |= written
        rows = [
            row
            for path, row in self._source.items()
            if row.kind != tree.LINK and (path in moved or self._is_new_beside(row))
        ]
        yield from (row for row in rows if row.kind != tree.FOLDER)
        yield from (row for row in reversed(rows) if row.kind == tree.FOLDER)

    def _is_new_beside(self, row: Row) -> bool:
        kept = self._kept.get(row.path)
        return kept is None or _beside(row) != _beside(kept)


def _first(row: Row) -> bytes:
    """The name under which a file is told with its content."""
    return row.target if row.kind == tree.LINK else row.path


def _beside(row: Row) -> tuple[object, ...]:
    return row.mode, row.uid, row.gid, row.mtime_ns, row.xattrs
