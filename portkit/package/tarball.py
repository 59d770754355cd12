"""A tar that somebody else wrote, member by member, with limits. Pure but for reading the file.

Python's tarfile takes extended headers of any size, lists every hole of a sparse file, and keeps a
kilobyte for each member. This reader follows Go's archive/tar, which the engines use: what it
refuses never was in an engine. Global extended headers are skipped, as the engines skip them.

Sources: POSIX.1-2017 (pax); GNU tar manual, "Basic Tar Format"; Go 1.22, archive/tar/reader.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from portkit.package import tar_sparse
from portkit.package.tar_fields import BLOCK, CHUNK, Before, TarError, decimal, number, read
from portkit.wire import pax

MAX_EXTENDED_BYTES = 1 << 20  # of one extended header, as in Go (maxSpecialFileSize)
XATTR = "SCHILY.xattr."
FILE, HARDLINK, SYMLINK, CHAR, BLOCKDEV, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KINDS = (FILE, HARDLINK, SYMLINK, CHAR, BLOCKDEV, FOLDER, FIFO)
_OLD_FILES = (b"\0", b"7")  # before POSIX; "contiguous"
_GNU_NAME, _GNU_LINK, _GNU_SPARSE = b"L", b"K", b"S"
_EXTENDED, _GLOBAL = b"x", b"g"
_ZERO = bytes(BLOCK)
_DECIMAL = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]*))?", re.ASCII)
_KEPT = frozenset(("path", "linkpath", "size", "uid", "gid", "mtime"))


@dataclass(frozen=True, slots=True)
class Member:
    """What the headers say. name, link: bytes that are not UTF-8 as lone surrogates.

    header: where its first header begins. data, stored: where its content is, and how many bytes of
    it. holes: pieces (offset in the file, bytes) of a sparse file, else None.
    """

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str
    device: tuple[int, int]
    header: int
    data: int
    stored: int
    xattrs: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[tuple[int, int], ...] | None = None

    @property
    def end(self) -> int:
        """Where the next header is."""
        return self.data + self.stored + -self.stored % BLOCK


def members(file: BinaryIO) -> Iterator[Member]:
    """Every member, in order; TarError where the tar is damaged. It has to end with a block of
    zeros or with the file; what follows is not read, as the engines do not."""
    whole = file.seek(0, os.SEEK_END)
    position = 0
    while (member := _next(file, position, whole)) is not None:
        yield member
        position = member.end


def member_at(file: BinaryIO, header: int) -> Member:
    """The member whose first header is there."""
    member = _next(file, header, file.seek(0, os.SEEK_END))
    if member is None:
        raise TarError("it was replaced while it was read")
    return member


def content(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The bytes of a file; the holes of a sparse one as zeros."""
    done = 0
    for offset, data in pieces(file, member):
        yield from _zeros(offset - done)
        yield data
        done = offset + len(data)
    yield from _zeros(member.size - done)


def pieces(file: BinaryIO, member: Member) -> Iterator[tuple[int, bytes]]:
    """What a file has, as (offset, bytes) in order, at most 1 MiB each; holes are left out."""
    position = member.data
    for offset, length in ((0, member.size),) if member.pieces is None else member.pieces:
        done = offset
        for data in read(file, position, length):
            yield done, data
            done += len(data)
        position += length


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, CHUNK))
        count -= CHUNK


# ---------------------------------------------------------------- headers


def _next(file: BinaryIO, position: int, whole: int) -> Member | None:
    start, before = position, Before()
    for _ in range(16):  # one of each kind before a member is all that any writer makes
        block = _block(file, position)
        if block is None:
            return None
        kind = block[156:157]
        if kind not in (_EXTENDED, _GLOBAL, _GNU_NAME, _GNU_LINK):
            return _member(file, _Header(block), start, position + BLOCK, whole, before)
        size = number(block[124:136])
        if not 0 <= size <= MAX_EXTENDED_BYTES:
            raise TarError(f"an extended header has {size} bytes, at most {MAX_EXTENDED_BYTES}")
        data = b"".join(read(file, position + BLOCK, size))
        if kind == _EXTENDED:
            before.records, before.pieces = _records(data)
        elif kind == _GNU_NAME:
            before.name = _text(data)
        elif kind == _GNU_LINK:
            before.link = _text(data)
        position += BLOCK + size + -size % BLOCK
    raise TarError("a member has too many extended headers")


def _block(file: BinaryIO, position: int) -> bytes | None:
    """A header whose checksum is right; None at the end."""
    file.seek(position)
    block = file.read(BLOCK)
    if not block or block == _ZERO:
        return None
    if len(block) < BLOCK:
        raise TarError("it ends within a header")
    told = number(block[148:156])
    if told != _sum(block) and told != _sum_signed(block):
        raise TarError("a header in it is damaged")
    return block


