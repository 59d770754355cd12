"""Files that only their owner reads, whatever the umask."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def create(path: Path) -> BinaryIO:
    """A new file of mode 0600, open for reading and writing; FileExistsError when it is there."""
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
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
