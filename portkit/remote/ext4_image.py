"""A disk's ext4 file system as a folder's tree, read without mounting it.

A disk belongs to a VM, whose owner may have written anything to it. Nothing is followed twice that
belongs to one entry alone, and all together have no more than the disk: what is read ends.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from contextlib import contextmanager
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Set, Tuple

from portkit.remote import ext4_blocks
from portkit.remote.ext4_disk import Disk
from portkit.remote.ext4_layout import ROOT, Inode, damaged, unread
from portkit.remote.ext4_runs import Runs
from portkit.remote.volume_content import pages_within
from portkit.remote.volume_tree import KINDS, check_depth, row_of
from portkit.wire import tree
from portkit.wire.frames import RemoteError

_LISTED = 64  # folders whose names are remembered
_MOST_TO_LIST = 1 << 28  # bytes of a folder; one of two million entries has some hundred MB
# Of all entries: four for each of two million files. Reading them takes some minutes at most.
_MOST_RUNS = 1 << 23
_SHORT_LINK = 60  # bytes of an inode that may hold where a symlink leads
# As a folder's entries say what they are.
_SAID = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFCHR, 4: stat.S_IFBLK, 5: stat.S_IFIFO}
_SAID.update({6: stat.S_IFSOCK, 7: stat.S_IFLNK})
_LOST = b"lost+found"


class OfDisk:
    """A `Content` (see `volume_content`) of a file in an image."""

    def __init__(self, image: Image, inode: Inode, runs: Runs) -> None:
        self._image, self._inode, self._within = image, inode, runs.within

    def status(self) -> Inode:
        """As it was: the disk is compared as a whole, see `Image.key`."""
        return self._inode

    def block(self, number: int, length: int = tree.BLOCK) -> bytes:
        """A block, shorter where the file ends."""
        at = number * tree.BLOCK
        end = min(at + length, self._inode.st_size)
        parts = []
        for start, stop, place in self._within(at, end):
            parts.append(bytes(start - at))
            parts.append(self._image.read(place, stop - start))
            at = stop
        parts.append(bytes(max(0, end - at)))
        return b"".join(parts)

    def extents(self) -> Iterator[Tuple[int, int]]:
        """(offset, length) of each run of data, in order."""
        for start, stop, _ in self._within(0, self._inode.st_size):
            yield start, stop - start

    def holes(self, number: int, length: int) -> int:
        """Bits of the pages of a block that are in holes as a whole."""
        begin, bits, at = number * tree.BLOCK, 0, 0
        for start, stop, _ in self._within(begin, begin + length):
            bits |= pages_within(at, start - begin, length)
            at = stop - begin
        return bits | pages_within(at, length, length)

    def close(self) -> None:
        """Nothing: the disk stays open."""


class Entry(NamedTuple):
    """An entry of an image's tree. claimed: see `Image`."""

    path: bytes
    status: Inode
    image: Image
    claimed: Set[int]

    @property
    def kind(self) -> bytes:
        return KINDS[stat.S_IFMT(self.status.st_mode)]

    def content(self) -> OfDisk:
        """Of a regular file."""
        return self.image.content(self.status, self.claimed)

    def row(self) -> tree.Row:
        """As a row without hashes."""
        target = b""
        if self.kind == tree.SYMLINK:
            target = self.image.target(self.status, self.claimed)
        return row_of(self.path, self.status, target, self.image.attributes(self.status))


