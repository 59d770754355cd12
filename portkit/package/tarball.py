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

BLOCK = 512
MAX_EXTENDED_BYTES = 1 << 20  # of one extended header, as in Go (maxSpecialFileSize)
MAX_HOLES = 65_536  # pieces of one sparse file
XATTR = "SCHILY.xattr."
FILE, HARDLINK, SYMLINK, CHAR, BLOCKDEV, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_KINDS = (FILE, HARDLINK, SYMLINK, CHAR, BLOCKDEV, FOLDER, FIFO)
_OLD_FILES = (b"\0", b"7")  # before POSIX; "contiguous"
_GNU_NAME, _GNU_LINK, _GNU_SPARSE = b"L", b"K", b"S"
_EXTENDED, _GLOBAL = b"x", b"g"
_ZERO = bytes(BLOCK)
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*", re.ASCII)
_DECIMAL = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]*))?", re.ASCII)
_CHUNK = 1 << 20
_KEPT = frozenset(("path", "linkpath", "size", "uid", "gid", "mtime"))


class TarError(ValueError):
    """It is damaged, truncated, or asks for more than the limits."""


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
        raise TarError("it became another one while it was read")
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
        for data in _bytes(file, position, length):
            yield done, data
            done += len(data)
        position += length


def _bytes(file: BinaryIO, position: int, count: int) -> Iterator[bytes]:
    while count > 0:
        file.seek(position)
        data = file.read(min(count, _CHUNK))
        if not data:
            raise TarError("it became shorter while it was read")
        yield data
        position += len(data)
        count -= len(data)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK))
        count -= _CHUNK


# ---------------------------------------------------------------- headers


@dataclass(slots=True)
class _Before:
    """What the extended headers before a member say of it."""

    records: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)  # numbers of GNU.sparse.offset and numbytes
    name: str | None = None
    link: str | None = None


def _next(file: BinaryIO, position: int, whole: int) -> Member | None:
    start, before = position, _Before()
    for _ in range(16):  # one of each kind before a member is all that any writer makes
        block = _block(file, position)
        if block is None:
            return None
        kind = block[156:157]
        if kind not in (_EXTENDED, _GLOBAL, _GNU_NAME, _GNU_LINK):
            return _member(file, _Header(block), start, position + BLOCK, whole, before)
        size = _number(block[124:136])
        if not 0 <= size <= MAX_EXTENDED_BYTES:
            raise TarError(f"an extended header has {size} bytes, at most {MAX_EXTENDED_BYTES}")
        data = b"".join(_bytes(file, position + BLOCK, size))
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
    told = _number(block[148:156])
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
        self.mode, self.size = _number(block[100:108]), _number(block[124:136])
        self.uid, self.gid = _number(block[108:116]), _number(block[116:124])
        self.mtime_ns = _number(block[136:148]) * 10**9
        self.device = (0, 0)
        self.block = block
        magic = block[257:265]
        if magic not in (b"ustar\x0000", b"ustar  \0"):  # the oldest format has no more
            return
        if self.kind in (CHAR, BLOCKDEV):
            self.device = (_number(block[329:337]), _number(block[337:345]))
        if magic == b"ustar\x0000" and (prefix := _text(block[345:500])):
            self.name = f"{prefix}/{self.name}"


