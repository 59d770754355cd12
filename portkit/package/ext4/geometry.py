"""Where in a file system its own tables are. Pure.

Groups of 32,768 blocks, as always with blocks of 4 KiB. All tables lie at the front, one kind
behind the other ("flex_bg"): behind them there is nothing but the files. Copies of the superblock
and of the descriptors stand where every ext4 has them, in the groups 1 and the powers of 3, 5, 7.
Source: Linux, Documentation/filesystems/ext4/blockgroup.rst.
"""

from __future__ import annotations

from dataclasses import dataclass

from portkit.package.ext4.extents import BLOCK

GROUP = 8 * BLOCK  # blocks: one block of bits says which are used
INODE = 256
DESCRIPTOR = 64
_LEAST = 64  # blocks that make a last, partial group worth having
_FEWEST_INODES, _STEP = 65536, 16384
_BLOCKS_PER_INODE = 8


@dataclass(frozen=True)
class Geometry:
    """blocks: of the whole file system. inodes: of each group. journal: its blocks."""

    blocks: int
    inodes: int
    journal: int

    @property
    def groups(self) -> int:
        return -(-self.blocks // GROUP)

    @property
    def descriptors(self) -> int:
        """Blocks of the descriptors of all groups."""
        return -(-self.groups * DESCRIPTOR // BLOCK)

    @property
    def table(self) -> int:
        """Blocks of one group's inodes."""
        return self.inodes * INODE // BLOCK

    def first(self, group: int) -> int:
        return group * GROUP

    def size(self, group: int) -> int:
        """Blocks of that group; the last one may be shorter."""
        return min(GROUP, self.blocks - group * GROUP)

    def copies(self) -> list[int]:
        """Groups that begin with a superblock and all descriptors, the first one included."""
        found = {0, 1}
        for base in (3, 5, 7):
            power = base
            while power < self.groups:
                found.add(power)
                power *= base
        return sorted(group for group in found if group < self.groups)


def geometry(size: int, entries: int) -> Geometry:
    """Of a file system of that many bytes, for so many files and directories and at least as many
    new ones. ValueError when that is not possible."""
    blocks = size // BLOCK
    groups = -(-blocks // GROUP)
    descriptors = -(-groups * DESCRIPTOR // BLOCK)
    if groups > 1 and blocks % GROUP and blocks % GROUP < descriptors + _LEAST:
        groups, blocks = groups - 1, blocks - blocks % GROUP
    # In big steps: one more file must not move what is behind the tables.
    wanted = max(-(-2 * entries // _STEP) * _STEP, _FEWEST_INODES, blocks // _BLOCKS_PER_INODE)
    # Of a multiple of 8 the bits end with a byte, of one of 16 the inodes with a block.
    each = min(-(-wanted // (16 * groups)) * 16, GROUP) if groups else 0
    if groups * each < entries + 128:
        raise ValueError("there is no room for that many inodes")
    return Geometry(blocks, each, _journal(blocks))


def _journal(blocks: int) -> int:
    """As mke2fs has it, up to 64 MiB (e2fsprogs 1.47, lib/ext2fs/mkjournal.c)."""
    for most, size in ((GROUP, 1024), (8 * GROUP, 4096), (16 * GROUP, 8192)):
        if blocks < most:
            return size
    return 16384
