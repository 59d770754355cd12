"""What a volume held before a Move took its place: set aside beside it, and put back.

.../volumes/NAME/_data                  the content of a volume, where its engine has it
.../volumes/NAME/portkit-was-pk-ID      what was its content before the Move, as it was: the folder
                                        itself under another name
ROOT/aside/pk-ID.json                   which volumes those are, written before the first rename

So nothing is copied, and what comes back is what was there, down to its inodes. An engine that
removes the volume removes both.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import List, Optional, TypedDict

from portkit.remote import leases, store
from portkit.remote.channel import Channel
from portkit.wire import strict_json
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

_DATA = "_data"
_MOST = 1000  # volumes of one Move


class Row(TypedDict):
    """A volume whose content was, or is being, set aside. inode: of the folder that is its
    content. lost: that it is not there any more was told."""

    name: str
    path: str
    inode: int
    lost: bool


def _record(identity: object) -> Path:
    return leases.ROOT / "aside" / leases.path_of(identity).name


def _read(identity: object) -> Optional[List[Row]]:
    path = _record(identity)
    try:
        document = strict_json.loads(path.read_bytes())
        return [
            {
                "name": str(row["name"]),
                "path": str(row["path"]),
                "inode": int(row["inode"]),
                "lost": bool(row["lost"]),
            }
            for row in document["volumes"]
        ]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteError(
            "HostError",
            "what a Move has set aside on the host cannot be read",
            "%s: %s" % (path, type(error).__name__),
            "See what is in that file: the folders that it names are beside their volumes.",
        ) from error


def _write(identity: object, rows: List[Row]) -> None:
    path = _record(identity)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with open(str(fresh), "wb") as file:
        file.write(json.dumps({"volumes": rows}, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    store.sync_folder(path.parent)


class _Place:
    """The folder of a volume, in which its content is; the names there of one Move."""

    def __init__(self, path: str, identity: str) -> None:
        parent, name = os.path.split(path)
        if name != _DATA or not os.path.isabs(path) or os.path.normpath(path) != path:
            raise RemoteError("HostError", "no volume has its content there", repr(path)[:300])
        self.parent = Path(parent)
        self.data = self.parent / _DATA
        self.was = self.parent / ("portkit-was-" + identity)
        self._new = self.parent / ("portkit-new-" + identity)
        self._gone = self.parent / ("portkit-gone-" + identity)

    def inode(self) -> int:
        """Of the content that the volume has now; 0 where it has none."""
        try:
            return os.lstat(str(self.data)).st_ino
        except FileNotFoundError:
            return 0

    def set_aside(self) -> None:
        """Whatever was done of it before, an empty folder takes the place of the content."""
        if not os.path.lexists(str(self.was)):
            _discard(self._new)
            self._new.mkdir(mode=0o700)
            status = os.lstat(str(self.data))
            os.chown(str(self._new), status.st_uid, status.st_gid)
            shutil.copystat(str(self.data), str(self._new))  # its label of SELinux, too
            self.data.rename(self.was)
        if not os.path.lexists(str(self.data)):
            if not os.path.lexists(str(self._new)):
                self._new.mkdir(mode=0o700)
            self._new.rename(self.data)
        _discard(self._new)
        store.sync_folder(self.parent)

    def put_back(self, inode: int) -> bool:
        """The volume has the content again that it had; False where that is not there any more."""
        if os.path.lexists(str(self.was)):
            if os.path.lexists(str(self.data)):
                _discard(self._gone)
                self.data.rename(self._gone)
            self.was.rename(self.data)
        found = self.inode() == inode
        if self.parent.is_dir():
            _discard(self._gone)
            _discard(self._new)
            store.sync_folder(self.parent)
        return found

    def drop(self) -> None:
        """What was set aside is removed."""
        _discard(self.was)


def _discard(folder: Path) -> None:
    if os.path.lexists(str(folder)):
        shutil.rmtree(str(folder))  # it follows no link


def aside(args: JsonObject, channel: Channel) -> JsonObject:
    """Set the content of volumes aside; they are empty then. It can be called again.

    args: id, volumes (name and path of each).
    """
    identity, wanted = str(args["id"]), list(args["volumes"])
    if len(wanted) > _MOST:
        raise RemoteError("HostError", "too many volumes", "%d" % len(wanted))
    places = [_Place(str(row["path"]), identity) for row in wanted]
    rows = _read(identity)
    if rows is not None and [row["path"] for row in rows] != [str(row["path"]) for row in wanted]:
        what = "the Move has set other volumes aside"
        raise RemoteError("HostError", what, str(_record(identity)))
    if rows is None:
        rows = [
            {"name": str(row["name"]), "path": str(row["path"]), "inode": 0, "lost": False}
            for row in wanted
        ]
    for row, place in zip(rows, places):
        if not os.path.lexists(str(place.was)):  # also where somebody made the volume anew
            _require_plain(place)
            row["inode"] = place.inode()
    _write(identity, rows)
    for place in places:
        place.set_aside()
    return {}


def _require_plain(place: _Place) -> None:
    """Only a folder of the engine's own, in which nothing is mounted, can be set aside."""
    data = str(place.data)
    if os.path.islink(data) or not os.path.isdir(data) or os.path.ismount(data):
        raise RemoteError(
            "IncompatibleError",
            "the content of a volume cannot be set aside",
            "%s is no plain folder" % data,
            "Let the data go into a volume of another name: --volumes NAME=clone.",
        )


def back(args: JsonObject, channel: Channel) -> JsonObject:
    """Every volume has the content again that it had before the Move; what is in it now is gone.

    args: id. ConflictError, once, where what was set aside is not there any more; all others have
    theirs then.
    """
    identity = str(args["id"])
    rows = _read(identity)
    if rows is None:
        return {}
    gone = [row for row in rows if not _Place(row["path"], identity).put_back(row["inode"])]
    told = [row for row in gone if not row["lost"]]
    if told:
        left: List[Row] = [
            {"name": row["name"], "path": row["path"], "inode": row["inode"], "lost": True}
            for row in gone
        ]
        _write(identity, left)
        raise RemoteError(
            "ConflictError",
            "what a volume of the target had before the Move is not there any more",
            ", ".join(row["path"] for row in told)[:2000],
            "Somebody removed it with the volume, or put it back by hand. The same rollback, "
            "called again, goes on without it.",
        )
    _forget(identity)
    return {}


def kept(args: JsonObject, channel: Channel) -> JsonObject:
    """What a Move has set aside on this host. args: id; "" for every Move. Answers volumes: id,
    name, path, and bytes that it takes on the disk."""
    known = [str(args["id"])]
    if not known[0]:
        known = [path.stem for path in sorted((leases.ROOT / "aside").glob("pk-*.json"))]
    found = []
    for identity in known:
        for row in _read(identity) or []:
            place = _Place(row["path"], identity)
            if os.path.lexists(str(place.was)):
                about = {"id": identity, "name": row["name"], "path": str(place.was)}
                found.append({**about, "bytes": _bytes(place.was)})
    return {"volumes": found}


def drop(args: JsonObject, channel: Channel) -> JsonObject:
    """Remove what a Move has set aside. args: id."""
    identity = str(args["id"])
    for row in _read(identity) or []:
        _Place(row["path"], identity).drop()
    _forget(identity)
    return {}


def _forget(identity: str) -> None:
    try:
        _record(identity).unlink()
    except FileNotFoundError:
        return


def _bytes(folder: Path) -> int:
    total = 0
    for place, folders, files in os.walk(str(folder)):
        for name in folders + files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