def _member(
    file: BinaryIO, header: _Header, start: int, data: int, whole: int, before: _Before
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
        pieces, data = _old_sparse(file, header.block, data)
        stored, size, kind = size, _number(header.block[483:495]), FILE
    elif kind == FILE and (found := _pax_sparse(file, before, data, stored)) is not None:
        pieces, used = found
        name = records.get("GNU.sparse.name") or name
        data, stored = data + used, stored - used
        told = records.get("GNU.sparse.realsize") or records.get("GNU.sparse.size")
        size = _whole(told or "")
    if pieces is not None:
        _check_pieces(name, pieces, size, stored)
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


def _number(field_: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set (GNU)."""
    if field_[0] & 0x80:
        value = int.from_bytes(field_, "big", signed=False)
        bits = 8 * len(field_)
        # The first bit is a mark; the second is the sign.
        value &= (1 << (bits - 1)) - 1
        value -= (1 << (bits - 1)) if field_[0] & 0x40 else 0
        if not -(1 << 63) <= value < 1 << 63:
            raise TarError("a number in a header is out of range")
        return value
    match = _OCTAL.fullmatch(field_)
    if match is None:
        raise TarError("a number in a header is malformed")
    return int(match[1] or b"0", 8)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise TarError("a number in an extended header is malformed")
    return int(text)


def _decimal(records: Mapping[str, str], key: str, otherwise: int) -> int:
    text = records.get(key)
    return _whole(text) if text else otherwise


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
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 8)
        digits = data[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        record = data[space + 1 : position + length]
        if length < 5 or position + length > len(data) or not record.endswith(b"\n"):
            raise TarError("an extended header is malformed")
        key, equals, value = record[:-1].decode("utf-8", "surrogateescape").partition("=")
        if not equals or not key or "\0" in (value if key in ("path", "linkpath") else key):
            raise TarError("a record of an extended header is malformed")
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            pieces.append(value)
        elif key in _KEPT or key.startswith((XATTR, "GNU.sparse.")):
            found[key] = value
        position += length
    return found, pieces


# ---------------------------------------------------------------- sparse files


def _check_pieces(name: str, pieces: tuple[tuple[int, int], ...], size: int, stored: int) -> None:
    done = total = 0
    for offset, length in pieces:
        if offset < done or length < 0 or offset + length > size:
            raise TarError(f"{name[:200]!a} is a sparse file whose map makes no sense")
        done, total = offset + length, total + length
    if total != stored:
        raise TarError(f"{name[:200]!a} is a sparse file of {total} bytes, {stored} are there")


def _pairs(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_HOLES:
        raise TarError(f"a sparse file has an odd map, or more than {MAX_HOLES} pieces")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _old_sparse(file: BinaryIO, block: bytes, data: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """The map of GNU's old format: four pieces in the header, then blocks of 21."""
    numbers: list[int] = []
    at, count, more = 386, 4, block[482]
    while True:
        for place in range(at, at + 24 * count, 24):
            if block[place] == 0:
                break
            numbers += [_number(block[place : place + 12]), _number(block[place + 12 : place + 24])]
        if not more:
            return _pairs(numbers), data
        if len(numbers) > 2 * MAX_HOLES:
            raise TarError(f"a sparse file has more than {MAX_HOLES} pieces")
        block = b"".join(_bytes(file, data, BLOCK))
        at, count, more, data = 0, 21, block[504], data + BLOCK


def _pax_sparse(
    file: BinaryIO, before: _Before, data: int, stored: int
) -> tuple[tuple[tuple[int, int], ...], int] | None:
    """The map of a sparse file as pax records describe it, and how much of the content it takes;
    None for another file. Formats 0.0, 0.1 and 1.0 of GNU tar."""
    records = before.records
    version = (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor"))
    if version == ("1", "0"):
        return _map_in_content(file, data, stored)
    if version not in ((None, None), ("0", "0"), ("0", "1")):
        return None
    if "GNU.sparse.map" in records:
        words = records["GNU.sparse.map"].split(",") if records["GNU.sparse.map"] else []
    elif version == (None, None) and not before.pieces:
        return None
    else:
        words = before.pieces
    return _pairs([_whole(word) for word in words[: 2 * MAX_HOLES + 1]]), 0


def _map_in_content(
    file: BinaryIO, data: int, stored: int
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Lines of decimal numbers at the head of the content: how many pieces, then each."""
    numbers: list[int] = []
    wanted, used, rest = 1, 0, b""
    while len(numbers) < wanted:
        if used + BLOCK > stored:
            raise TarError("the map of a sparse file does not end")
        rest += b"".join(_bytes(file, data + used, BLOCK))
        used += BLOCK
        *lines, rest = rest.split(b"\n")
        numbers += [_whole(line.decode("ascii", "replace")) for line in lines if line[:1] != b"\0"]
        if len(rest) > BLOCK or (numbers and numbers[0] > MAX_HOLES):
            raise TarError(f"a sparse file has no map, or more than {MAX_HOLES} pieces")
        wanted = 1 + 2 * numbers[0] if numbers else 1
    if len(numbers) > wanted:
        raise TarError("the map of a sparse file is longer than it says")
    return _pairs(numbers[1:]), used
