"""A recipe as one compressed stream that can be sent again from any byte.

What was made is kept in a file until it has arrived; the stream ends with the sha256 of its
compressed bytes (docs: portkit/remote/parts.py).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from portkit.transfer.price import Packing

_CHUNK = 1 << 20
_PIECE = 1 << 18  # of compressed bytes: progress is told this often
_JOB = 4 << 20  # with zstd's own choice each thread holds hundreds of MB


class Packer(Protocol):
    """What makes a compressed stream: zlib's and zstandard's objects are such."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Raw:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def packer(how: Packing) -> Packer:
    """Compresses a stream; equal input gives equal output."""
    if how.encoding == "zlib":
        return zlib.compressobj(how.level)
    if how.encoding == "raw":
        return _Raw()
    import zstandard

    wanted: dict[str, int | bool] = {}
    # Long distance matching finds what the usual matcher of a low level cannot remember: a library
    # that is in two layers, for example.
    if how.window:
        wanted |= {"window_log": how.window, "enable_ldm": True}
    if how.threads:
        wanted |= {"threads": how.threads, "job_size": _JOB}
    told = zstandard.ZstdCompressionParameters.from_level(how.level, **wanted)
    return zstandard.ZstdCompressor(compression_params=told).compressobj()


class Stream:
    """The compressed bytes of `pieces`, made as they are read. `close` removes the file.

    again: told how much of the recipe went in, until it says how to go on; when that is otherwise
    than before, what follows is a second zstd frame. eaten: bytes of the recipe that went in so
    far. made: compressed bytes that came out.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        how: Packing,
        folder: Path,
        again: Callable[[int], Packing | None] | None = None,
    ) -> None:
        self._pieces = pieces
        self.how = how
        self._again = again if how.encoding == "zstd" else None
        self._packer = packer(how)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._hash = hashlib.sha256()
        self._ended = False
        self.eaten = 0
        self.made = 0

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self) -> bool:
        """A little more of the stream, in the file; False at its end."""
        if self._ended:
            return False
        parts, length = [], 0
        for piece in self._pieces:
            parts.append(piece)
            length += len(piece)
            if length >= _CHUNK:
                break
        else:
            self._ended = True
        # Always the same amounts: what comes out of a compressor may depend on how it is fed, and a
        # stream that is made again after a cut has to have the same bytes.
        data = self._packer.compress(b"".join(parts))
        self.eaten += length
        how = None
        if self._again is not None and not self._ended:
            how = self._again(self.eaten)
        if how is not None:
            self._again = None
        # A decoder reads one zstd frame after the other as one stream (zstd_compression_format.md,
        # "Frame concatenation").
        if self._ended or how not in (None, self.how):
            data += self._packer.flush()
        if how is not None and how != self.how:
            self.how, self._packer = how, packer(how)
        self._hash.update(data)
        if self._ended:
            # zstd's own checksum has 32 bits and is optional. This one tells the host that all has
            # come, and that what was kept over a cut belongs to what came afterwards.
            data += self._hash.digest()
        self._file.seek(self.made)
        self._file.write(data)
        self._file.flush()
        self.made += len(data)
        return True

    def read(self, offset: int = 0) -> Iterator[bytes]:
        """The bytes from `offset` on; again if they were read before."""
        while True:
            while offset >= self.made:
                if not self._make():
                    return
            data = os.pread(self._file.fileno(), _PIECE, offset)
            yield data
            offset += len(data)

    def starts_with(self, size: int, sha256: str) -> bool:
        """Whether these are its first `size` bytes; makes them where need be."""
        while self.made < size:
            if not self._make():
                return False
        total, at = hashlib.sha256(), 0
        while at < size:
            data = os.pread(self._file.fileno(), min(_CHUNK, size - at), at)
            total.update(data)
            at += len(data)
        return total.hexdigest() == sha256
