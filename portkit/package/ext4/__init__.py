"""Writes an ext4 file system from a tree of files: no device, no mount, no privileges.

mke2fs fills a file system, too, but from files that have to lie on this machine with their owners,
devices and hostile names, in the order in which a directory happens to list them, and with what
its release holds to be the best layout. Here the same tree gives the same bytes everywhere: the
layers of the image are read and nothing else is. `e2fsck` judges the result in the tests.

What one layer brings lies together, in the order of names, and each layer begins at a round number
of blocks and of inodes. So a file that changes in an upper layer leaves all below where it was.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from portkit.package import acl, tarball
from portkit.package.ext4 import checksum, directory, extents, xattr
from portkit.package.ext4.extents import BLOCK, Run
from portkit.package.ext4.geometry import geometry
from portkit.package.ext4.space import NoRoom, Space
from portkit.package.ext4.tables import (
    EXTENTS,
    FIRST,
    JOURNAL,
    ROOT,
    Inode,
    Numbers,
    device,
    empty_journal,
    superblock,
)
from portkit.package.tarball import Member
from portkit.package.tree import WHITEOUT, Node, Tree, changed_ns
from portkit.wire.sparse import write_at

__all__ = ["NoRoom", "Plan", "plan", "write"]

_LAYER_BLOCKS, _LAYER_INODES = 64, 64  # a layer begins at a multiple of these
_MAX_LINKS = 65000
_SHORT_LINK = 60  # a longer symlink takes a block
_SEEN = -1  # in the place of an inode's number, as long as it has none
_ZERO = bytes(BLOCK)
_TYPES = {  # of a member: of an inode, and of an entry in a directory
    tarball.FILE: (stat.S_IFREG, 1),
    tarball.FOLDER: (stat.S_IFDIR, 2),
    tarball.CHAR: (stat.S_IFCHR, 3),
    tarball.BLOCKDEV: (stat.S_IFBLK, 4),
    tarball.FIFO: (stat.S_IFIFO, 5),
    tarball.SYMLINK: (stat.S_IFLNK, 7),
    WHITEOUT: (stat.S_IFCHR, 3),
}
# What overlayfs looks for on a folder that hides those below it (Documentation/filesystems/
# overlayfs.rst, "whiteouts and opaque directories").
_OPAQUE = {"trusted.overlay.opaque": b"y"}


@dataclass
class _Layer:
    """What one layer brings, in the order of paths: directories that get entries, and inodes."""

    folders: list[Node] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Plan:
    """A tree with its inodes numbered. entries: names in it; inodes: those in use, as (first, how
    many); content: bytes that it takes, without the tables of the file system."""

    tree: Tree
    layers: list[_Layer]
    entries: int
    inodes: list[tuple[int, int]]
    content: int


def plan(tree: Tree) -> Plan:
    """Number the inodes of a tree. ValueError when ext4 cannot hold a file of it."""
    layers = [_Layer() for _ in range(max(len(tree.layers), 1))]
    entries = blocks = 0
    for _, node in tree.walk():
        entries += 1
        if node.number:
            node.names += 1
            continue
        node.names, node.number = 1, _SEEN
        layers[node.origin].nodes.append(node)
        blocks += _blocks(tree, node)
        if node.folder:
            for child in node.children.values():
                if child.folder:
                    child.parent = node
            for origin, names in _brought(node).items():
                layers[origin].folders.append(node)
                blocks += len(directory.chunks(map(_bytes, names), origin == node.origin))
    inodes, number = [(1, FIRST - 1)], FIRST
    for layer in layers:
        first = number = number + -number % _LAYER_INODES
        for node in layer.nodes:
            if node is not tree.root:
                node.number, number = number, number + 1
        inodes.append((first, number - first))
    tree.root.number, tree.root.parent = ROOT, tree.root
    content = (blocks + len(layers) * _LAYER_BLOCKS) * BLOCK
    return Plan(tree, layers, entries, inodes, content)


def _brought(folder: Node) -> dict[int, list[str]]:
    """The names in a folder, in order, by the layer that brings them. Its own layer is always
    there: with the first names come `.` and `..`."""
    found: dict[int, list[str]] = {folder.origin: []}
    for name, child in sorted(folder.children.items()):
        found.setdefault(child.origin, []).append(name)
    return found


def links_of_folder(folders: int) -> int:
    """How many names a folder has that holds so many folders: its own, `.`, and a `..` of each.

    Where they are too many it says 1, which means "many" (dir_nlink)."""
    return 1 if folders + 2 > _MAX_LINKS else folders + 2


def _blocks(tree: Tree, node: Node) -> int:
    """How many blocks it takes beside a folder's names, at most a few more."""
    member = tree.member(node)
    attributes = xattr.blocks(_attributes(tree, node, member))
    if node.kind == tarball.SYMLINK:
        return attributes + (len(_bytes(node.link)) >= _SHORT_LINK)
    if member is None or node.kind != tarball.FILE:
        return attributes
    runs = _wanted(member)
    return attributes + sum(run.blocks for run in runs) + extents.tree_blocks(len(runs))


