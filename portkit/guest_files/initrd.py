"""The files in an initrd: archives one after the other, each compressed or not.

Source: Linux, driver-api/early-userspace/buffer-format.rst and lib/decompress.c; the legacy frames
of LZ4 (lz4, doc/lz4_Frame_format.md). What is not needed of the content is not kept.
"""

from __future__ import annotations

import bz2
import ctypes
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from portkit.wire.codec import Decompressor

_HEADER, _TRAILER = 110, "TRAILER!!!"
_MAGICS = (b"070701", b"070702")
_MOST_NAMES, _NAME_BYTES, _TEXT_BYTES = 100_000, 4096, 64 << 10
_MOST_BYTES = 2 << 30  # of all archives together, after decompression
_PIECE = 1 << 20
_LZ4, _LZ4_BLOCK = b"\x02\x21\x4c\x18", 8 << 20
_ERRORS = (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError)


class Listed(NamedTuple):
    """names: as in the archives, without a leading "./". texts: of the files that were asked for.
    why: what could not be read; "" where all of it was."""

    names: list[str]
    texts: dict[str, str]
    why: str = ""


class _Bytes:
    """Bytes that come in pieces; `seen` of them were taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._piece, self._at, self.seen = pieces, b"", 0, 0

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        while len(self._piece) - self._at < count and (piece := next(self._pieces, b"")):
            self._piece, self._at = self._piece[self._at :] + piece, 0
        return self._piece[self._at : self._at + count]

    def take(self, count: int) -> bytes:
        """The same, and they are gone."""
        found = self.peek(count)
        self._at, self.seen = self._at + len(found), self.seen + len(found)
        if self.seen > _MOST_BYTES:
            raise ValueError("it is larger than an initrd can be")
        return found

    def skip(self, count: int) -> None:
        """Take bytes, and keep none."""
        while count > 0 and (piece := self.take(min(count, _PIECE))):
            count -= len(piece)

    def rest(self) -> Iterator[bytes]:
        """All that is left."""
        while piece := self.take(_PIECE):
            yield piece


def listed(data: Iterator[bytes], wanted: re.Pattern[str]) -> Listed:
    """What is in an initrd. data: its pieces. wanted: the names whose texts to
    keep."""
    found = Listed([], {})
    try:
        _segments(_Bytes(data), found, wanted)
    except _ERRORS as error:
        return found._replace(why=str(error)[:200] or type(error).__name__)
    return found


def _segments(source: _Bytes, found: Listed, wanted: re.Pattern[str]) -> None:
    while head := source.peek(6):
        if head[:1] == b"\0":  # padding
            source.skip(4 if not any(head[:4]) else 1)
        elif head in _MAGICS:
            _entry(source, found, wanted)
        else:  # it reaches to the end: what a compressed archive has in it may be several
            _segments(_Bytes(_opened(head, source)), found, wanted)


def _entry(source: _Bytes, found: Listed, wanted: re.Pattern[str]) -> None:
    begin = source.seen
    header = source.take(_HEADER)
    if len(header) < _HEADER:
        raise ValueError("an archive is cut off")
    size, name_bytes = int(header[54:62], 16), int(header[94:102], 16)
    if not 0 < name_bytes <= _NAME_BYTES or len(found.names) >= _MOST_NAMES:
        raise ValueError("an archive with too many or too long names")
    name = source.take(name_bytes).rstrip(b"\0").decode("utf-8", "replace").removeprefix("./")
    source.skip((begin - source.seen) % 4)
    end = source.seen + size
    if wanted.fullmatch(name) and size <= _TEXT_BYTES:
        found.texts[name] = source.take(size).decode("utf-8", "replace")
    else:
        source.skip(size)
    if source.seen < end:
        raise ValueError("an archive is cut off")
    source.skip((begin - source.seen) % 4)
    if name != _TRAILER:
        found.names.append(name)


def _opened(head: bytes, source: _Bytes) -> Iterator[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return _inflated(source)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(source)
    if head.startswith((b"\xfd7zXZ", b"\x5d\0\0")):
        return _decompressed(lzma.LZMADecompressor(), source)
    if head.startswith(b"BZh"):
        return _decompressed(bz2.BZ2Decompressor(), source)
    if head.startswith(_LZ4):
        return _lz4(source)
    raise ValueError(f"an archive, or a compression, that is not known: it begins with {head!r}")


def _inflated(source: _Bytes) -> Iterator[bytes]:
    inflater = zlib.decompressobj(31)
    for piece in source.rest():
        while piece and not inflater.eof:
            yield inflater.decompress(piece, _PIECE)
            piece = inflater.unconsumed_tail
        if inflater.eof:  # what follows may be another archive
            yield from _after(inflater.unused_data or piece, source)
            return
    raise ValueError("its compressed part is cut off")


def _decompressed(
    inflater: lzma.LZMADecompressor | bz2.BZ2Decompressor, source: _Bytes
) -> Iterator[bytes]:
    for piece in source.rest():
        yield inflater.decompress(piece, _PIECE)
        while not inflater.eof and not inflater.needs_input:
            yield inflater.decompress(b"", _PIECE)
        if inflater.eof:
            yield from _after(inflater.unused_data, source)
            return
    raise ValueError("its compressed part is cut off")


def _after(begin: bytes, source: _Bytes) -> Iterator[bytes]:
    """What follows a compressed archive: padding, or an archive that is not compressed."""
    begin = begin.lstrip(b"\0")
    if begin:
        yield bytes(4)  # `_segments` skips it, and finds the beginning of an archive
        yield begin
    yield from source.rest()


def _zstd(source: _Bytes) -> Iterator[bytes]:
    inflater = Decompressor("zstd")
    for piece in source.rest():
        yield from inflater.feed(piece)
    inflater.finish()


def _lz4(source: _Bytes) -> Iterator[bytes]:
    """Blocks of up to 8 MiB, each with the size of what it is compressed to."""
    try:
        library = ctypes.CDLL("liblz4.so.1")
    except OSError:
        raise ValueError("it is compressed with lz4, and liblz4.so.1 is not here") from None
    source.skip(4)
    space = ctypes.create_string_buffer(_LZ4_BLOCK)
    while len(size := source.take(4)) == 4 and any(size):
        if size == _LZ4:
            continue
        data = source.take(int.from_bytes(size, "little"))
        count = library.LZ4_decompress_safe(data, space, len(data), _LZ4_BLOCK)
        if count < 0:
            raise ValueError("lz4 refuses the data")
        yield ctypes.string_at(space, count)