class _Left:
    """What a walk may still come across, whatever the disk says: the blocks that the file system
    has, each of which belongs to one entry, and what an index has room for."""

    def __init__(self, blocks: int) -> None:
        self._blocks, self._runs = blocks, _MOST_RUNS
        self._hashes, self._names = tree.MAX_INDEX, tree.MAX_ENTRIES

    def spend(self, runs: Runs) -> None:
        """They are those of an entry."""
        self._blocks -= runs.total
        self._runs -= len(runs)
        if self._blocks < 0:
            raise damaged("its files have more blocks than it has")
        if self._runs < 0:
            raise unread("its files are in more than %d places" % _MOST_RUNS)

    def hash(self, status: Inode) -> None:
        """A file is going to be hashed, holes included."""
        self._hashes -= tree.HASH * tree.blocks_of(status.st_size)
        if self._hashes < 0:
            raise RemoteError(
                "HostError",
                "the files on a disk are too large for an index",
                "inode %d has %d bytes" % (status.st_ino, status.st_size),
                "Move this data by other means.",
            )

    def list(self, count: int) -> None:
        """A folder has so many names."""
        self._names -= count
        if self._names < 0:
            raise _too_many()


def _too_many() -> RemoteError:
    why = "the disk has more than %d entries" % tree.MAX_ENTRIES
    return RemoteError("HostError", why, "of one volume", "Move this data by other means.")


