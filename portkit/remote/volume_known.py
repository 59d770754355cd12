"""What was hashed of a folder before, and when it may be believed.

Equal times prove little by themselves. A program that stores through mmap(2) changes the times with
its first store to a page, and no more until that page was written to the disk; a clock's tick may
hold two writes; a program may be within a write(2) that began before. So a hash is *proven* only
where the file was read in a scan that had all pages written to the disk before (syncfs(2)), and its
ctime, which no program can set, is older than the beginning of that. Whatever is stored later into
such a file changes its ctime.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Dict, NamedTuple, Optional, Set, Tuple

from portkit.remote.volume_content import Status

# File systems that are known to write-protect a page when it is written to the disk, and to set
# ctime with the next store (statfs(2), linux/magic.h): ext2 to ext4, XFS, btrfs. tmpfs does not:
# a store through mmap(2) changes no time there (seen with Linux 6.18). Network file systems have
# the times of another machine.
_KEEPS_CTIME = frozenset((0xEF53, 0x58465342, 0x9123683E))
LIBC = ctypes.CDLL(None, use_errno=True)
_STATFS = 256  # bytes; struct statfs has at most 120

# What is believed of a file that has the size and the times that it had: its times; only what is
# proven; nothing.
TIMES, PROOF, NOTHING = "times", "proof", "nothing"


class _Hashed(NamedTuple):
    size: int
    mtime_ns: int
    ctime_ns: int
    hashes: bytes
    proven: bool


_KNOWN: Dict[bytes, Dict[Tuple[int, int], _Hashed]] = {}


class Known:
    """The hashes of a folder's files as this process has seen them, by inode. A file that has
    another size or another time is another file.

    trust: TIMES, PROOF or NOTHING, of what `recall` gives back. remembered: bytes of the files that
    it gave back something for. since_ns: before which a file's ctime has to be for that what is
    kept now is proven; None where nothing is.
    """

    def __init__(self, key: bytes, trust: str = TIMES, since_ns: Optional[int] = None) -> None:
        if trust not in (TIMES, PROOF, NOTHING):
            raise ValueError("a trust that there is not: %r" % trust)
        if trust == NOTHING:
            _KNOWN.pop(key, None)
        self._rows = _KNOWN.setdefault(key, {})
        self._proof = trust == PROOF
        self._since_ns = since_ns
        self.remembered = 0

    def recall(self, status: Status) -> Optional[bytes]:
        """A file's hashes, where it is as it was."""
        row = self._rows.get((status.st_dev, status.st_ino))
        if row is None or row[:3] != (status.st_size, status.st_mtime_ns, status.st_ctime_ns):
            return None
        if self._proof and not row.proven:
            return None
        self.remembered += status.st_size
        return row.hashes

    def keep(self, status: Status, hashes: bytes) -> None:
        """Remember the hashes of a file that is now like that."""
        size, mtime_ns, ctime_ns = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        proven = self._since_ns is not None and ctime_ns < self._since_ns
        row = _Hashed(size, mtime_ns, ctime_ns, hashes, proven)
        self._rows[status.st_dev, status.st_ino] = row

    def only(self, inodes: Set[Tuple[int, int]]) -> None:
        """Forget all other files: they are gone."""
        for gone in set(self._rows) - inodes:
            del self._rows[gone]


def begin_proof(descriptor: int, margin_ms: int) -> int:
    """Have all that was stored before written to the disk; the time, in nanoseconds, before which
    a file's ctime has to be: so long before this call."""
    began = time.time_ns() - margin_ms * 1_000_000
    sync(descriptor)
    return began


def sync(descriptor: int) -> None:
    """Write the whole file system to the disk: a volume has too many files for fsync(2) of each."""
    call = getattr(LIBC, "syncfs", None)
    if call is None:
        os.sync()
    elif call(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def keeps_ctime(descriptor: int) -> bool:
    """Whether the file system changes a file's ctime with its content, so that it can prove that
    there was no change."""
    answer = ctypes.create_string_buffer(_STATFS)
    if LIBC.fstatfs(descriptor, answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # Its first field is a long: the type.
    word = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(answer.raw[:word], sys.byteorder) & 0xFFFFFFFF in _KEEPS_CTIME
