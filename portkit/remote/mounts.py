"""What is mounted below a folder, and how a folder is removed that has nothing of that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import FrozenSet, List

from portkit.wire.frames import RemoteError


def below(path: bytes) -> FrozenSet[bytes]:
    """Relative paths of the mount points below a folder, whose path has no symlink."""
    prefix = path + b"/"
    return frozenset(each[len(prefix) :] for each in _all() if each.startswith(prefix))


def at_or_below(path: Path) -> List[str]:
    """The mount points of a folder: itself, and what is below it."""
    # The kernel tells places without symlinks: /var/lib/docker is often one.
    real = os.fsencode(os.path.join(os.path.realpath(str(path.parent)), path.name))
    found = [each for each in _all() if each == real or each.startswith(real + b"/")]
    return sorted({os.fsdecode(each) for each in found})


def discard(folder: Path) -> None:
    """Remove a folder; fine where there is none. ConflictError, before anything is removed, where
    something is mounted there or below: what is in it belongs to somebody else."""
    if not os.path.lexists(str(folder)):
        return
    mounted = at_or_below(folder)
    if mounted:
        raise RemoteError(
            "ConflictError",
            "a folder cannot be removed, because something is mounted in it",
            ", ".join(mounted)[:2000],
            "Unmount it (umount %s), and run the same command again." % mounted[-1],
        )
    shutil.rmtree(str(folder))  # it follows no link


def _all() -> List[bytes]:
    # proc(5), mountinfo. What another mount covers is there as well.
    with open("/proc/self/mountinfo", "rb") as file:
        return [_unescaped(line.split(b" ")[4]) for line in file]


def _unescaped(place: bytes) -> bytes:
    # Blank, tab, newline and backslash are written as three octal digits.
    first, *parts = place.split(b"\\")
    return first + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in parts)
