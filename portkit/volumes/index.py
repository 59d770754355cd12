"""What a folder holds, as its host told it. Pure."""

from __future__ import annotations

import hashlib
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
                f"what {host} says of a folder cannot be right",
                details=printable(str(error), 500),
                resolution="Check who answers on the host.",
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
        total = hashlib.sha256()
        for row in self.rows.values():
            total.update(tree.record(tree.pack(essence(row))))
        return f"sha256:{total.hexdigest()}"


def shown(path: bytes) -> str:
    """A path of a tree as text."""
    return printable(path.decode("utf-8", "backslashreplace"), 1000) or "."


def essence(row: Row) -> Row:
    """A row without what belongs to its host alone. A block of zeros is the same as a hole."""
    if row.kind == tree.LINK:
        return Row(row.path, tree.LINK, target=row.target)
    return row._replace(ctime_ns=0, inode=0, links=1, hashes=_content(row))


def _content(row: Row) -> bytes:
    if not row.hashes:
        return b""
    count = row.blocks
    rest = row.size - (count - 1) * tree.BLOCK
    zero = tree.plain(tree.HOLE, rest)
    last = tree.HOLE if row.hash(count - 1) == zero else row.hash(count - 1)
    before = row.hashes[: -tree.HASH]
    # Where it is not at a block's place it is found by chance only, and nothing is replaced.
    if tree.ZERO in before:
        before = b"".join(
            tree.HOLE if row.hash(n) == tree.ZERO else row.hash(n) for n in range(count - 1)
        )
    return before + last


def first_difference(one: Index, other: Index) -> str:
    """Where two folders differ, in a few words; "" where they do not."""
    for path in sorted({*one.rows, *other.rows}, key=tree.order):
        pair = one.rows.get(path), other.rows.get(path)
        if pair[0] is None or pair[1] is None:
            return f"{shown(path)} is on one side only"
        mine, theirs = essence(pair[0]), essence(pair[1])
        for name, left, right in zip(Row._fields, mine, theirs, strict=True):
            if left != right:
                return f"{name} of {shown(path)}"
    return ""
