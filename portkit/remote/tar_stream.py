"""A tar that is read while it comes, and rows of one that is written.

Python's tarfile reads extended headers of any size and follows what they say; here a header has its
limit, and a name is looked at before it is used. Sources: POSIX.1-2017 (pax); GNU tar manual,
"Basic Tar Format".
"""

from __future__ import annotations

import tarfile
from typing import Dict, Iterator, List, Optional

from portkit.wire import pax
from portkit.wire.frames import Readable

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 18
_EXTENDED_BYTES = 1 << 20  # of one extended header, as in Go's archive/tar
_PATH_BYTES, _NAME_BYTES = 4096, 255  # PATH_MAX and NAME_MAX of Linux
_EXTENDED, _GLOBAL, _GNU_NAME, _GNU_LINK = b"x", b"g", b"L", b"K"
_KINDS = b"0123456"
XATTR = "SCHILY.xattr."
_KEPT = ("path", "linkpath", "size", "uid", "gid", "mtime")
_ID_LIMIT = (1 << 32) - 1
_ZERO = bytes(_BLOCK)


class StreamError(ValueError):
    """The tar is damaged, or asks for more than the limits."""


class Reader:
    """The members of a stream. The content of a file is read, or skipped, before the next one."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._left = 0  # bytes of content, with what fills its last block
        self._padding = 0

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        while True:
            for _ in self.content():
                pass
            row = self._next()
            if row is None:
                return
            yield row

    def content(self) -> Iterator[bytes]:
        """The bytes of the member that was read last."""
        while self._left > self._padding:
            data = self._read(min(_CHUNK, self._left - self._padding))
            self._left -= len(data)
            yield data
        self._exactly(self._left)
        self._left = self._padding = 0

    def _next(self) -> Optional[tarfile.TarInfo]:
        records: Dict[str, str] = {}
        name = link = None
        for _ in range(16):  # one of each kind before a member is all that any writer makes
            block = self._exactly(_BLOCK)
            if block == _ZERO:
                return None
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                raise StreamError("a header in it is damaged") from None
            kind = block[156:157]
            if kind not in (_EXTENDED, _GLOBAL, _GNU_NAME, _GNU_LINK):
                return self._row(info, kind, records, name, link)
            if not 0 <= info.size <= _EXTENDED_BYTES:
                raise StreamError("an extended header has %d bytes" % info.size)
            data = self._exactly(info.size + -info.size % _BLOCK)[: info.size]
            if kind == _EXTENDED:
                records = _records(data)
            elif kind == _GNU_NAME:
                name = _text(data)
            elif kind == _GNU_LINK:
                link = _text(data)
        raise StreamError("a member has too many extended headers")

    def _row(
        self,
        info: tarfile.TarInfo,
        kind: bytes,
        records: Dict[str, str],
        name: Optional[str],
        link: Optional[str],
    ) -> tarfile.TarInfo:
        kind = b"0" if kind in (b"\0", b"7") else kind
        if kind not in _KINDS:
            raise StreamError("%a is of an unknown kind" % info.name[:200])
        info.type = kind
        info.name = name or records.get("path") or info.name
        info.linkname = link or records.get("linkpath") or info.linkname
        info.size = _number(records, "size", info.size)
        info.uid = _number(records, "uid", info.uid)
        info.gid = _number(records, "gid", info.gid)
        if not 0 <= info.uid < _ID_LIMIT or not 0 <= info.gid < _ID_LIMIT:
            raise StreamError("an owner is out of range")
        if info.size < 0 or not -(1 << 63) <= info.mtime < 1 << 63:
            raise StreamError("a number in a header is out of range")
        info.size = info.size if kind == b"0" else 0
        info.pax_headers = {key: text for key, text in records.items() if key.startswith(XATTR)}
        if "mtime" in records:
            info.pax_headers["mtime"] = _time(records["mtime"])
        self._padding = -info.size % _BLOCK
        self._left = info.size + self._padding
        return info

    def _read(self, count: int) -> bytes:
        data = self._source.read(count)
        if not data:
            raise StreamError("it ends early")
        return data

    def _exactly(self, count: int) -> bytes:
        parts: List[bytes] = []
        while count > 0:
            data = self._read(count)
            parts.append(data)
            count -= len(data)
        return b"".join(parts)


def parts(name: str) -> List[str]:
    """The steps of a member's name; StreamError for one that no file system gave it."""
    if name.startswith("/") or "\0" in name:
        raise StreamError("%a is no name below a root" % name[:200])
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise StreamError("%a leads out of the root" % name[:200])
    if len(encoded(name)) > _PATH_BYTES or any(len(encoded(step)) > _NAME_BYTES for step in steps):
        raise StreamError("%a... is longer than a name can be" % name[:100])
    return steps


def encoded(text: str) -> bytes:
    """The bytes of a name."""
    return text.encode("utf-8", "surrogateescape")


def header(info: tarfile.TarInfo) -> bytes:
    """The headers of a member: the same for the same file, whatever wrote the tar it came from."""
    info.uname = info.gname = ""
    # An engine names users by the files of the host that it runs on; the numbers are what counts.
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def empty(name: str) -> tarfile.TarInfo:
    """A file without content, as whiteouts are."""
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    return info


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(records: Dict[str, str], key: str, otherwise: int) -> int:
    text = records.get(key)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise StreamError("a number in an extended header is malformed")
    return int(text)


def _time(text: str) -> str:
    digits = text[1:] if text.startswith("-") else text
    whole, _, fraction = digits.partition(".")
    if not whole.isascii() or not whole.isdigit() or len(text) > 40:
        raise StreamError("a time in an extended header is malformed")
    if fraction and not (fraction.isascii() and fraction.isdigit()):
        raise StreamError("a time in an extended header is malformed")
    return text


def _records(data: bytes) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for key, equals, value in pax.records(data, StreamError):
        if not equals or ("\0" in key) or (key in _KEPT and "\0" in value):
            raise StreamError("a record of an extended header is malformed")
        if key.startswith("GNU.sparse."):
            raise StreamError("it has a sparse file, which no engine writes")
        if key in _KEPT or key.startswith(XATTR):
            found[key] = value
    return found
