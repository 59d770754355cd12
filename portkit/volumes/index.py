"""What a folder holds, as its host told it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from portkit.errors import VerifyError
from portkit.text import printable
from portkit.wire import tree
from portkit.wire.tree import Row

_WORDS = {
    tree.FOLDER: "folder",
    tree.FILE: "file",
    tree.LINK: "hard link",
    tree.SYMLINK: "symlink",
    tree.PIPE: "FIFO",
    tree.SOCKET: "socket",
    tree.CHARACTER: "character device",
    tree.DEVICE: "block device",
    tree.MOUNT: "mount point",
}
# Of a Row, what a user would not know by its name.
_FIELDS = {"hashes": "content", "mtime_ns": "mtime", "xattrs": "attributes"}
_NODES = (tree.CHARACTER, tree.DEVICE)
_NEVER = (tree.PIPE, tree.SOCKET, tree.MOUNT)


@dataclass(frozen=True)
class Index:
    """The entries of a folder by path, each folder before what is in it."""

    rows: Mapping[bytes, Row]

    @classmethod
    def read(cls, pieces: Iterable[bytes], host: str) -> Index:
        """Out of the stream that a host sent; VerifyError where it cannot be."""
        try:
            return cls(tree.read_index(pieces))
        except ValueError as error:
            raise VerifyError(
                f"{host} sent an invalid description of a folder",
                details=printable(str(error), 500),
                resolution="Check which program answers on the host.",
            ) from error

    def travelling(self, *, nodes: bool) -> tuple[Index, tuple[tuple[str, str], ...]]:
        """What is brought to the other host, and the (path, kind) of what is not.

        nodes: whether device nodes are."""
        left = _NEVER if nodes else (*_NEVER, *_NODES)
        rows = {path: row for path, row in self.rows.items() if row.kind not in left}
        skipped = [(row.path, row.kind) for row in self.rows.values() if row.kind in left]
        return Index(rows), tuple((shown(path), _WORDS[kind]) for path, kind in skipped)

    def mounts(self) -> tuple[str, ...]:
        """Where something else is mounted."""
        return tuple(shown(p) for p, row in self.rows.items() if row.kind == tree.MOUNT)

    @cached_property
    def bytes(self) -> int:
        """Of content; a hole counts as the zeros that it is read as."""
        return sum(row.size for row in self.rows.values())

    @cached_property
    def digest(self) -> str:
        """sha256 of all that is brought over: two folders with the same are the same."""
        return self._digest(essential=True)

    @cached_property
    def exact_digest(self) -> str:
        """sha256 of all that the host said, inodes and ctimes included."""
        return self._digest(essential=False)

    def _digest(self, *, essential: bool) -> str:
        total = tree.Digest(essential)
        for row in self.rows.values():
            total.add(row)
        return total.text()


def shown(path: bytes) -> str:
    """A path of a tree as text."""
    return printable(path.decode("utf-8", "backslashreplace"), 1000) or "."


def first_difference(one: Index, other: Index) -> str:
    """Where two folders differ, in a few words; "" where they do not."""
    path = first_path(one, other)
    if path is None:
        return ""
    mine, theirs = one.rows.get(path), other.rows.get(path)
    if mine is None or theirs is None:
        return f"{shown(path)} exists on one side only"
    pairs = zip(Row._fields, tree.essence(mine), tree.essence(theirs), strict=True)
    name = next(name for name, left, right in pairs if left != right)
    return f"{_FIELDS.get(name, name)} of {shown(path)}"


def first_path(one: Index, other: Index) -> bytes | None:
    """The first path at which two folders differ; None where they do not."""
    for path in sorted({*one.rows, *other.rows}, key=tree.order):
        mine, theirs = one.rows.get(path), other.rows.get(path)
        if mine is None or theirs is None or tree.essence(mine) != tree.essence(theirs):
            return path
    return None
