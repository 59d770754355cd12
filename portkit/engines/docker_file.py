"""A file that is bound into a container, read through the engine."""

from __future__ import annotations

import io
import tarfile
from contextlib import closing
from typing import NamedTuple

from portkit.engines.patience import Patient
from portkit.model import ContentFile

# Of Go's FileMode, which the engine gives.
_FOLDER = 1 << 31
_KINDS = {1 << 24: "a socket", 1 << 25: "a FIFO", 1 << 26: "a device"}
_LIMIT = (1 << 20) + (64 << 10)  # bytes of a file of the App's configuration, and its headers


class Unfit(NamedTuple):
    """why: what it is, which does not travel."""

    why: str


def file_at(api: Patient, container: str, path: str) -> ContentFile | Unfit | None:
    """The file that a container sees at a path; None for a folder. Unfit when it is neither of
    them, or over 1 MiB."""
    pieces, about = api.get_archive(container, path)
    if leads := about.get("linkTarget"):
        # The image has a symlink there (Debian's /etc/localtime), so the file was mounted where
        # that leads. The engine has followed it to its end.
        pieces.close()
        pieces, about = api.get_archive(container, str(leads))
    with closing(pieces):
        mode = about.get("mode")
        if not isinstance(mode, int) or mode & _FOLDER:
            return None
        for bit, kind in _KINDS.items():
            if mode & bit:
                return Unfit(kind)
        data = bytearray()
        for piece in pieces:
            data += piece
            if len(data) > _LIMIT:
                return Unfit("a file of more than 1 MiB")
    return _from_tar(bytes(data))


def _from_tar(data: bytes) -> ContentFile | Unfit:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            member = archive.next()
            # Of a symlink, tarfile would look for what it leads to.
            file = archive.extractfile(member) if member is not None and member.isreg() else None
            if member is None or file is None:
                return Unfit("not a regular file")
            return ContentFile(
                mode=member.mode & 0o7777,
                uid=member.uid,
                gid=member.gid,
                mtime_s=int(member.mtime),
                data=file.read(),
            )
    except (tarfile.TarError, EOFError, ValueError) as error:
        return Unfit(f"something of which the engine sent no archive ({type(error).__name__})")
