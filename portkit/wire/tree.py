"""A folder's tree as rows, and the other streams between both ends that bring one to a host.

Every stream is a run of records: four bytes of length (big endian), then so many bytes. A path is
relative to the folder, as bytes; the folder itself is b"". A file's content is cut into blocks of
BLOCK bytes, each known by its sha256; a block that is a hole as a whole has HOLE in place of it.

The other end's word is input: whatever is read here is checked, and ValueError says what is wrong.
"""

from __future__ import annotations

import hashlib
import re
import struct
from typing import Dict, Iterable, Iterator, List, NamedTuple, Tuple

# Of one block 32 bytes are told: a volume of a GiB has an index of 512 KiB. With 1 % of its pages
# changed, a last pass between two practice hosts took 1.8 s; with blocks of 128 KiB 2.5 s, as more
# is read again to find the pages, and with 16 KiB 2.2 s, as more is told.
BLOCK = 64 << 10
PAGE = 4 << 10  # what databases and file systems write at least
PAGES = BLOCK // PAGE
HASH = 32
HOLE = bytes(HASH)
ZERO = hashlib.sha256(bytes(BLOCK)).digest()
# Bytes of a page's hash. It only says what need not be sent; the whole block is verified.
HINT = 12

FOLDER, FILE, LINK, SYMLINK = b"d", b"f", b"h", b"l"
PIPE, SOCKET, CHARACTER, DEVICE, MOUNT = b"p", b"s", b"c", b"b", b"m"
KINDS = frozenset((FOLDER, FILE, LINK, SYMLINK, PIPE, SOCKET, CHARACTER, DEVICE, MOUNT))

MAX_PATH = 4095  # PATH_MAX of Linux, without its NUL
MAX_NAME = 255  # NAME_MAX
MAX_DEPTH = 400  # folders in each other; each is an open file while they are walked
MAX_SIZE = 1 << 44  # 16 TiB, the largest file of ext4
MAX_XATTR = 1 << 16  # XATTR_SIZE_MAX
MAX_XATTRS = 1 << 16  # XATTR_LIST_MAX, of all names of a file
MAX_ENTRIES = 2_000_000  # of one folder: a row takes about a KiB of memory at the near end
MAX_INDEX = 1 << 30  # bytes: the hashes of 2 TiB
# The longest is a row of a file of MAX_SIZE (8 GiB of hashes), which no index has room for.
MAX_RECORD = MAX_INDEX

_HEAD = struct.Struct(">cHIIQqqQIQHHIQ")
_XATTR = struct.Struct(">BI")
_LENGTH = struct.Struct(">I")


class Row(NamedTuple):
    """One entry of a tree.

    target: where a symlink leads, or the name of the file that a LINK is another name of; that one
    is told before it, and has the content. hashes: of the file's blocks, one behind the other.
    """

    path: bytes
    kind: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    links: int = 1
    device: int = 0
    target: bytes = b""
    xattrs: Tuple[Tuple[bytes, bytes], ...] = ()
    hashes: bytes = b""

    def hash(self, number: int) -> bytes:
        """Of a block; b"" where the file has none of that number."""
        return self.hashes[number * HASH : (number + 1) * HASH]

    @property
    def blocks(self) -> int:
        return len(self.hashes) // HASH


