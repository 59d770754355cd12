"""What a volume held before a Move took its place: set aside beside it, and put back.

.../volumes/NAME/_data                  the content of a volume, where its engine has it
.../volumes/NAME/portkit-was-pk-ID      what was its content before the Move, as it was: the folder
                                        itself under another name
ROOT/aside/pk-ID.json                   which volumes those are, written before the first rename

So nothing is copied, and what comes back is what was there, down to its inodes. An engine that
removes the volume removes both. Another Move may set aside what this one has put there; then that
one goes back first. What is mounted in a folder is somebody else's: no such folder is removed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Dict, List, Optional

from portkit.remote import aside_records, leases, mounts, store
from portkit.remote.aside_records import Row
from portkit.remote.channel import Channel
from portkit.wire import labels
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

_DATA = "_data"
_MOST = 1000  # volumes of one Move


class _Place:
    """The folder of a volume, in which its content is; the names there of one Move."""

    def __init__(self, path: str, identity: str) -> None:
        parent, name = os.path.split(path)
        if name != _DATA or not os.path.isabs(path) or os.path.normpath(path) != path:
            raise RemoteError("HostError", "no volume stores its content there", repr(path)[:300])
        self.parent = Path(parent)
        self.data = self.parent / _DATA
        self.was = self.parent / ("portkit-was-" + identity)
        self._new = self.parent / ("portkit-new-" + identity)
        self._gone = "portkit-gone-" + identity

    def inode(self) -> int:
        """Of the content that the volume has now; 0 where it has none."""
        try:
            return os.lstat(str(self.data)).st_ino
        except FileNotFoundError:
            return 0

    def is_aside(self) -> bool:
        """Whether what the Move has set aside is there."""
        return os.path.lexists(str(self.was))

    def prepare(self) -> int:
        """An empty folder is ready to take the place of the content; its inode."""
        mounts.discard(self._new)
        self._new.mkdir(mode=0o700)
        like = self.was if self.is_aside() else self.data
        status = os.lstat(str(like))
        os.chown(str(self._new), status.st_uid, status.st_gid)
        shutil.copystat(str(like), str(self._new))  # its label of SELinux, too
        return os.lstat(str(self._new)).st_ino

    def set_aside(self) -> None:
        """Whatever was done of it before, the folder that is ready takes the place."""
        if not self.is_aside():
            self.data.rename(self.was)
        if not os.path.lexists(str(self.data)):
            self._new.rename(self.data)
        mounts.discard(self._new)
        store.sync_folder(self.parent)

    def put_back(self) -> None:
        """The volume has the content again that was set aside, if that is there; what it has now
        gets another name."""
        if not self.is_aside():
            return
        if os.path.lexists(str(self.data)):
            self.data.rename(self._unused())
        self.was.rename(self.data)
        store.sync_folder(self.parent)

    def _unused(self) -> Path:
        # One of an earlier try may be there still.
        number = 0
        while os.path.lexists(str(self.parent / ("%s.%d" % (self._gone, number)))):
            number += 1
        return self.parent / ("%s.%d" % (self._gone, number))

    def clear(self) -> None:
        """What the volume had of the Move is removed."""
        if not self.parent.is_dir():
            return
        for each in sorted(self.parent.iterdir()):
            if each.name.startswith(self._gone + "."):
                mounts.discard(each)
        mounts.discard(self._new)
        store.sync_folder(self.parent)

    def drop(self) -> None:
        """What was set aside is removed."""
        mounts.discard(self.was)


def aside(args: JsonObject, channel: Channel) -> JsonObject:
    """Set the content of volumes aside; they are empty then. It can be called again.

    args: id, volumes (name and path of each), keeps (the same of those that the App takes as they
    are). Answers unreadable: the records of other Moves that cannot be read. Such a Move holds up
    only what takes a volume beside which it has something.
    """
    identity, wanted = str(args["id"]), list(args["volumes"])
    if len(wanted) > _MOST:
        raise RemoteError("HostError", "too many volumes", "%d" % len(wanted))
    places = [_Place(str(row["path"]), identity) for row in wanted]
    rows = aside_records.read(identity)
    if rows is not None and [row["path"] for row in rows] != [str(row["path"]) for row in wanted]:
        what = "the Move has already set other volumes aside"
        raise RemoteError("HostError", what, str(aside_records.path_of(identity)))
    if rows is None:
        rows = [
            {
                "name": str(row["name"]),
                "path": str(row["path"]),
                "inode": 0,
                "new": 0,
                "lost": False,
            }
            for row in wanted
        ]
    others = aside_records.others(identity)
    _require_free(identity, rows, list(args["keeps"]), others)
    for row, place in zip(rows, places):
        if not place.is_aside():  # also where somebody made the volume anew
            _require_plain(row["name"], place)
        elif os.path.lexists(str(place.data)):
            _require_own(row, place, others)
    for row, place in zip(rows, places):
        if not place.is_aside():
            row["inode"] = place.inode()
        if not place.is_aside() or not os.path.lexists(str(place.data)):
            row["new"] = place.prepare()
    if rows:
        aside_records.write(identity, rows)
    for place in places:
        place.set_aside()
    return {"unreadable": aside_records.unreadable()}


def _require_free(
    identity: str,
    rows: List[Row],
    keeps: List[JsonObject],
    others: "Dict[str, Optional[List[Row]]]",
) -> None:
    """ConflictError where a Move that has not ended has set one of them aside: its App's data is on
    its way into what is there now. Also where it is to start on one that would be set aside."""
    replaced = {row["path"]: row["name"] for row in rows}
    wanted = {**replaced, **{str(each["path"]): str(each["name"]) for each in keeps}}
    if wanted:
        leases.require_readable(beside=identity)
    for marker in leases.markers():
        if marker["id"] == identity:
            continue
        taken = others.get(marker["id"], [])
        if taken is None:
            near = [path for path in wanted if _is_beside(path, marker["id"])]
            if near:
                raise aside_records.damaged(
                    aside_records.path_of(marker["id"]), "beside " + ", ".join(near)[:1000]
                )
            taken = []
        held = {row["path"] for row in taken if not row["lost"]}
        names = [wanted[path] for path in wanted if path in held]
        names += [name for name in replaced.values() if labels.KEEPS + name in marker["about"]]
        if names and marker["role"] == "target":
            raise RemoteError(
                "ConflictError",
                "a Move that has not ended is using a volume of the target",
                "%s: %s" % (", ".join(names)[:1000], marker["id"]),
                "End that Move first: portkit resume %s, or portkit rollback %s"
                % (marker["id"], marker["id"]),
            )


def _is_beside(path: str, identity: str, *words: str) -> bool:
    """Whether a Move has something beside the content of a volume."""
    parent = os.path.dirname(path)
    names = ["portkit-%s-%s" % (word, identity) for word in words or ("was", "new")]
    return any(os.path.lexists(os.path.join(parent, name)) for name in names)


def _require_plain(name: str, place: _Place) -> None:
    """Only a folder of the engine's own, in which nothing is mounted, can be set aside."""
    data = str(place.data)
    # Of what is mounted from the same file system, os.path.ismount knows nothing; but it knows a
    # subvolume, which is not mounted.
    mounted = mounts.at_or_below(place.data)
    if mounted or os.path.islink(data) or not os.path.isdir(data) or os.path.ismount(data):
        why = ": something is mounted at %s" % ", ".join(mounted)[:1000] if mounted else ""
        raise RemoteError(
            "IncompatibleError",
            "the data of a volume cannot be set aside",
            "%s is not a plain folder%s" % (data, why),
            "Put the data into a volume with a new name: --volumes %s=clone." % name,
        )


