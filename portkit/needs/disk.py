"""What a disk file needs of the machine that is to start it.

Its headers are read here; its file systems are opened by libguestfs alone. No other file is
opened, whatever the disk names.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from portkit.errors import AppError, ConflictError
from portkit.model.disk import DiskFile, DiskFormat, Inside, Layout, Qcow2
from portkit.needs import foreign, partition_table, qcow2
from portkit.needs.inside import look
from portkit.text import printable

# By the names that people give to them. An .img is a raw disk for most, and some publish a qcow2
# under that name: then its first bytes refuse it, and --disk-format says what it is.
SUFFIXES = {
    ".qcow2": DiskFormat.QCOW2,
    ".raw": DiskFormat.RAW,
    ".img": DiskFormat.RAW,
}
_HEAD_BYTES = 2 << 20  # the largest cluster, in which a header and what it names must be
_MAX_BYTES = 1 << 53  # 8 PiB, far beyond every file system that holds such files
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux (fcntl(2))
# QEMU locks the byte 100 + N of a file for each permission N that it has on it: 1 to 3 are to
# write, to write what is there already, and to resize (block/file-posix.c, block-common.h).
_QEMU_WRITES, _QEMU_WRITES_BYTES = 101, 3


def is_disk(name: str) -> bool:
    """Whether a name on the command line is that of a disk file: neither a folder, nor an image
    whose tag ends like one."""
    path = Path(name)
    if path.suffix.lower() not in (*SUFFIXES, *foreign.SUFFIXES) or path.is_dir():
        return False
    return path.exists() or ":" not in path.name


def read(path: Path, kind: DiskFormat | None = None, *, within: bool = True) -> DiskFile:
    """Read from a disk file what it says about itself. kind: its format; without it, the file's
    name has to show it. within: also read its file systems, which takes a while.

    Raises AppError if the file cannot be read or has another format, VerifyError if it is damaged,
    and ConflictError if a VM has it open or it changes while it is read.
    """
    kind = kind or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise foreign.without_format(path)
    with _opened(path) as file:
        _refuse_in_use(path, file)
        return _read(path, file, kind, within=within)


def _read(path: Path, file: BinaryIO, kind: DiskFormat, *, within: bool) -> DiskFile:
    before = _identity(os.fstat(file.fileno()))
    found = _headers(path, file, kind)
    if found.layout is None:
        inside = Inside(unread=("its content is encrypted, stored in another file, or unknown",))
    elif within:
        inside = look(path, kind, found.layout.sector_bytes)
    else:
        inside = Inside(unread=("it was not asked for",))
    # libguestfs and its QEMU open the disk by its path, which need not be this file any more.
    try:
        after = _identity(path.stat())
    except OSError:
        after = ()
    if after != before:
        raise ConflictError(
            "the disk was changed or replaced while it was read",
            details=str(path),
            resolution="Check it again when nothing writes to it, or check a copy.",
        )
    return replace(found, inside=inside)


def _identity(told: os.stat_result) -> tuple[int, ...]:
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def _refuse_in_use(path: Path, file: BinaryIO) -> None:
    """ConflictError where a VM has the disk open and may write to it: what is read then is of no
    one moment. QEMU locks a byte for each thing that it does to a file; one that only reads, as a
    second check does, is no hindrance."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _QEMU_WRITES, _QEMU_WRITES_BYTES, 0)
    try:
        told = fcntl.fcntl(file.fileno(), fcntl.F_OFD_GETLK, asked)
    except OSError as error:
        raise AppError(
            "it cannot be determined whether a VM has the disk open",
            details=f"{path}: {error.strerror}",
            resolution="Check a copy of it on a local file system.",
        ) from error
    if _FLOCK.unpack(told)[0] != fcntl.F_UNLCK:
        raise ConflictError(
            "a VM has it open",
            details=str(path),
            resolution="Shut the VM down, or check a copy of its disk.",
        )


def _headers(path: Path, file: BinaryIO, kind: DiskFormat) -> DiskFile:
    size = os.fstat(file.fileno()).st_size
    head = file.read(_HEAD_BYTES)
    foreign.refuse(path, kind, head, _at(file, max(size - foreign.FOOTER_BYTES, 0), 8))
    if kind is DiskFormat.QCOW2:
        return _qcow2(path, file, head, size)
    return DiskFile(
        name=_name(path),
        format=kind,
        file_bytes=size,
        stored_bytes=_stored(file),
        virtual_bytes=size,
        layout=partition_table.layout(lambda at, count: _at(file, at, count), size),
    )


def _stored(file: BinaryIO) -> int:
    """What a copy without the holes takes: st_blocks counts units of 512 bytes (stat(2)), and may
    include some that a file system reserved behind the end."""
    told = os.fstat(file.fileno())
    return min(told.st_blocks * 512, told.st_size)


def _name(path: Path) -> str:
    return printable(path.name, 200)


def _qcow2(path: Path, file: BinaryIO, head: bytes, size: int) -> DiskFile:
    told = qcow2.header(head, size)
    return DiskFile(
        name=_name(path),
        format=DiskFormat.QCOW2,
        file_bytes=size,
        stored_bytes=_stored(file),
        virtual_bytes=told.virtual_bytes,
        qcow2=told,
        layout=_content(file, told, size),
    )


def _content(file: BinaryIO, told: Qcow2, size: int) -> Layout | None:
    """Of a disk whose content is all in this file, and is written in a way that is known here."""
    known = all(bit <= qcow2.EXTENDED_L2 for bit in told.incompatible)
    if told.backing or told.data_file or told.encryption or not known:
        return None
    clusters = qcow2.Clusters(file, told, size)
    clusters.check_whole()
    return partition_table.layout(clusters.read, told.virtual_bytes)


def _opened(path: Path) -> BinaryIO:
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AppError(
            "the disk cannot be read",
            details=f"{path}: {error.strerror}",
            resolution="Name a disk file that this user may read.",
        ) from error
    mode = os.fstat(descriptor)
    if not stat.S_ISREG(mode.st_mode) or not 0 < mode.st_size <= _MAX_BYTES:
        os.close(descriptor)
        raise AppError(
            "this is not a disk file",
            details=f"{path}: it is empty, or not a regular file",
            resolution="Name a file that contains a disk. The content of a device can be copied "
            "into a file.",
        )
    return os.fdopen(descriptor, "rb")


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset > _MAX_BYTES:  # what a table names may be no place in any file
        return b""
    file.seek(offset)
    return file.read(length)
