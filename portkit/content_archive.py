"""Files that travel with an App as a tar: `0` is the first Content, `0/a` a file in it. Pure."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable

from portkit.model import ContentFile

_TYPES = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}


def pack(contents: Iterable[tuple[int, Iterable[ContentFile]]]) -> bytes:
    """The tar of the files of each Content by its number; empty where there are none. The same
    files make the same bytes."""
    made, empty = io.BytesIO(), True
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as out:
        for number, files in contents:
            for row in files:
                _add(out, f"{number}/{row.path}".rstrip("/"), row)
                empty = False
    return b"" if empty else made.getvalue()


def _add(out: tarfile.TarFile, path: str, row: ContentFile) -> None:
    info = tarfile.TarInfo(path)
    info.type = _TYPES[row.kind]
    info.mode, info.uid, info.gid, info.mtime = row.mode, row.uid, row.gid, row.mtime_s
    if row.kind == "link":
        info.linkname = os.fsdecode(row.data)
    info.size = len(row.data) if row.kind == "file" else 0
    out.addfile(info, io.BytesIO(row.data))
