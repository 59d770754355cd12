"""Where content is cut: at the starts of a tar's files, at the blocks of anything else.

Cuts only decide where equal content is looked for; what is found is compared byte by byte. So a
strange tar costs bytes on the way, never correctness.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from portkit.wire.sparse import extents

BLOCK = 4096
UNIT = 512  # blocks begin at multiples of this: tar's record, a disk's sector
_HEADER = UNIT
_PAX_LIMIT = 1 << 20
_ZERO_HEADER = bytes(_HEADER)


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes from `start` to `end` that are cut in blocks from `grid` on.

    hole: they read as zeros and need not be read. file: the last, partial block is worth finding.
    joined: what follows in the file may follow in another one as well.
    """

    start: int
    end: int
    hole: bool = False
    file: bool = False
    joined: bool = False

    @property
    def grid(self) -> int:
        return -(-self.start // UNIT) * UNIT


def segments(descriptor: int) -> Iterator[Segment]:
    """The whole file, in order and without gaps."""
    # A tar has no magic number that every writer sets, and an image layer's first member decides:
    # its checksum is what POSIX gives to know a header by.
    size = os.fstat(descriptor).st_size
    if size >= _HEADER and _is_header(os.pread(descriptor, _HEADER, 0)):
        return _of_tar(descriptor, size)
    return _of_blocks(descriptor, size)


def _of_blocks(descriptor: int, size: int) -> Iterator[Segment]:
    done = 0
    for start, length in extents(descriptor):
        # Whole blocks, whatever the file system's own bounds are.
        # A file system may keep data in units that are not aligned to 4 KiB (such as ZFS): cut at
        # other places, equal content would not be found equal on another host.
        first = max(done, start - start % BLOCK)
        last = min(size, -(-(start + length) // BLOCK) * BLOCK)
        if first > done:
            yield Segment(done, first, hole=True)
        if last > first:
            yield Segment(first, last, file=last == size)
            done = last
    if done < size:
        yield Segment(done, size, hole=True)


def _is_header(block: bytes) -> bool:
    """Whether a tar header's checksum is right (POSIX.1-2017, pax, "ustar Interchange Format")."""
    if len(block) < _HEADER or block == _ZERO_HEADER:
        return False
    # The sum is of all bytes of the header, with the checksum's own field counted as eight spaces.
    told = _number(block[148:156])
    return told == sum(block) - sum(block[148:156]) + 8 * 32


def _number(field: bytes) -> int:
    """An octal field, or GNU's base-256; -1 when it is neither."""
    # GNU tar writes what does not fit in octal as a big-endian number with the first bit set; \xff
    # is a negative one, which no size is.
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big") if field[:1] == b"\x80" else -1
    text = field.split(b"\0")[0].strip()
    if not text:
        return 0
    try:
        return int(text, 8)
    except ValueError:
        return -1


def _of_tar(descriptor: int, size: int) -> Iterator[Segment]:
    """Headers in one kind of segments, each file's data in the other."""
    position = start = 0  # headers since `start`
    told = -1  # a PAX record's size of the next member
    while position < size:
        header = os.pread(descriptor, _HEADER, position)
        if not _is_header(header):
            break
        kind = header[156:157]
        length = _number(header[124:136])
        data = position + _HEADER
        # Members that describe others: x and g are PAX records (POSIX.1-2017), L and K are GNU's
        # long names, V is GNU's volume label. They belong to the headers.
        if kind in b"xgLKV" and kind:
            if kind == b"x" and 0 <= length <= _PAX_LIMIT:
                told = _pax_size(os.pread(descriptor, length, data))
            position = data + _padded(length)
            if length < 0:
                break
            continue
        # A size in a PAX record is what counts; the header's own is then whatever the writer could
        # fit there.
        if told >= 0:
            length, told = told, -1
        # Old GNU sparse files: isextended at 482 says that maps of 512 bytes follow the header
        # before the data (tar.h of GNU tar).
        if kind == b"S" and header[482:483] == b"\1":
            data = _behind_sparse(descriptor, data, size)
        # A hard link of some writers has the size of the file that it links to, and no data behind
        # it.
        if kind in b"12345":  # links, devices, folders, pipes: no data, whatever they say
            length = 0
        if length < 0 or data + length > size:
            break
        if length:
            yield Segment(start, data, joined=True)
            yield Segment(data, data + length, file=True, joined=True)
            start = data + length
        position = data + _padded(length)
    if start < size:
        yield Segment(start, size, joined=True)


def _padded(length: int) -> int:
    return -(-length // _HEADER) * _HEADER


def _pax_size(data: bytes) -> int:
    """The `size` record of a PAX header, -1 without one."""
    marker = data.find(b" size=")
    # A record is "LENGTH KEY=VALUE\n". The value of another record, a file's name say, may hold "
    # size=" as well: before the real one stands nothing but its length.
    if marker < 0 or (marker and not data[:marker].rpartition(b"\n")[2].isdigit()):
        return -1
    text = data[marker + 6 :].partition(b"\n")[0]
    return int(text) if text.isdigit() and len(text) < 20 else -1


def _behind_sparse(descriptor: int, position: int, size: int) -> int:
    """Where data begins behind GNU's continued maps of a sparse file (type S, old format)."""
    while position < size:
        block = os.pread(descriptor, _HEADER, position)
        position += _HEADER
        if len(block) < _HEADER or block[504:505] != b"\1":
            break
    return position
