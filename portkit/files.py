"""Files and folders that only their owner reads, whatever the umask; and the reading of files whose
place others may have chosen."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from portkit.errors import PortkitError

# Their files are regular ones for stat(2), but reading them can block for ever (/proc/kmsg), have
# effects, or show the secrets of other processes.
_KERNEL = (Path("/proc"), Path("/sys"))


def create(path: Path) -> BinaryIO:
    """A new file of mode 0600, open for reading and writing; FileExistsError when it is there."""
    # O_EXCL: what is there already, such as a link that somebody planted, is never opened.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # a umask may have taken more away
    return os.fdopen(descriptor, "w+b")


def write(path: Path, data: bytes) -> None:
    """A new file of mode 0600 with that content."""
    with create(path) as file:
        file.write(data)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and synced; what had the name before is
    replaced. Nothing is left when the block fails."""
    fresh = path.with_name(f".{secrets.token_hex(16)}")
    try:
        with create(fresh) as file:
            yield file
            file.flush()
            # Before the rename: a file system may write the name earlier than the content, and a
            # power cut in between would leave an empty file under it.
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def content(path: Path, limit: int) -> bytes:
    """The content of a regular file, whose path is resolved; OSError when it cannot be opened.

    ValueError when it is something else, belongs to the kernel, or has over `limit` bytes.
    """
    if any(path.is_relative_to(folder) for folder in _KERNEL):
        raise ValueError(f"{str(path)[:200]} belongs to the kernel and is not read")
    # Without O_NONBLOCK, opening a FIFO waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{str(path)[:200]} is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{str(path)[:200]} has more than {limit} bytes")
    return data


def private_folder(folder: Path, *, setting: str) -> None:
    """Make a folder of mode 0700, or give that mode to the one that is there.

    setting: the environment variable that chooses the folder, for the error. Raises PortkitError
    when the folder is another user's, who could plant something in it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A link is followed if it is ours: people put a Store on a larger disk that way. Both it
        # and what it leads to are looked at, since in /tmp anybody can make a link of that name.
        link, found = folder.lstat(), folder.stat()
    except FileExistsError:
        raise _untrusted(folder, "it is not a folder", setting) from None
    for owner in {link.st_uid, found.st_uid} - {os.geteuid()}:
        raise _untrusted(folder, f"it belongs to user {owner}", setting)
    if stat.S_IMODE(found.st_mode) != 0o700:  # also when the umask took something away
        folder.chmod(0o700)


def _untrusted(folder: Path, why: str, setting: str) -> PortkitError:
    return PortkitError(
        "a private folder cannot be trusted",
        details=f"{folder}: {why}",
        resolution=f"Set {setting} to a folder of your own.",
    )
