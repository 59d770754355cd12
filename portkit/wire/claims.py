"""Temporary folders whose owner is known: whoever holds the folder's flock(2).

The kernel drops the lock with its process, however that ends. A folder whose lock is free has no
owner any more and may be removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from pathlib import Path
from typing import Optional, Tuple

_NAME_BYTES = 5


def new_name() -> str:
    """A short name that nobody can predict."""
    return secrets.token_hex(_NAME_BYTES)


def make(base: Path) -> Tuple[Path, int]:
    """A new folder below `base`, 0700, and the descriptor that holds its lock."""
    while True:
        path = base / new_name()
        path.mkdir(mode=0o700)
        # Between mkdir and flock somebody's sweep may see a folder without an owner and remove it:
        # then make another.
        lock = take(path)
        if lock is not None:
            return path, lock
        with contextlib.suppress(OSError):  # somebody looked at it, or removed it, before
            path.rmdir()


def take(path: Path) -> Optional[int]:
    """A descriptor that holds the folder's lock, closed on exec; None when somebody else holds
    it, or when it is no folder or gone."""
    try:
        lock = os.open(str(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    held = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The folder may have been removed, and another made of that name, between open and flock.
        held = os.path.samestat(os.fstat(lock), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        held = False
    finally:
        if not held:
            os.close(lock)
    return lock if held else None


def is_held(path: Path) -> bool:
    """Whether a folder's owner is still there."""
    lock = take(path)
    if lock is None:
        return path.is_dir() and not path.is_symlink()
    os.close(lock)
    return False
