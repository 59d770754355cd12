"""Files with holes: where their data is, their sha256, copies that keep the holes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Union

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each run of data, in order; source: lseek(2), SEEK_DATA/SEEK_HOLE."""
    size = os.fstat(descriptor).st_size
    position = 0
    while position < size:
        try:
            # A file system that knows no holes answers that all is data; the result is right in any
            # case.
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            position = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            # Nothing but a hole from here on; or the file was cut off meanwhile.
            if error.errno == errno.ENXIO:
                return
            raise
        yield start, position - start


def hash_sparse(path: Path) -> str:
    """sha256 (hex) of the whole content; holes count as the zeros they read as."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        descriptor = file.fileno()
        done = 0
        for start, length in extents(descriptor):
            # Hashing zeros from memory is faster than reading a hole, and a disk is mostly hole.
            _zeros(total, start - done)
            for chunk in _read(descriptor, start, length):
                total.update(chunk)
            done = start + length
        _zeros(total, os.fstat(descriptor).st_size - done)
    return total.hexdigest()


def _zeros(total: hashlib._Hash, count: int) -> None:
    while count > 0:
        total.update(_ZEROS[: min(count, _CHUNK)])
        count -= _CHUNK


def _read(descriptor: int, start: int, length: int) -> Iterator[bytes]:
    while length > 0:
        chunk = os.pread(descriptor, min(length, _CHUNK), start)
        if not chunk:
            raise OSError(errno.EIO, "a file became shorter while it was read")
        yield chunk
        start += len(chunk)
        length -= len(chunk)


def write_at(descriptor: int, data: Union[bytes, memoryview], position: int) -> None:
    """Write all of it there: pwrite(2) may write less than it was given, for example at the end of
    a disk."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, position)
        position += count
        view = view[count:]


def copy_data(source: int, target: int, place: int = 0) -> None:
    """Copy what of a file is no hole to the same offsets of another one, counted from `place`."""
    for start, length in extents(source):
        for chunk in _read(source, start, length):
            write_at(target, chunk, place + start)
            start += len(chunk)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy to a new file of mode 0600; holes stay holes. An existing target is an error."""
    with source.open("rb") as file:
        out = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.fchmod(out, 0o600)  # whatever the umask took away
            # The size first: a hole at the end is otherwise lost, as nothing is written there.
            os.ftruncate(out, os.fstat(file.fileno()).st_size)
            copy_data(file.fileno(), out)
        finally:
            os.close(out)