def _require_own(row: Row, place: _Place, others: "Dict[str, Optional[List[Row]]]") -> None:
    """ConflictError where the volume has something else than the Move has put there, or a newer
    Move is about to take that; HostError where it cannot be known whether one is."""
    here, newer = place.inode(), ""
    for identity, rows in others.items():
        # One that has begun has its new folder there; one that is done has it in the place.
        begun = _is_beside(row["path"], identity, "new")
        if rows is None and (begun or (here != row["new"] and _is_beside(row["path"], identity))):
            raise aside_records.damaged(aside_records.path_of(identity), "beside %s" % row["path"])
        for other in rows or []:
            taken = other["new"] == here or other["inode"] == row["new"]
            if other["path"] == row["path"] and not other["lost"] and taken:
                newer = identity
    if here == row["new"] and not newer:
        return
    elsewhere = (
        "Move it elsewhere, so that there is no %s, and run the same command again. %s is beside "
        "it."
    )
    raise RemoteError(
        "ConflictError",
        "a volume of the target has other data than the Move has put there",
        "%s, %s" % (place.data, "of the newer Move %s" % newer if newer else "of no Move"),
        "Roll the newer Move back first: portkit rollback %s" % newer
        if newer
        else elsewhere % (place.data, place.was.name),
    )


