"""The files that travel with an App, as a bundle has them: one tar, and what may be in it.

They end up below a folder of the target's engine and in the root of a VM, so nothing in them may
lead anywhere else.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence

from portkit.content_archive import pack
from portkit.model import ContentFile
from portkit.package import tarball
from portkit.package.tarball import Member

LIMIT = 64 << 20  # bytes of the tar: 8 MiB of files, and at least 512 for each of them
_MOST = 1 << 16  # files, folders and links
_NAME = re.compile(r"([0-9]{1,6})(?:/(.+))?", re.DOTALL)
_PATH_BYTES, _NAME_BYTES = 4095, 255  # that Linux takes
_KINDS = {tarball.FILE: "file", tarball.FOLDER: "folder", tarball.SYMLINK: "link"}
_SECOND_NS = 10**9

Files = tuple[ContentFile, ...]


def encode(contents: Sequence[Files]) -> bytes:
    """The tar of all Contents; ValueError when `decode` would not give them back."""
    data = pack(enumerate(contents))
    if len(data) > LIMIT:
        raise ValueError(f"its files are {len(data)} bytes as a tar, at most {LIMIT} are allowed")
    if decode(data) != tuple(contents):
        raise ValueError("its files differ when they are read back")
    return data


def decode(data: bytes) -> tuple[Files, ...]:
    """The files of each Content, folders before what is in them.

    ValueError for anything but what `encode` writes: whatever else a tar can hold would go where
    nobody expects it.
    """
    contents: list[dict[str, ContentFile]] = []
    file = io.BytesIO(data)
    for count, member in enumerate(tarball.members(file)):
        if count >= _MOST:
            raise ValueError(f"there are more than {_MOST} files")
        number, row = _row(file, member)
        if number == len(contents):
            contents.append({})
        if number != len(contents) - 1:
            raise ValueError(f"{member.name[:200]!a} is not in its place")
        _place(contents[-1], row)
    found = tuple(tuple(rows.values()) for rows in contents)
    if pack(enumerate(found)) != data:
        raise ValueError("its files are not packed as portkit packs them")
    return found


def _row(file: io.BytesIO, member: Member) -> tuple[int, ContentFile]:
    match = _NAME.fullmatch(member.name.removesuffix("/"))
    # A sparse file could be terabytes of zeros.
    if match is None or member.kind not in _KINDS or member.pieces is not None:
        raise ValueError(f"{member.name[:200]!a} is not a file, folder or link of the App")
    row = ContentFile(
        path=match[2] or "",
        kind=_KINDS[member.kind],
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime_s=member.mtime_ns // _SECOND_NS,
        data=os.fsencode(member.link)
        if member.kind == tarball.SYMLINK
        else b"".join(tarball.content(file, member)),
    )
    return int(match[1]), row


def _place(rows: dict[str, ContentFile], row: ContentFile) -> None:
    """Put a file to the others of its Content; ValueError where it has no place among them."""
    told = f"{row.path[:200]!a}"
    steps = os.fsencode(row.path).split(b"/")
    if row.path in rows:
        raise ValueError(f"{told} is in it twice")
    # The engine mounts the Content itself, and would follow a link on the host.
    if not rows and (row.path or row.kind == "link"):
        raise ValueError(f"{told} is a link, or in a folder that does not exist")
    if rows and any(step in (b"", b".", b"..") for step in steps):
        raise ValueError(f"{told} leads to another place")
    if len(os.fsencode(row.path)) > _PATH_BYTES or max(map(len, steps)) > _NAME_BYTES:
        raise ValueError(f"{told} is longer than a path can be")
    # A link in place of the folder would lead what is below it out of the Content.
    above = rows.get(row.path.rpartition("/")[0])
    if rows and (above is None or above.kind != "folder"):
        raise ValueError(f"{told} is in a folder that does not exist")
    if row.kind == "link" and not 0 < len(row.data) <= _PATH_BYTES:
        raise ValueError(f"{told} is a link with no target, or with too long a target")
    rows[row.path] = row
