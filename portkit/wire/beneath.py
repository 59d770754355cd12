"""Files below a folder whose content somebody else may change at any time."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import AnyStr, Iterator, Optional


def quietly(place: AnyStr, flags: int, dir_fd: Optional[int] = None) -> int:
    """A descriptor by which reading and listing do not change the atime, where that may be asked
    for: open(2) refuses it on files of others to who is not root, and some file systems to all."""
    try:
        return os.open(place, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:
        return os.open(place, flags, dir_fd=dir_fd)


@contextmanager
def listing(place: AnyStr) -> Iterator[int]:
    """A folder to be listed quietly, for os.scandir() and os.listdir() within a block."""
    here = quietly(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield here
    finally:
        os.close(here)


def open_file(folder: AnyStr, name: AnyStr) -> int:
    """A descriptor of a regular file below a folder, to be read. OSError where its name leads out
    of the folder or over a link, and where it is no regular file: to open a device is to use it.

    The file is what it was when it was looked at: its name is not used again afterwards.
    """
    here = look_at(folder, name)
    try:
        if not stat.S_ISREG(os.fstat(here).st_mode):
            raise OSError("it is no regular file")
        # An O_PATH descriptor cannot be read from; this opens the very file that it stands for.
        return quietly("/proc/self/fd/%d" % here, os.O_RDONLY)
    finally:
        os.close(here)


def look_at(folder: AnyStr, name: AnyStr) -> int:
    """An O_PATH descriptor of whatever is below a folder under that name, a link itself included.
    OSError where its name leads out of the folder or over a link."""
    # Step by step from an open folder: between a check of a whole path and its use, any part of it
    # could become a link. openat2(2) with RESOLVE_BENEATH would do this in one call, but Python has
    # no function for it, and Linux has it since 5.6 only.
    steps = _steps(os.fsencode(name))
    here = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        for step in steps:
            # O_PATH opens a link itself, a device or a pipe without touching what it stands for
            # (open(2)).
            found = os.open(step, os.O_PATH | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = found
    except OSError:
        os.close(here)
        raise
    return here


def _steps(name: bytes) -> "list[bytes]":
    steps = [step for step in name.split(b"/") if step not in (b"", b".")]
    if not steps or b".." in steps:
        raise OSError("its name leads out of the folder")
    return steps