def write(made: Plan, out: BinaryIO, start: int, size: int, *, uuid: bytes, label: bytes) -> None:
    """Write the file system into `size` bytes of a file from `start` on, which are zeros.

    uuid: its 16 bytes; the seed of the directories' hashes is the same. What is zeros stays a hole
    of the file. NoRoom when the tree does not fit; ValueError when a layer has become another.
    """
    _Writer(made, out.fileno(), start, size, uuid).write(label)


class _Writer:
    def __init__(self, made: Plan, file: int, start: int, size: int, uuid: bytes) -> None:
        self._plan, self._tree = made, made.tree
        self._file, self._start, self._uuid = file, start, uuid
        try:
            self._shape = geometry(size, sum(made.inodes[-1]))
        except ValueError:
            raise NoRoom from None
        self._space = Space(self._shape)
        self._folder_runs: dict[Node, list[Run]] = {}

    def write(self, label: bytes) -> None:
        journal = self._journal()
        for index, layer in enumerate(self._plan.layers):
            self._space.align(_LAYER_BLOCKS)
            for folder in layer.folders:
                self._entries(folder, _brought(folder)[index])
            for node in layer.nodes:
                if not node.folder:
                    self._put(node)
        # Last: only now is known where all parts of a directory are.
        for layer in self._plan.layers:
            for node in layer.nodes:
                if node.folder:
                    self._folder(node)
        self._tables(journal, label)

    # ------------------------------------------------------------ files

    def _put(self, node: Node) -> None:
        if node.kind == WHITEOUT:
            inode = Inode(stat.S_IFCHR, place=device(0, 0), links=node.names)
            self._finish(node.number, inode, b"")
            return
        member = self._tree.member(node)
        assert member is not None, "only a folder may have no headers"
        inode, block = self._inode(node, member)
        if node.names > _MAX_LINKS:
            raise ValueError(f"{member.name[:200]!a} has more than {_MAX_LINKS} names")
        inode.links = node.names
        if node.kind == tarball.FILE:
            inode.size = member.size
            self._map(node.number, inode, self._content(node, member))
        elif node.kind == tarball.SYMLINK:
            self._symlink(node, inode)
        elif node.kind in (tarball.CHAR, tarball.BLOCKDEV):
            inode.place = device(*member.device)
        self._finish(node.number, inode, block)

    def _content(self, node: Node, member: Member) -> list[Run]:
        """Copy the content of a file; where it is now. Runs and pieces are both in order, so one
        walk over them is enough, however many there are."""
        runs = [
            run
            for wanted in _wanted(member)
            for run in self._space.take(wanted.blocks, wanted.logical)
        ]
        index = 0
        for at, data in tarball.pieces(self._tree.layers[node.layer], member):
            while data:
                run = runs[index]
                left = (run.logical + run.blocks) * BLOCK - at
                if left <= 0:
                    index += 1
                    continue
                self._store((run.physical - run.logical) * BLOCK + at, data[:left])
                at, data = at + min(left, len(data)), data[left:]
        return runs

    def _symlink(self, node: Node, inode: Inode) -> None:
        target = _bytes(node.link)
        inode.size = len(target)
        if len(target) < _SHORT_LINK:
            inode.place = target.ljust(60, b"\0")
            return
        first = self._space.block()
        self._store(first * BLOCK, target)
        self._map(node.number, inode, [Run(0, first, 1)])

    # ------------------------------------------------------------ directories

    def _entries(self, folder: Node, names: list[str]) -> None:
        """The blocks of a directory with the names that one layer brings."""
        rows = [
            (_bytes(name), folder.children[name].number, _TYPES[folder.children[name].kind][1])
            for name in names
        ]
        runs = self._folder_runs.setdefault(folder, [])
        first = not runs
        counts = directory.chunks((row[0] for row in rows), first)
        if first:
            assert folder.parent is not None, "the plan has told every folder its parent"
            rows[:0] = [(b".", folder.number, 2), (b"..", folder.parent.number, 2)]
            counts[0] += 2
        seed = checksum.of_inode(folder.number)
        for count in counts:
            place = self._space.block()
            self._store(place * BLOCK, directory.block(rows[:count], seed))
            del rows[:count]
            logical = runs[-1].logical + runs[-1].blocks if runs else 0
            if runs and runs[-1].physical + runs[-1].blocks == place:
                runs[-1] = runs[-1]._replace(blocks=runs[-1].blocks + 1)
            else:
                runs.append(Run(logical, place, 1))

    def _folder(self, node: Node) -> None:
        inode, block = self._inode(node, self._tree.member(node))
        runs = self._folder_runs[node]
        inode.size = sum(run.blocks for run in runs) * BLOCK
        inode.links = links_of_folder(sum(child.folder for child in node.children.values()))
        self._map(node.number, inode, runs)
        self._space.folder(node.number)
        self._finish(node.number, inode, block)

    # ------------------------------------------------------------ inodes

    def _inode(self, node: Node, member: Member | None) -> tuple[Inode, bytes]:
        """The inode without its content, and a block of attributes where it needs one."""
        kind = _TYPES[node.kind][0]
        packed = xattr.encode(_attributes(self._tree, node, member))
        if member is None:
            return Inode(kind | 0o755, attributes=packed.in_inode), packed.block
        inode = Inode(kind | member.mode, member.uid, member.gid, time_ns=changed_ns(member))
        if node.kind == tarball.SYMLINK:
            inode.mode = kind | 0o777
        inode.attributes = packed.in_inode
        return inode, packed.block

    def _map(self, number: int, inode: Inode, runs: list[Run]) -> None:
        rows = extents.split(runs)
        blocks = [self._space.block() for _ in range(extents.tree_blocks(len(rows)))]
        inode.place, tree = extents.tree(rows, blocks)
        seed = checksum.of_inode(number)
        for place, data in tree:
            total = checksum.extend(seed, data)
            self._store(place * BLOCK, data + total.to_bytes(4, "little"))
        inode.flags |= EXTENTS
        inode.blocks += 8 * (sum(run.blocks for run in rows) + len(blocks))

    def _finish(self, number: int, inode: Inode, block: bytes) -> None:
        if block:
            inode.attribute_block = self._space.block()
            inode.blocks += 8
            sealed = xattr.sealed(block, inode.attribute_block)
            self._store(inode.attribute_block * BLOCK, sealed)
        self._store(self._space.place(number), inode.encoded(number))

    # ------------------------------------------------------------ the file system's own

    def _journal(self) -> bytes:
        count = self._shape.journal
        runs = self._space.take(count)
        inode = Inode(stat.S_IFREG | 0o600, size=count * BLOCK)
        self._map(JOURNAL, inode, runs)
        self._store(runs[0].physical * BLOCK, empty_journal(count))
        self._store(self._space.place(JOURNAL), inode.encoded(JOURNAL))
        return inode.place

    def _tables(self, journal: bytes, label: bytes) -> None:
        shape = self._shape
        groups, bits = self._space.groups(self._plan.inodes)
        for place, data in bits.items():
            self._store(place * BLOCK, data)
        told = Numbers(
            uuid=self._uuid,
            label=label,
            free_blocks=sum(group.free_blocks for group in groups),
            free_inodes=sum(group.free_inodes for group in groups),
            journal=journal,
        )
        rows = b"".join(group.encoded(i) for i, group in enumerate(groups))
        for group in shape.copies():
            place = shape.first(group) * BLOCK
            # The first 1,024 bytes of a file system are left to boot loaders.
            self._store(place + (0 if group else 1024), superblock(shape, told, group))
            self._store(place + BLOCK, rows)

    def _store(self, place: int, data: bytes) -> None:
        """Write, but for whole blocks of zeros."""
        if _ZERO not in (data[at : at + BLOCK] for at in range(0, len(data), BLOCK)):
            write_at(self._file, data, self._start + place)
            return
        for at in range(0, len(data), BLOCK):
            part = data[at : at + BLOCK]
            if part != _ZERO:
                write_at(self._file, part, self._start + place + at)


