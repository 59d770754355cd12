"""A bundle in parts for small media: NAME.portkit.001 and so on, each of which knows the whole.

A part: a block of 1024 bytes (magic, sha256 of the JSON, JSON, zeros), then its piece of the
bundle. The JSON has the sha256 of the piece and of the whole, so that each part can be verified
alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from portkit import files
from portkit.bundle.tar import malformed
from portkit.errors import AppError, ConflictError
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FIRST = re.compile(r".+\.portkit\.001")
_MAGIC = b"PORTKIT-PART/1\n"
_HEAD = 1024
_CHUNK = 1 << 20
_MOST = 999
LEAST = 64 << 10  # bytes of a part, its head included
_KEYS = {"bundle": str, "bytes": int, "number": int, "count": int, "length": int, "sha256": str}


def split(whole: Path, path: Path, size: int) -> list[Path]:
    """Cut a bundle into parts of at most `size` bytes beside it, named after `path`.

    Raises AppError when that makes more than 999 parts, ConflictError when one is there.
    """
    piece = max(1, size - _HEAD)
    total = whole.stat().st_size
    count = -(-total // piece)
    if size < LEAST or count > _MOST:
        raise AppError(
            "the bundle cannot be split into parts of that size",
            details=f"{total} bytes in parts of {size}; there can be at most {_MOST} parts of at "
            f"least {LEAST} bytes",
            resolution="Choose larger parts.",
        )
    paths = [path.with_name(f"{path.name}.{number:03d}") for number in range(1, count + 1)]
    for each in paths:
        if each.exists():
            raise ConflictError(
                "a part of the bundle already exists",
                details=str(each),
                resolution="Remove it, or choose another place.",
            )
    with whole.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            for number, each in enumerate(paths):
                file.seek(number * piece)
                row = {"bundle": digest, "bytes": total, "number": number + 1, "count": count}
                _write(each, file, min(piece, total - number * piece), row)
        except BaseException:
            for each in paths:
                each.unlink(missing_ok=True)
            raise
    return paths


def _write(path: Path, file: BinaryIO, length: int, row: JsonObject) -> None:
    with files.whole(path) as out:
        # The head holds the sha256 of what follows, so it is written last, into the room that is
        # left here.
        out.write(bytes(_HEAD))
        total = hashlib.sha256()
        for data in _read(file, length):
            total.update(data)
            out.write(data)
        told = json.dumps({**row, "length": length, "sha256": total.hexdigest()}).encode()
        out.seek(0)
        out.write(_MAGIC + hashlib.sha256(told).hexdigest().encode() + b"\n" + told)


def _read(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        data = file.read(min(length, _CHUNK))
        if not data:
            raise malformed("a part became shorter while it was read")
        yield data
        length -= len(data)


def joined(first: Path, stack: ExitStack) -> BinaryIO:
    """The whole, readable from the parts beside `first`; every part and the whole are verified.

    VerifyError names the part that is missing, damaged or of another bundle.
    """
    pieces, lengths = [], []
    row = None
    total = hashlib.sha256()
    number, count = 1, 1
    # How many there are, only the first one says; the others have to agree.
    while number <= count:
        path = first.with_name(f"{first.name[:-3]}{number:03d}")
        try:
            file = stack.enter_context(os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb"))
        except OSError as error:
            raise malformed(
                f"part {path.name} of {count} cannot be read: {error.strerror}"
            ) from error
        found = _head(file, path.name)
        row = row or found
        if found["number"] != number or any(
            found[k] != row[k] for k in ("bundle", "bytes", "count")
        ):
            raise malformed(f"{path.name} is part {found['number']} of another bundle, or renamed")
        own = hashlib.sha256()
        for data in _read(file, found["length"]):
            own.update(data)
            total.update(data)
        # Each part has a digest of its own, so that the error can name the one that was damaged on
        # its way.
        if own.hexdigest() != found["sha256"] or file.read(1):
            raise malformed(f"{path.name} does not match its digest")
        pieces.append(file)
        lengths.append(found["length"])
        number, count = number + 1, found["count"]
    assert row is not None
    if total.hexdigest() != row["bundle"] or sum(lengths) != row["bytes"]:
        raise malformed("the parts do not add up to the bundle that was split")
    return io.BufferedReader(_Joined(pieces, lengths), _CHUNK)


def _head(file: BinaryIO, name: str) -> JsonObject:
    data = file.read(_HEAD)
    if len(data) != _HEAD or not data.startswith(_MAGIC):
        raise malformed(f"{name} is not a part of a bundle")
    digest, _, told = data[len(_MAGIC) :].rstrip(b"\0").partition(b"\n")
    try:
        right = hashlib.sha256(told).hexdigest().encode() == digest
        row = strict_json.loads(told) if right else None
    except ValueError as error:
        raise malformed(f"the header of {name} is damaged: {error}") from error
    if not isinstance(row, dict) or {key: type(row[key]) for key in row} != _KEYS:
        raise malformed(f"the header of {name} is damaged")
    whole = os.fstat(file.fileno()).st_size - _HEAD
    if not 1 <= row["count"] <= _MOST or row["length"] != whole:
        raise malformed(f"{name} has {whole} bytes, {row['length']} are declared")
    return dict(row)


class _Joined(io.RawIOBase):
    """The pieces as one file."""

    def __init__(self, files: Sequence[BinaryIO], lengths: Sequence[int]) -> None:
        self._files, self._lengths = files, lengths
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        start = {0: 0, 1: self._at, 2: sum(self._lengths)}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view, at = memoryview(buffer).cast("B"), self._at
        for file, length in zip(self._files, self._lengths, strict=True):
            if at < length:
                data = os.pread(file.fileno(), min(len(view), length - at), _HEAD + at)
                view[: len(data)] = data
                self._at += len(data)
                return len(data)
            at -= length
        return 0
