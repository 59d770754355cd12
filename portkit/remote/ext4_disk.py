"""A disk with an ext4 file system, open: its blocks, its inodes, and where the content of files is.

Nothing is written. What its journal has that is not in its place yet is read from there.
"""

from __future__ import annotations

import os
import stat
from typing import Dict, Iterator, Set, Tuple

from portkit.remote import ext4_blocks, ext4_journal, ext4_layout
from portkit.remote.ext4_blocks import Run
from portkit.remote.ext4_layout import ROOT, Inode, damaged, unread
from portkit.remote.ext4_runs import Runs
from portkit.wire.frames import RemoteError

_MOST_OF_A_JOURNAL = 1 << 20  # blocks; mke2fs makes at most 2^18


class Disk:
    """key: of what is remembered of it; another one once the disk has changed.

    claimed, of what reads a tree: the blocks of folders and of trees of extents that were read.
    Each belongs to one entry alone.
    """

    def __init__(self, path: object) -> None:
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise RemoteError("HostError", "the path of a disk is not absolute", repr(path)[:200])
        try:
            # A FIFO would be waited for.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise RemoteError("HostError", "the disk cannot be read", str(error)) from error
        try:
            self._open(path)
        except BaseException:
            self.close()
            raise

    def _open(self, path: str) -> None:
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RemoteError("HostError", "the disk is not a regular file", path)
        # What was hashed counts for the disk as it is now, and not when it has changed as a whole.
        self.key = b"ext4 %d %d %d %d %d" % (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        self._pending: Dict[int, Tuple[int, bool]] = {}
        head = os.pread(self.descriptor, ext4_layout.SUPERBLOCK, ext4_layout.SUPERBLOCK_AT)
        self.fs = ext4_layout.superblock(head, status.st_size)
        self._tables: Dict[int, int] = {}
        if self.fs.journal:
            self._pending = self._in_journal(self.fs.journal)
            head = self.read(ext4_layout.SUPERBLOCK_AT, ext4_layout.SUPERBLOCK)
            self.fs = ext4_layout.superblock(head, status.st_size)
            self._tables = {}

    def close(self) -> None:
        """Free what it holds open."""
        os.close(self.descriptor)

    def inode(self, number: int) -> Inode:
        """By its number: one that may have a name."""
        if number != ROOT and number < self.fs.first_inode:
            raise damaged("a name leads to inode %d" % number)
        return self._inode(number)

    def _inode(self, number: int) -> Inode:
        fs = self.fs
        if not 0 < number <= fs.inodes:
            raise damaged("there is no inode %d" % number)
        group, index = divmod(number - 1, fs.group_inodes)
        if group not in self._tables:
            at = (fs.first_block + 1) * fs.block + group * fs.descriptor
            data = self.read(at, fs.descriptor)
            self._tables[group] = ext4_layout.inode_table(fs, group, data)
        at = self._tables[group] * fs.block + index * fs.inode_size
        return ext4_layout.inode(fs, number, self.read(at, fs.inode_size))

    def runs(self, status: Inode, claimed: Set[int]) -> Runs:
        """Where its blocks are, in their order."""
        found = Runs(self.fs, status.st_ino)
        read = self._extents if status.by_extents else self._mapped
        for run in read(status, claimed):
            found.add(run)
        return found

    def _mapped(self, status: Inode, claimed: Set[int]) -> Iterator[Run]:
        """As ext3 tells them, and e2fsck those of the lost+found that it makes: twelve blocks, and
        one of blocks, one of blocks of blocks, and one level more."""
        numbers = ext4_blocks.pointers(status.area)
        pending = [(level, number) for level, number in zip([0] * 12 + [1, 2, 3], numbers)][::-1]
        each, at = self.fs.block // 4, 0
        while pending and at * self.fs.block < status.st_size:
            level, number = pending.pop()
            if not number or not level:
                if number:
                    yield Run(at, number, 1)
                at += each**level
                continue
            self.claim(number, claimed)
            below = ext4_blocks.pointers(self.block(number))
            pending += [(level - 1, one) for one in reversed(below)]

    def _extents(self, status: Inode, claimed: Set[int]) -> Iterator[Run]:
        top = ext4_blocks.node(status.area, None, None)
        pending = [(top, 0)]
        while pending:
            node, at = pending.pop()
            yield from node.runs
            if at < len(node.below):
                pending.append((node, at + 1))
                block = node.below[at][1]
                self.claim(block, claimed)
                below = ext4_blocks.node(self.block(block), status.seed, node.depth - 1)
                pending.append((below, 0))

    def _in_journal(self, number: int) -> Dict[int, Tuple[int, bool]]:
        """The blocks that are in the journal and not in their places yet: where each is, and
        whether it is escaped. It is read as it is on the disk."""
        status = self._inode(number)
        if not stat.S_ISREG(status.st_mode):
            raise damaged("its journal is not a file")
        runs = self.runs(status, set())
        if runs.total > _MOST_OF_A_JOURNAL:
            raise unread("its journal has more than %d blocks" % _MOST_OF_A_JOURNAL)
        blocks = list(runs.numbers())
        if len(set(blocks)) != len(blocks):  # else few blocks would make a journal of a million
            raise damaged("its journal has a block twice")
        found = ext4_journal.pending(lambda n: self.block(blocks[n]), len(blocks), self.fs.block)
        for place in found:
            if place >= self.fs.blocks:
                raise damaged("its journal has a block that is outside of it")
        return {n: (blocks[place.number], place.escaped) for n, place in found.items()}

    @staticmethod
    def claim(block: int, claimed: Set[int]) -> None:
        if block in claimed:
            raise damaged("block %d belongs to two entries" % block)
        claimed.add(block)

    def block(self, number: int) -> bytes:
        if not self.fs.first_block < number < self.fs.blocks:
            raise damaged("block %d is outside of it" % number)
        return self.read(number * self.fs.block, self.fs.block)

    def read(self, at: int, length: int) -> bytes:
        """So many bytes of the file system; VerifyError where its disk ends before."""
        if not self._pending:
            return self._raw(at, length)
        parts = []
        while length:
            number, within = divmod(at, self.fs.block)
            size = min(length, self.fs.block - within)
            if number in self._pending:
                place, escaped = self._pending[number]
                data = self._raw(place * self.fs.block, self.fs.block)
                data = ext4_journal.ESCAPED + data[4:] if escaped else data
                parts.append(data[within : within + size])
            else:
                parts.append(self._raw(at, size))
            at, length = at + size, length - size
        return b"".join(parts)

    def _raw(self, at: int, length: int) -> bytes:
        """So many bytes of the disk."""
        parts = []
        while length:
            data = os.pread(self.descriptor, length, at)
            if not data:
                raise damaged("its disk ends at %d" % at)
            parts.append(data)
            at, length = at + len(data), length - len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)