class Image(Disk):
    """A file that holds an ext4 file system, open. mounts: none.

    Of a walk, `claimed` has the blocks of folders and of trees of extents that were read: each
    belongs to one entry alone.
    """

    mounts: FrozenSet[bytes] = frozenset()
    vanished = 0

    def __init__(self, path: object) -> None:
        super().__init__(path)
        self._names: "OrderedDict[int, Dict[bytes, ext4_blocks.Name]]" = OrderedDict()
        self._shared: Tuple[int, List[Tuple[bytes, bytes]]] = (0, [])

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ the tree

    def provable(self) -> bool:
        """No: times in a guest are the guest's word."""
        return False

    def walk(self) -> Image:
        """Itself: nothing vanishes."""
        return self

    def entries(self) -> Iterator[Entry]:
        """All of them, each folder before what is in it, in the order of names."""
        claimed: Set[int] = set()
        left = _Left(self.fs.blocks)
        top = self.inode(ROOT)
        if not stat.S_ISDIR(top.st_mode):
            raise damaged("its root is not a folder")
        yield Entry(b"", top, self, claimed)
        seen = {ROOT}
        self._count(top, left)
        levels = [(b"", self._sorted(top, claimed, left))]
        while levels:
            path, names = levels[-1]
            name = next(names, None)
            if name is None:
                levels.pop()
                continue
            status = self._of(name)
            if not path and self._is_lost(name, status, claimed):
                continue
            below = path + b"/" + name.name if path else name.name
            folder = stat.S_ISDIR(status.st_mode)
            if name.inode not in seen:
                self._count(status, left)
            elif folder:
                raise damaged("a folder is in two places: inode %d" % name.inode)
            elif status.st_nlink == 1 and stat.S_ISREG(status.st_mode):
                # Each of its names would be read as a file of its own.
                raise damaged("inode %d has more names than it says" % name.inode)
            seen.add(name.inode)
            yield Entry(below, status, self, claimed)
            if folder:
                check_depth(below, len(levels))
                levels.append((below, self._sorted(status, claimed, left)))

    def _count(self, status: Inode, left: _Left) -> None:
        """A file or folder that has not come before."""
        if stat.S_ISREG(status.st_mode):
            left.hash(status)
        elif not stat.S_ISDIR(status.st_mode):
            return
        left.spend(self.runs(status, set()))

    def _of(self, name: ext4_blocks.Name) -> Inode:
        status = self.inode(name.inode)
        said = _SAID.get(name.kind)
        if stat.S_IFMT(status.st_mode) not in KINDS or said != stat.S_IFMT(status.st_mode):
            raise damaged("inode %d is of another kind than its name says" % name.inode)
        return status

    def _is_lost(self, name: ext4_blocks.Name, status: Inode, claimed: Set[int]) -> bool:
        """Whether it is the empty folder that mke2fs and e2fsck make; a guest removes it."""
        made = (status.st_mode, status.st_uid, status.st_gid)
        if name.name != _LOST or made != (stat.S_IFDIR | 0o700, 0, 0):
            return False
        return not self._listed(status, set())

    @contextmanager
    def entry(self, path: bytes) -> Iterator[Entry]:
        """An entry of the tree, for a block. FileNotFoundError where there is none."""
        here = self.inode(ROOT)
        for step in tree.steps(path):
            if not stat.S_ISDIR(here.st_mode):
                raise NotADirectoryError(os.fsdecode(path))
            name = self._remembered(here).get(step)
            if name is None:
                raise FileNotFoundError(os.fsdecode(path))
            here = self._of(name)
        yield Entry(path, here, self, set())

    def _remembered(self, folder: Inode) -> Dict[bytes, ext4_blocks.Name]:
        known = self._names.get(folder.st_ino)
        if known is None:
            known = self._names[folder.st_ino] = self._listed(folder, set())
            while len(self._names) > _LISTED or self._remembers_too_many():
                self._names.popitem(last=False)
        return known

    def _remembers_too_many(self) -> bool:
        return len(self._names) > 1 and sum(map(len, self._names.values())) > tree.MAX_ENTRIES

    def _sorted(self, folder: Inode, claimed: Set[int], left: _Left) -> Iterator[ext4_blocks.Name]:
        found = self._listed(folder, claimed)
        left.list(len(found))
        return iter([found[name] for name in sorted(found)])

    def _listed(self, folder: Inode, claimed: Set[int]) -> Dict[bytes, ext4_blocks.Name]:
        """The names in a folder."""
        size = folder.st_size
        runs = self.runs(folder, claimed)
        if size > _MOST_TO_LIST or size != (runs.total - runs.unwritten) * self.fs.block:
            raise damaged("the folder of inode %d has %d bytes" % (folder.st_ino, size))
        found: Dict[bytes, ext4_blocks.Name] = {}
        dots: List[bytes] = []
        for block in runs.numbers():
            self.claim(block, claimed)
            for name in ext4_blocks.names(self.block(block), folder.seed):
                if name.name in (b".", b".."):
                    dots.append(name.name)
                elif name.name in found:
                    raise damaged("a folder has a name twice: %r" % name.name[:80])
                else:
                    found[name.name] = name
            if len(found) > tree.MAX_ENTRIES:
                raise _too_many()
        if dots != [b".", b".."]:
            raise damaged("the folder of inode %d is not one" % folder.st_ino)
        return found

    # ------------------------------------------------------------ one entry

    def attributes(self, status: Inode) -> Tuple[Tuple[bytes, bytes], ...]:
        """Those that travel, sorted by name."""
        found = ext4_blocks.attributes(status.attributes)
        if status.block:
            found += self._block_of_attributes(status.block)
        kept = sorted(pair for pair in found if tree.is_kept(pair[0]))
        if len({name for name, _ in kept}) != len(kept):
            raise damaged("inode %d has an attribute twice" % status.st_ino)
        return tuple(kept)

    def _block_of_attributes(self, number: int) -> List[Tuple[bytes, bytes]]:
        # Neighbours often share one.
        if self._shared[0] != number:
            data = self.block(number)
            found = ext4_blocks.block_of_attributes(data, number, self.fs.seed)
            self._shared = number, found
        return list(self._shared[1])

    def target(self, status: Inode, claimed: Set[int]) -> bytes:
        """Where a symlink leads."""
        size = status.st_size
        if not 0 < size <= tree.MAX_PATH:
            raise damaged("the symlink of inode %d has %d bytes" % (status.st_ino, size))
        found = status.area[:size]
        if status.by_extents or size >= _SHORT_LINK:
            found = self.content(status, claimed).block(0)
        if b"\0" in found:
            raise damaged("the symlink of inode %d leads nowhere" % status.st_ino)
        return found

    def content(self, status: Inode, claimed: Set[int]) -> OfDisk:
        """What a file has."""
        return OfDisk(self, status, self.runs(status, claimed))
