"""The tar around a bundle, and the only tar that is taken for one.

Regular files with the three kinds of names that an OCI layout has, each once, sizes in the
header, then two blocks of zeros and nothing else. No pax headers, no links, no folders.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from portkit.errors import VerifyError

_BLOCK = tarfile.BLOCKSIZE
_NAME = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")
_MEMBERS = 8192  # the layers of an App, two for each image, and those of the disk
_END = bytes(2 * _BLOCK)


def header(name: str, size: int) -> bytes:
    """What goes before a member's bytes; the same for the same member."""
    info = tarfile.TarInfo(name)
    # No owner, no time: the same content makes the same bundle.
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What goes behind them."""
    return bytes(-size % _BLOCK)


def end() -> bytes:
    """What goes behind the last member."""
    return _END


def members(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """(offset, size) of each member by name; VerifyError for anything but what `header` writes.

    Nothing is read but the headers: the sizes are known before the content is.
    """
    whole = file.seek(0, 2)
    found: dict[str, tuple[int, int]] = {}
    position = 0
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        if block == bytes(_BLOCK):
            break
        name, size = _parsed(block)
        if name in found:
            raise malformed(f"{name} is in it twice")
        if len(found) >= _MEMBERS:
            raise malformed(f"it has more than {_MEMBERS} members")
        position += _BLOCK
        if size > whole - position:
            raise malformed(f"{name} should have {size} bytes, but the file ends before")
        found[name] = (position, size)
        position += size + -size % _BLOCK
    if whole - position != len(_END) or file.read(_BLOCK) != bytes(_BLOCK):
        raise malformed("its end is missing, or data follows it")
    return found


def _parsed(block: bytes) -> tuple[str, int]:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise malformed(f"a header in it cannot be read: {error}"[:300]) from error
    if not _NAME.fullmatch(info.name):
        raise malformed(f"{info.name[:120]!r} does not belong in it")
    # Compared with what `header` makes of the same name and size: whatever else a header could say
    # (devices, links, sparse maps, base-256) is then excluded at once.
    if info.type != tarfile.REGTYPE or info.size < 0 or block != header(info.name, info.size):
        raise malformed(f"{info.name} is not a plain file")
    return info.name, info.size


def content(file: BinaryIO, place: tuple[int, int]) -> Iterator[bytes]:
    """A member's bytes in chunks."""
    offset, size = place
    while size:
        file.seek(offset)
        data = file.read(min(size, 1 << 20))
        if not data:
            raise malformed("it became shorter while it was read")
        yield data
        offset += len(data)
        size -= len(data)


def malformed(why: str) -> VerifyError:
    """The error for what portkit would never have written."""
    return VerifyError(
        "the bundle is damaged or was not made by portkit",
        details=why,
        resolution="Copy it again. If the error persists, pack the App again.",
    )
