"""Whether blobs are what their names say: each is hashed before its first use in a process.

A file that has not changed since, by inode, size and times, is not read again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from portkit.wire.sparse import hash_sparse

log = logging.getLogger("portkit.store")

_Seen = tuple[int, int, int, int, int]
# By path, for this process: another one hashes a blob again, as the disk may have damaged it since.
_sound: dict[Path, _Seen] = {}


def trust(path: Path) -> None:
    """It was hashed while it was written, or just now."""
    _sound[path] = _seen(path)


def is_sound(path: Path) -> bool:
    """Whether a blob is there with the content that it is named by; a damaged one is removed."""
    try:
        seen = _seen(path)
        if _sound.get(path) == seen:
            return True
        digest = hash_sparse(path)
        if digest == path.name:
            _sound[path] = seen
            return True
        if _seen(path) == seen:  # else somebody has just replaced it
            path.unlink()
            log.warning("a blob in the Store was damaged and has been removed: %s", path)
    except FileNotFoundError:
        return False
    return False


def _seen(path: Path) -> _Seen:
    found: os.stat_result = path.stat()
    # ctime changes with every write and cannot be set back by utimensat(2), as mtime can.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
