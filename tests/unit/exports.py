"""A container as an engine gives it: the list of its changes, and its files as a tar."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from copy import copy
from urllib.parse import quote

from tests.unit.fake_engine import FakeEngine

ID = "c0ffee" * 10 + "1234"
Row = tuple[tarfile.TarInfo, bytes]
_KINDS = {"C": 0, "A": 1, "D": 2}


def row(
    name: str,
    data: bytes = b"",
    *,
    link: str = "",
    hard: str = "",
    mode: int | None = None,
    owner: int = 0,
    kind: bytes | None = None,
    pax: Mapping[str, str] | None = None,
) -> Row:
    """A file; a folder where the name ends with "/"; a link where one is given."""
    info = tarfile.TarInfo(name)
    folder = name.endswith("/")
    info.type = kind or (
        tarfile.DIRTYPE
        if folder
        else tarfile.SYMTYPE
        if link
        else tarfile.LNKTYPE
        if hard
        else tarfile.REGTYPE
    )
    info.mode = mode if mode is not None else 0o755 if folder else 0o644
    info.uid = info.gid = owner
    # An engine writes the names of its own host's users.
    info.uname, info.gname = "root", "root"
    info.linkname = link or hard
    info.mtime = 1_600_000_000
    info.size = len(data)
    info.pax_headers = dict(pax or {})
    return info, data


def tar(rows: Sequence[Row]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
    ) as bundle:
        for info, data in rows:
            bundle.addfile(info, io.BytesIO(data))
    return out.getvalue()


def give(engine: FakeEngine, listed: str | None, rows: Sequence[Row]) -> None:
    """Have the engine tell of changes ("A /a" each in a line) and of files."""
    lines = [line.split(maxsplit=1) for line in (listed or "").splitlines() if line.strip()]
    told = [{"Path": path, "Kind": _KINDS[kind]} for kind, path in lines]
    engine.answers[f"GET /containers/{ID}/changes"] = (200, told or None)
    engine.answers[f"GET /containers/{ID}/export"] = (200, tar(rows))
    for number, (info, _) in enumerate(rows):
        path = info.name.rstrip("/")
        # Of a folder with all that is in it.
        below = [each for each in rows[number:] if f"{each[0].name}/".startswith(f"{path}/")]
        asked = f"GET /containers/{ID}/archive?path={quote('/' + path, errors='surrogateescape')}"
        engine.answers[asked] = (200, tar([_within(each, path) for each in below]))


def _within(one: Row, path: str) -> Row:
    """Under the name that an archive of that path gives it."""
    info = copy(one[0])
    info.name = info.name[len(path.rpartition("/")[0]) :].lstrip("/")
    return info, one[1]