def _wanted(member: Member) -> list[Run]:
    """The blocks that a file needs: all, or those of a sparse one in which something is."""
    if member.pieces is None:
        count = -(-member.size // BLOCK)
        return [Run(0, 0, count)] if count else []
    runs: list[Run] = []
    for offset, length in member.pieces:
        first, end = offset // BLOCK, -(-(offset + length) // BLOCK)
        if runs and runs[-1].logical + runs[-1].blocks >= first:
            begin = runs[-1].logical
            runs[-1] = Run(begin, 0, max(end, begin + runs[-1].blocks) - begin)
        else:
            runs.append(Run(first, 0, end - first))
    return runs


def _attributes(tree: Tree, node: Node, member: Member | None) -> Mapping[str, bytes]:
    """What of its extended attributes a Linux file of its kind can have, and overlayfs' mark."""
    found: dict[str, bytes] = dict(_OPAQUE) if tree.stacked and node.opaque else {}
    if member is None:
        return found
    for key, text in member.xattrs.items():
        name, value = key.removeprefix(tarball.XATTR), _bytes(text)
        if name in acl.NAMES and node.kind == tarball.SYMLINK:
            continue  # a symlink has no rights of its own
        if name in acl.NAMES:
            rows = acl.entries(name, value, member.mode)
            if not rows:
                continue
            value = acl.for_ext4(rows)
        if name.startswith("user.") and node.kind not in (tarball.FILE, tarball.FOLDER):
            continue  # xattr(7): no engine can set it either
        if not name.startswith("trusted.overlay."):
            found[name] = value
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