def back(args: JsonObject, channel: Channel) -> JsonObject:
    """Every volume has the content again that it had before the Move; what is in it now is gone.

    args: id. A volume that cannot have it holds up no other one. ConflictError where somebody uses
    what would be removed, and, once, where what was set aside is not there any more; HostError
    where all have theirs, and what they had of the Move cannot be removed.
    """
    identity = str(args["id"])
    rows = aside_records.read(identity)
    if rows is None:
        return {}
    places = [(row, _Place(row["path"], identity)) for row in rows]
    others = aside_records.others(identity)
    held = [found for row, place in places for found in _put_back(row, place, others)]
    gone = [row for row, place in places if not place.is_aside() and place.inode() != row["inode"]]
    stuck = [found for _, place in places for found in _clear(place)]
    if held:
        raise _together(held, "All other volumes have their earlier data again. ")
    if stuck:
        raise _together(stuck, "Every volume has its earlier data again. ")
    told = [row for row in gone if not row["lost"]]
    if told:
        for row in gone:
            row["lost"] = True
        aside_records.write(identity, gone)
        raise RemoteError(
            "ConflictError",
            "the earlier data of a volume of the target no longer exists",
            ", ".join(row["path"] for row in told)[:2000],
            "It was removed with the volume, or put back by hand. Run the same rollback again to "
            "continue without it.",
        )
    aside_records.forget(identity)
    return {}


def _put_back(
    row: Row, place: _Place, others: "Dict[str, Optional[List[Row]]]"
) -> List[RemoteError]:
    """Nothing, or why what was set aside cannot take its place."""
    try:
        if place.is_aside() and os.path.lexists(str(place.data)):
            mounted = mounts.at_or_below(place.data)
            if mounted:
                raise RemoteError(
                    "ConflictError",
                    "the earlier data of a volume cannot be put back, because something is "
                    "mounted in the volume",
                    ", ".join(mounted)[:1000],
                    "Unmount it (umount %s), and run the same command again." % mounted[-1],
                )
            _require_own(row, place, others)
        place.put_back()
    except RemoteError as error:
        return [error]
    except OSError as error:
        what = "the earlier data of a volume could not be put back"
        details = "%s: %s" % (place.data, error)
        return [
            RemoteError(
                "HostError", what, details, "Fix the cause, and run the same command again."
            )
        ]
    return []


def _clear(place: _Place) -> List[RemoteError]:
    """Nothing, or why what the volume had of the Move cannot be removed."""
    try:
        place.clear()
    except RemoteError as error:
        return [RemoteError("HostError", error.brief, error.details, error.resolution)]
    except OSError as error:
        return [
            RemoteError(
                "HostError",
                "the data that the Move put into a volume of the target cannot be removed",
                "%s: %s" % (place.parent, error),
                "Remove it by hand (portkit-gone-...; lsattr shows what is immutable), and run "
                "the same command again.",
            )
        ]
    return []


def _together(errors: List[RemoteError], others: str) -> RemoteError:
    """One error that names what each of them names."""
    first = errors[0]
    details = "; ".join(each.details for each in errors)[:2000]
    ways = list(dict.fromkeys(each.resolution for each in errors))
    return RemoteError(first.kind, first.brief, details, others + " ".join(ways)[:2000])


def kept(args: JsonObject, channel: Channel) -> JsonObject:
    """What a Move has set aside on this host. args: id; sizes: whether they are asked for, which
    takes a walk. Answers volumes: id, name, path, bytes on the disk or 0."""
    identity, found = str(args["id"]), []
    for row in aside_records.read(identity) or []:
        place = _Place(row["path"], identity)
        if place.is_aside():
            about = {"id": identity, "name": row["name"], "path": str(place.was)}
            found.append({**about, "bytes": _bytes(place.was) if args["sizes"] else 0})
    return {"volumes": found}


def beside(args: JsonObject, channel: Channel) -> JsonObject:
    """What any Move has set aside beside some volumes, whatever its record says. args: volumes
    (name and path of each). Answers as `kept`, without sizes."""
    found = []
    for row in args["volumes"]:
        parent = Path(os.path.dirname(str(row["path"])))
        for was in sorted(parent.glob("portkit-was-pk-*")):
            identity = was.name[len("portkit-was-") :]
            if leases.is_id(identity):
                found.append({"id": identity, "name": row["name"], "path": str(was), "bytes": 0})
    return {"volumes": found}


def drop(args: JsonObject, channel: Channel) -> JsonObject:
    """Remove what a Move has set aside. args: id."""
    identity = str(args["id"])
    for row in aside_records.read(identity) or []:
        _Place(row["path"], identity).drop()
    aside_records.forget(identity)
    return {}


def _bytes(folder: Path) -> int:
    total = 0
    for place, folders, files in os.walk(str(folder)):
        for name in folders + files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