def _sum(block: bytes) -> int:
    return sum(block) - sum(block[148:156]) + 8 * 32


def _sum_signed(block: bytes) -> int:
    """As some old writers counted: bytes as signed characters."""
    return _sum(block) - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


class _Header:
    """The fields of one block, as its format has them."""

    def __init__(self, block: bytes) -> None:
        self.kind = block[156:157]
        self.name, self.link = _text(block[:100]), _text(block[157:257])
        self.mode, self.size = number(block[100:108]), number(block[124:136])
        self.uid, self.gid = number(block[108:116]), number(block[116:124])
        self.mtime_ns = number(block[136:148]) * 10**9
        self.device = (0, 0)
        self.block = block
        magic = block[257:265]
        if magic not in (b"ustar\x0000", b"ustar  \0"):  # the oldest format has no more
            return
        if self.kind in (CHAR, BLOCKDEV):
            self.device = (number(block[329:337]), number(block[337:345]))
        if magic == b"ustar\x0000" and (prefix := _text(block[345:500])):
            self.name = f"{prefix}/{self.name}"


def _member(
    file: BinaryIO, header: _Header, start: int, data: int, whole: int, before: Before
) -> Member:
    records = before.records
    name = before.name or records.get("path") or header.name
    kind = header.kind
    if kind in _OLD_FILES:
        kind = FOLDER if kind == b"\0" and name.endswith("/") else FILE
    size = _decimal(records, "size", header.size)
    stored = size if kind in (FILE, _GNU_SPARSE) else 0
    if kind not in (*_KINDS, _GNU_SPARSE):
        raise TarError(f"{name[:200]!a} is of an unknown kind")
    if size < 0 or stored > whole - data:
        raise TarError(f"{name[:200]!a} has {size} bytes, the file ends before")
    pieces = None
    if kind == _GNU_SPARSE:
        pieces, data = tar_sparse.in_header(file, header.block, data)
        stored, size, kind = size, number(header.block[483:495]), FILE
    elif kind == FILE and (found := tar_sparse.in_records(file, before, data, stored)):
        pieces, used = found
        name = records.get("GNU.sparse.name") or name
        data, stored = data + used, stored - used
        told = records.get("GNU.sparse.realsize") or records.get("GNU.sparse.size")
        size = decimal(told or "")
    if pieces is not None:
        tar_sparse.check(name, pieces, size, stored)
        # GNU tar ends a map with an empty piece; others are as empty.
        pieces = tuple(piece for piece in pieces if piece[1])
        if stored > whole - data:
            raise TarError(f"{name[:200]!a} has {stored} bytes, the file ends before")
    return Member(
        name=name,
        kind=kind,
        mode=header.mode & 0o7777,
        uid=_identity(records, "uid", header.uid),
        gid=_identity(records, "gid", header.gid),
        size=size if kind == FILE else 0,
        mtime_ns=_time(records, header.mtime_ns),
        link=before.link or records.get("linkpath") or header.link,
        device=header.device,
        header=start,
        data=data,
        stored=stored,
        xattrs={key: value for key, value in records.items() if key.startswith(XATTR)},
        pieces=pieces,
    )


# ---------------------------------------------------------------- fields


def _text(field_: bytes) -> str:
    return field_.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _decimal(records: Mapping[str, str], key: str, otherwise: int) -> int:
    text = records.get(key)
    return decimal(text) if text else otherwise


def _identity(records: Mapping[str, str], key: str, otherwise: int) -> int:
    value = _decimal(records, key, otherwise)
    if not 0 <= value < (1 << 32) - 1:  # (uid_t) -1 leaves an owner as it is, chown(2)
        raise TarError(f"a {key} is out of range")
    return value


def _time(records: Mapping[str, str], otherwise: int) -> int:
    """In nanoseconds."""
    text = records.get("mtime")
    if not text:
        return otherwise
    match = _DECIMAL.fullmatch(text[:40])
    if match is None or len(text) > 40:
        raise TarError("a time in an extended header is malformed")
    fraction = int((match[3] or "").ljust(9, "0")[:9])
    return int(match[2]) * 10**9 * (-1 if match[1] else 1) + (-fraction if match[1] else fraction)


def _records(data: bytes) -> tuple[dict[str, str], list[str]]:
    """The records of a pax header, and the numbers of GNU's sparse format 0.0 in their order."""
    found: dict[str, str] = {}
    pieces: list[str] = []
    for key, equals, value in pax.records(data, TarError):
        if not equals or not key or "\0" in (value if key in ("path", "linkpath") else key):
            raise TarError("a record of an extended header is malformed")
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            pieces.append(value)
        elif key in _KEPT or key.startswith((XATTR, "GNU.sparse.")):
            found[key] = value
    return found, pieces