def blocks_of(size: int) -> int:
    """How many blocks a file of that size has."""
    return -(-size // BLOCK)


def plain(digest: bytes, length: int) -> bytes:
    """The sha256 of a block's content: a hole is read as zeros."""
    if digest != HOLE:
        return digest
    return ZERO if length == BLOCK else hashlib.sha256(bytes(length)).digest()


def equal(one: bytes, other: bytes, length: int) -> bool:
    """Whether two blocks of a length have the same content."""
    return one == other or plain(one, length) == plain(other, length)


# A NUL, an empty name, one that leads nowhere or up, or a name that is too long.
_BAD = re.compile(rb"\0|(?:\A|/)\.{0,2}(?:/|\Z)|[^/]{%d}" % (MAX_NAME + 1))


def steps(path: bytes) -> List[bytes]:
    """The names that a path consists of, none for the folder itself; ValueError where it is no
    path of the tree."""
    if not path:
        return []
    if len(path) > MAX_PATH or path.count(b"/") >= MAX_DEPTH:
        raise ValueError("a path is too long or too deep: %r" % path[:200])
    if _BAD.search(path):
        raise ValueError("a path leads out of the folder or is none: %r" % path[:200])
    return path.split(b"/")


def check(row: Row, hashed: bool = True) -> Row:
    """The row; ValueError where it is not as the tree of a file system can be. hashed: whether it
    is to have the hashes of its blocks."""
    steps(row.path)
    if why := _wrong(row, hashed) or (row.xattrs and _wrong_xattrs(row)):
        raise ValueError("%s: %r" % (why, row.path[:200]))
    return row


def _wrong(row: Row, hashed: bool) -> str:
    if row.kind not in KINDS or row.mode > 0o7777:
        return "an entry has a kind or a mode that there is not"
    blocks = blocks_of(row.size) if row.kind == FILE and hashed else 0
    if row.size > MAX_SIZE or len(row.hashes) != blocks * HASH:
        return "an entry's size cannot be right"
    if (row.kind in (LINK, SYMLINK)) != bool(row.target):
        return "an entry has a target and must not, or has none"
    if row.kind == LINK:
        steps(row.target)
    if len(row.target) > MAX_PATH or b"\0" in row.target:
        return "a link's target cannot be right"
    return ""


def _wrong_xattrs(row: Row) -> str:
    names = [name for name, _ in row.xattrs]
    if names != sorted(set(names)) or not all(map(is_kept, names)):
        return "an entry's attributes cannot be right"
    if sum(len(name) + 1 for name in names) > MAX_XATTRS:
        return "an entry has too many attributes"
    if any(len(value) > MAX_XATTR for _, value in row.xattrs):
        return "an attribute is too long"
    return ""


_ACLS = frozenset((b"system.posix_acl_access", b"system.posix_acl_default"))
# What a host's own security modules say of a file has a meaning there alone.
_HOSTS_OWN = frozenset((b"security.selinux", b"security.ima", b"security.evm"))


def is_kept(name: bytes) -> bool:
    """Whether an extended attribute of that name travels."""
    if b"\0" in name or len(name) > MAX_NAME or name in _HOSTS_OWN:
        return False
    return name in _ACLS or name.startswith((b"user.", b"trusted.", b"security."))


# ---------------------------------------------------------------- records


def record(payload: bytes) -> bytes:
    """A payload with its length before it."""
    return _LENGTH.pack(len(payload)) + payload


def records(pieces: Iterable[bytes], most: int = MAX_INDEX) -> Iterator[bytes]:
    """The payloads in a stream of at most `most` bytes; ValueError where it ends within one."""
    held = bytearray()
    left = most
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise ValueError("a stream is longer than it may be")
        held += piece
        start = 0
        while len(held) - start >= 4:
            (length,) = _LENGTH.unpack_from(held, start)
            if length > MAX_RECORD:
                raise ValueError("a record is longer than it may be")
            if len(held) - start - 4 < length:
                break
            yield bytes(held[start + 4 : start + 4 + length])
            start += 4 + length
        del held[:start]
    if held:
        raise ValueError("a stream ends within a record")


def pack(row: Row) -> bytes:
    """A row as the payload of a record."""
    head = _HEAD.pack(
        row.kind,
        row.mode,
        row.uid,
        row.gid,
        row.size,
        row.mtime_ns,
        row.ctime_ns,
        row.inode,
        row.links,
        row.device,
        len(row.path),
        len(row.target),
        len(row.xattrs),
        len(row.hashes),
    )
    parts = [head, row.path, row.target]
    for name, value in row.xattrs:
        parts += [_XATTR.pack(len(name), len(value)), name, value]
    return b"".join([*parts, row.hashes])


class Cut:
    """Takes a payload apart; ValueError where it ends too early."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def unpack(self, how: struct.Struct) -> Tuple[int, ...]:
        return how.unpack(self.take(how.size))

    def take(self, count: int) -> bytes:
        """The next bytes."""
        data = self._payload[self._at : self._at + count]
        if len(data) != count:
            raise ValueError("a record ends too early")
        self._at += count
        return data

    def end(self) -> None:
        """ValueError where something is left."""
        if self._at != len(self._payload):
            raise ValueError("something follows the end of a record")


def unpack(payload: bytes, hashed: bool = True) -> Row:
    """A row out of a payload; ValueError when it is none, or `check` says so."""
    cut = Cut(payload)
    try:
        kind, *numbers = _HEAD.unpack(cut.take(_HEAD.size))
        path, target, xattrs, hashes = numbers[9:]
        names = (cut.take(path), cut.take(target))
        pairs = []
        for _ in range(xattrs):
            name, value = cut.unpack(_XATTR)
            pairs.append((cut.take(name), cut.take(value)))
        blocks = cut.take(hashes)
        row = Row._make((names[0], kind, *numbers[:9], names[1], tuple(pairs), blocks))
    except struct.error as error:
        raise ValueError("a row is malformed") from error
    cut.end()
    return check(row, hashed)


# ---------------------------------------------------------------- changes

REMOVE, MAKE, RESIZE = b"-", b"+", b"="


def pack_change(kind: bytes, row: Row) -> bytes:
    """A change of the tree as the payload of a record: REMOVE the entry, MAKE it, RESIZE it."""
    return kind + pack(row._replace(hashes=b""))


def unpack_change(payload: bytes) -> Tuple[bytes, Row]:
    """ValueError when it is none."""
    kind = payload[:1]
    if kind not in (REMOVE, MAKE, RESIZE):
        raise ValueError("a change is none that there is")
    return kind, unpack(payload[1:], hashed=False)


# ---------------------------------------------------------------- a whole index


def read_index(pieces: Iterable[bytes]) -> Dict[bytes, Row]:
    """The rows of a tree by path, folders before what is in them; ValueError where they are none
    of one tree."""
    found: Dict[bytes, Row] = {}
    for payload in records(pieces):
        row = unpack(payload)
        if len(found) >= MAX_ENTRIES:
            raise ValueError("the folder has more than %d entries" % MAX_ENTRIES)
        _check_place_in(row, found)
        found[row.path] = row
    if not found:
        raise ValueError("the index is empty")
    return found


def _check_place_in(row: Row, found: Dict[bytes, Row]) -> None:
    if why := _misplaced(row, found):
        raise ValueError("%s: %r" % (why, row.path[:200]))


def _misplaced(row: Row, found: Dict[bytes, Row]) -> str:
    if row.path in found:
        return "an entry is there twice"
    if not row.path:
        top = row.kind == FOLDER and not found
        return "" if top else "the index does not begin with the folder"
    parent = found.get(parent_of(row.path))
    if parent is None or parent.kind != FOLDER:
        return "an entry is in no folder of the tree"
    if row.kind == LINK:
        other = found.get(row.target)
        if other is None or other.kind != FILE:
            return "a name belongs to no file of the tree"
    return ""


# ---------------------------------------------------------------- digests


def essence(row: Row) -> Row:
    """A row without what belongs to its host alone. A block of zeros is the same as a hole."""
    if row.kind == LINK:
        return Row(row.path, LINK, target=row.target)
    return row._replace(ctime_ns=0, inode=0, links=1, hashes=_content(row))


def _content(row: Row) -> bytes:
    if not row.hashes:
        return b""
    count = row.blocks
    final = row.hash(count - 1)
    if final == plain(HOLE, row.size - (count - 1) * BLOCK):
        final = HOLE
    before = row.hashes[:-HASH]
    # Where it is not at a block's place it is found by chance only, and nothing is replaced.
    if ZERO in before:
        before = b"".join(HOLE if row.hash(n) == ZERO else row.hash(n) for n in range(count - 1))
    return before + final


class Digest:
    """sha256 of rows. essential: of what two hosts have in common; else of all that one said."""

    def __init__(self, essential: bool) -> None:
        self._essential = essential
        self._total = hashlib.sha256()

    def add(self, row: Row) -> None:
        """The next row."""
        self._total.update(record(pack(essence(row) if self._essential else row)))

    def text(self) -> str:
        """As digests are written."""
        return "sha256:" + self._total.hexdigest()


def parent_of(path: bytes) -> bytes:
    """The folder that an entry is in."""
    return path.rpartition(b"/")[0]


def order(path: bytes) -> Tuple[bytes, ...]:
    """Sorts paths so that a folder comes right before what is in it."""
    return tuple(path.split(b"/")) if path else ()
