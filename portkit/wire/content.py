"""Content that is read at any offset: a file, or what is put together from several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Protocol

_CHUNK = 1 << 20


class Content(Protocol):
    """Bytes of a known size. `pread` returns at least one byte, and none only at the end."""

    size: int

    def pread(self, length: int, offset: int) -> bytes:
        """At most `length` bytes from `offset` on."""

    def close(self) -> None:
        """Free what it holds open."""


class Plain:
    """A file as Content."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(str(path), os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def pread(self, length: int, offset: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        os.close(self._descriptor)


def pieces(content: Content) -> Iterator[bytes]:
    """All of it; OSError when it became shorter."""
    done = 0
    while done < content.size:
        data = content.pread(_CHUNK, done)
        if not data:
            raise OSError("content became shorter while it was read")
        yield data
        done += len(data)
