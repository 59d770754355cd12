"""The fixed records of an ext4 file system: superblock, descriptors of groups, inodes. Pure.

All of it is somebody's word. What is damaged, or is something that is not read here, is an error.
Source: Linux, Documentation/filesystems/ext4; fs/ext4/ext4.h.
"""

from __future__ import annotations

import stat
import struct
from typing import NamedTuple, Optional, Tuple

from portkit.remote import crc32c
from portkit.wire.frames import RemoteError

SUPERBLOCK, SUPERBLOCK_AT = 1024, 1024
ROOT = 2
_MAGIC = 0xEF53
_VALID, _ERRORS = 1, 2  # s_state
_RECOVER = 0x4
_64BIT = 0x80
_CHECKSUM_SEED = 0x2000
# Each with its name in ext4(5), for the error.
_READ = {0x2: "filetype", 0x40: "extent", _64BIT: "64bit", 0x200: "flex_bg"}
_READ.update({0x400: "ea_inode", _CHECKSUM_SEED: "metadata_csum_seed", 0x4000: "large_dir"})
_NEEDED = 0x2
_UNREAD = {0x1: "compression", 0x8: "journal_dev", 0x10: "meta_bg", 0x100: "mmp"}
_UNREAD.update({0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold"})
_CLUSTERS = 0x200  # bigalloc
_GROUP_CHECKSUMS, _METADATA_CHECKSUMS = 0x10, 0x400  # gdt_csum, metadata_csum
_INODES_UNUSED = 1  # bg_flags
_LARGEST_BLOCK = 6  # 64 KiB
_IN_BLOCKS, _EXTENTS = 0x40000, 0x80000  # i_flags: how i_blocks counts; how the blocks are told
_ENCRYPTED, _VALUE, _INLINE = 0x800, 0x200000, 0x10000000
_KNOWN_FIELDS = 32  # bytes behind the first 128 that Linux has fields for
_SECOND = 10**9


def damaged(what: str) -> RemoteError:
    """The file system is not as ext4 has to be."""
    return RemoteError(
        "VerifyError",
        "the file system of a disk is damaged",
        what,
        "Nothing was changed. Check a copy of the disk: e2fsck -f COPY.",
    )


def unread(what: str) -> RemoteError:
    """It may be sound, but portkit has made no such file system and does not read it."""
    return RemoteError(
        "VerifyError",
        "the file system of a disk has a feature that portkit cannot read",
        what,
        "portkit did not make it like that. Move the data by other means, or move the VM as a "
        "disk.",
    )


def unclean(what: str) -> RemoteError:
    """What is on the disk is not yet what was written."""
    return RemoteError(
        "ConflictError",
        "the file system of a disk has errors or is in use",
        what,
        "Start the VM, stop it with portkit stop, and try again. If it cannot start, run e2fsck "
        "-f on a copy of the disk.",
    )


class Superblock(NamedTuple):
    """block: bytes. group_blocks, group_inodes: of each group. journal: its inode, where blocks
    of it are not in their places yet; else 0. seed: of all checksums; None where the metadata has
    none. marks: whether groups say that they have no inodes.

    Files that were deleted while they were open (orphans) have no name, and what is to be cut off
    of a file is behind its end: they do not matter to who reads.
    """

    block: int
    blocks: int
    first_block: int
    group_blocks: int
    group_inodes: int
    inodes: int
    inode_size: int
    descriptor: int
    first_inode: int
    journal: int
    seed: Optional[int]
    marks: bool

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first_block) // self.group_blocks)

    @property
    def checked(self) -> bool:
        """Whether metadata has checksums."""
        return self.seed is not None


def superblock(data: bytes, size: int) -> Superblock:
    """From the 1024 bytes at 1024 of a disk of that size."""
    if len(data) != SUPERBLOCK or _u16(data, 56) != _MAGIC:
        raise unread("there is no ext4 file system")
    compat_free = _u32(data, 100)
    incompat = _u32(data, 96)
    checked = bool(compat_free & _METADATA_CHECKSUMS)
    if checked and crc32c.extend(crc32c.SEED, data[:1020]) != _u32(data, 1020):
        raise damaged("its superblock has another checksum than it says")
    _require_known(incompat)
    if compat_free & _CLUSTERS:
        raise unread("features: bigalloc")
    if incompat & _RECOVER and not _u32(data, 224):
        raise unclean("it has a journal on another disk, to be replayed")
    _require_clean(data)
    log, wide = _u32(data, 24), bool(incompat & _64BIT)
    if log > _LARGEST_BLOCK or _u32(data, 76) < 1:
        raise damaged("blocks of 2^%d KiB, revision %d" % (log, _u32(data, 76)))
    seed = crc32c.extend(crc32c.SEED, data[104:120])
    if incompat & _CHECKSUM_SEED:
        seed = _u32(data, 0x270)
    found = Superblock(
        block=1024 << log,
        blocks=_u32(data, 4) | (_u32(data, 0x150) << 32 if wide else 0),
        first_block=_u32(data, 20),
        group_blocks=_u32(data, 32),
        group_inodes=_u32(data, 40),
        inodes=_u32(data, 0),
        inode_size=_u16(data, 88),
        descriptor=_u16(data, 254) if wide else 32,
        first_inode=_u32(data, 84),
        journal=_u32(data, 224) if incompat & _RECOVER else 0,
        seed=seed if checked else None,
        marks=bool(compat_free & (_GROUP_CHECKSUMS | _METADATA_CHECKSUMS)),
    )
    _require_sane(found, size)
    return found


def _require_known(incompat: int) -> None:
    odd = incompat & ~(sum(_READ) | _RECOVER)
    if odd:
        names = [name for bit, name in _UNREAD.items() if odd & bit]
        raise unread("features: %s (0x%x)" % (", ".join(names) or "unknown ones", odd))
    if incompat & _NEEDED != _NEEDED:
        raise unread("it lacks a feature that ext4 has: filetype")


def _require_clean(data: bytes) -> None:
    state = _u16(data, 58)
    if state & _ERRORS or not state & _VALID:
        raise unclean("its state says that it has errors or is in use (state %d)" % state)


def _require_sane(found: Superblock, size: int) -> None:
    if found.blocks * found.block > size:
        raise damaged("it has %d bytes, and its disk has %d" % (found.blocks * found.block, size))
    fits = (
        found.first_block == (1 if found.block == 1024 else 0)
        and found.blocks > found.first_block
        and 0 < found.group_blocks <= 8 * found.block
        and 0 < found.group_inodes <= 8 * found.block
        and found.inodes == found.groups * found.group_inodes
        and 128 <= found.inode_size <= found.block
        and _is_power(found.inode_size)
        and 32 <= found.descriptor <= found.block
        and _is_power(found.descriptor)
        and found.first_inode > ROOT
    )
    if not fits:
        raise damaged("the sizes in its superblock do not fit together")


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def inode_table(fs: Superblock, group: int, data: bytes) -> int:
    """The first block of a group's inodes, by its descriptor."""
    if fs.seed is not None:
        total = crc32c.extend(fs.seed, struct.pack("<I", group))
        total = crc32c.extend(total, data[:30] + b"\0\0" + data[32:])
        if total & 0xFFFF != _u16(data, 30):
            raise damaged("the descriptor of group %d has another checksum than it says" % group)
    # Without checksums of groups a kernel does not look at these bits.
    if fs.marks and _u16(data, 18) & _INODES_UNUSED:
        raise damaged("a name leads to an inode of group %d, which has none" % group)
    first = _u32(data, 8) | (_u32(data, 40) << 32 if fs.descriptor >= 64 else 0)
    count = -(-fs.group_inodes * fs.inode_size // fs.block)
    if not fs.first_block < first <= fs.blocks - count:
        raise damaged("the inodes of group %d are outside of the file system" % group)
    return first


class Inode(NamedTuple):
    """An inode with names as stat(2) has them. seed: of the checksums of what it has. area: what
    says where its content is, or its content. attributes: of those behind its fields. block: of the
    others, 0 where there is none."""

    st_ino: int
    st_mode: int
    st_uid: int
    st_gid: int
    st_nlink: int
    st_size: int
    st_blocks: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_dev: int
    flags: int
    seed: Optional[int]
    area: bytes
    attributes: bytes
    block: int

    @property
    def by_extents(self) -> bool:
        return bool(self.flags & _EXTENTS)

    @property
    def st_rdev(self) -> int:
        """Of a device node: the short form, or the long one beside it."""
        short, long = _u32(self.area, 0), _u32(self.area, 4)
        major, minor = short >> 8 & 0xFF, short & 0xFF
        if not short:
            major, minor = long >> 8 & 0xFFF, long & 0xFF | long >> 12 & 0xFFF00
        # As makedev(3) has it.
        low = (major & 0xFFF) << 8 | minor & 0xFF
        return low | (major & ~0xFFF) << 32 | (minor & ~0xFF) << 12


def inode(fs: Superblock, number: int, data: bytes) -> Inode:
    """One that a name leads to."""
    extra = _u16(data, 128) if len(data) > 128 else 0
    if extra & 3 or 128 + extra > max(len(data), 128):
        raise damaged("inode %d has fields of %d bytes" % (number, extra))
    seed = _sealed(fs, number, data, extra)
    attributes = data[128 + extra :] if extra else b""
    if len(data) > 128 and not extra:
        # So it is in a file system whose inodes were 128 bytes once. Linux takes the fields that it
        # knows as there, and nothing behind them (ext4_iget).
        extra = min(_KNOWN_FIELDS, len(data) - 128)
    mode, links = _u16(data, 0), _u16(data, 26)
    if not links or not mode:
        raise damaged("a name leads to inode %d, which is free" % number)
    flags = _u32(data, 32)
    if flags & (_ENCRYPTED | _INLINE):
        raise unread("inode %d is encrypted or has its content in itself" % number)
    if flags & _VALUE:
        raise damaged("a name leads to inode %d, which holds an attribute" % number)
    size = _u32(data, 4)
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        size |= _u32(data, 108) << 32
    blocks = _u32(data, 28) | _u16(data, 116) << 32
    return Inode(
        st_ino=number,
        st_mode=mode,
        st_uid=_u16(data, 2) | _u16(data, 120) << 16,
        st_gid=_u16(data, 24) | _u16(data, 122) << 16,
        st_nlink=links,
        st_size=size,
        st_blocks=blocks * (fs.block // 512) if flags & _IN_BLOCKS else blocks,
        st_mtime_ns=_time(number, data, 16, 136, extra),
        st_ctime_ns=_time(number, data, 12, 132, extra),
        st_dev=0,
        flags=flags,
        seed=seed,
        area=data[40:100],
        attributes=attributes,
        block=_u32(data, 104) | _u16(data, 118) << 32,
    )


def _sealed(fs: Superblock, number: int, data: bytes, extra: int) -> Optional[int]:
    """The seed of what the inode has, its own checksum verified."""
    if fs.seed is None:
        return None
    seed = crc32c.extend(fs.seed, struct.pack("<I", number) + data[100:104])
    plain = bytearray(data)
    plain[124:126] = b"\0\0"
    said, bits = _u16(data, 124), 0xFFFF
    if extra >= 4:
        plain[130:132] = b"\0\0"
        said, bits = said | _u16(data, 130) << 16, 0xFFFFFFFF
    if crc32c.extend(seed, bytes(plain)) & bits != said:
        raise damaged("inode %d has another checksum than it says" % number)
    return seed


def _time(number: int, data: bytes, low: int, high: int, extra: int) -> int:
    """In nanoseconds. high: of the bits 32 and 33 of the seconds, and of the nanoseconds."""
    seconds: int = int.from_bytes(data[low : low + 4], "little", signed=True)
    more = _u32(data, high) if high + 4 <= 128 + extra else 0
    # A kernel reads a second of more nanoseconds than there are, too; no file can be given one.
    rest = min(more >> 2, _SECOND - 1)
    time_ns = (seconds + ((more & 3) << 32)) * _SECOND + rest
    if time_ns >= 1 << 63:  # ext4 has room up to 2446
        raise unread("inode %d was changed after the year 2262" % number)
    return time_ns


def halves(data: bytes, at: int) -> Tuple[int, int]:
    """Two numbers of 16 bits."""
    return _u16(data, at), _u16(data, at + 2)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
