"""The tree of files that the layers of an image make together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from portkit.package import tarball
from portkit.package.tarball import Member

_LAST_TIME_NS = 1 << 63  # Go's times of files are 64 bits of nanoseconds
_KEPT = 50_000  # headers that stay in memory, some 500 bytes each; others are read again
_KEPT_BYTES = 1024  # of extended attributes of one of them
WHITEOUT = b"w"  # the kind of a whiteout, and of the device 0:0, which overlayfs takes for one


class Node:
    """An inode: in which layer its headers and content are (-1: a folder that no layer names).

    origin: the first layer that has it; for a folder of several layers, the lowest. names: how
    many it has in its layer. number, parent: where a file system is made of the tree, its inode's
    number and, for a folder, the one that holds it.
    """

    __slots__ = (
        "children",
        "header",
        "kind",
        "layer",
        "link",
        "names",
        "number",
        "opaque",
        "origin",
        "parent",
    )

    def __init__(
        self, kind: bytes, origin: int = 0, layer: int = -1, header: int = -1, link: str = ""
    ) -> None:
        self.kind, self.origin, self.layer, self.header = kind, origin, layer, header
        self.link = link
        self.children: dict[str, Node] = {} if kind == tarball.FOLDER else _NONE
        self.names = 1
        self.number = 0
        self.opaque = False
        self.parent: Node | None = None

    @property
    def folder(self) -> bool:
        return self.kind == tarball.FOLDER


_NONE: dict[str, Node] = {}  # the children of what is no folder


class Tree:
    """The root of a tree, and the layers (open files) in which its content is.

    stacked: parts of it are going to be laid over each other by overlayfs, so that whiteouts and
    opaque folders are told as overlayfs wants them.
    """

    def __init__(self, layers: Sequence[BinaryIO], *, stacked: bool = False) -> None:
        self.root = Node(tarball.FOLDER)
        self.layers = layers
        self.stacked = stacked
        self._kept: dict[tuple[int, int], Member] = {}

    def keep(self, layer: int, member: Member) -> None:
        """Remember headers that have been read, as long as they are few and small."""
        small = not member.pieces and sum(map(len, member.xattrs.values())) < _KEPT_BYTES
        if small and len(self._kept) < _KEPT:
            self._kept[layer, member.header] = member

    def member(self, node: Node) -> Member | None:
        """Its headers; None for a folder that no layer names."""
        if node.header < 0:
            return None
        kept = self._kept.get((node.layer, node.header))
        return kept or tarball.member_at(self.layers[node.layer], node.header)

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Every path below the root with its node, folders before their children, in the order
        of their names; the root's own path is empty. Hard links are told once for each name.

        Only the folders on the way to a file are in memory: a path may be long, and files many.
        """
        yield "", self.root
        trail = [("", self.root, iter(sorted(self.root.children)))]
        while trail:
            path, folder, names = trail[-1]
            name = next(names, None)
            if name is None:
                trail.pop()
                continue
            node, below = folder.children[name], f"{path}/{name}" if path else name
            yield below, node
            if node.children:
                trail.append((below, node, iter(sorted(node.children))))


def changed_ns(member: Member) -> int:
    """When it was changed last, in nanoseconds since 1970; what no engine can set is 0."""
    return member.mtime_ns if 0 <= member.mtime_ns < _LAST_TIME_NS else 0
