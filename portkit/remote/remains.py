"""What a Move left that was killed between two steps: no engine and no Move names it any more.

instance    a folder with an Instance's disks, and no domain
volume      a volume with portkit's mark, and no container of that Move
network     a network with portkit's mark, and no container of that Move
image       a name by which portkit holds an image, and no container that is made from it

What belongs to a Move that has a marker here is that Move's: `portkit moves` shows it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterator, List, Optional, Sequence
from urllib.parse import quote, urlencode

from portkit.remote import engine, images, instances, leases
from portkit.remote.channel import Channel
from portkit.wire import labels
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_IN_USE = "network is being used"
_HELD_BY = re.compile(re.escape(labels.HELD) + r"[0-9a-f]+-([0-9a-f]{12})")


def listing(args: JsonObject, channel: Channel) -> JsonObject:
    """Rows of kind, id, app ("" where nobody knows), name, empty (no volume of it holds data).

    args: domains (ids of the Instances that libvirt has; None: it was not asked, and no folder is
    judged).
    """
    return {"remains": find(args["domains"])}


def find(domains: Optional[Sequence[str]]) -> List[JsonObject]:
    """What is left here; nothing of an engine that does not answer."""
    # A Move that has a marker is at work, or waits for a resume or a rollback, which need what it
    # has here.
    marked = {marker["id"] for marker in leases.markers()} | set(leases.unreadable())
    rows = [] if domains is None else list(_folders(set(domains)))
    try:
        rows += _of_engine() if engine.info() is not None else []
    except RemoteError as error:
        if error.kind != "EngineError":
            raise
    return [row for row in rows if row["id"] not in marked]


def remove(row: JsonObject) -> None:
    """Remove one of them; fine when somebody else was faster or uses it by now."""
    if row["kind"] == "instance":
        instances.discard(row["id"])
    elif row["kind"] == "image":
        images.untag(row["name"])
    elif row["kind"] == "volume":
        _delete("/volumes/" + quote(row["name"], safe=""))
    else:
        # Several networks may have one name.
        for network in _marked_networks():
            if engine.fields(network, "Labels").get(labels.MOVE) == row["id"]:
                _delete("/networks/" + quote(engine.text(network, "Id"), safe=""))


def _delete(place: str) -> None:
    """Fine where it is gone, or in use: of a volume the engine says 409 then, of a network 403;
    Podman says 500 of a network, with these words."""
    try:
        with engine.request("DELETE", place):
            return
    except RemoteError as error:
        if not any(code in error.details for code in (": 404 ", ": 409 ", ": 403 ", _IN_USE)):
            raise


def _row(kind: str, identity: str, app: object, name: str, empty: bool = False) -> JsonObject:
    # The name comes from a file or a label, which anybody may have written.
    known = isinstance(app, str) and _APP.fullmatch(app)
    return {"kind": kind, "id": identity, "app": app if known else "", "name": name, "empty": empty}


def _folders(domains: "set[str]") -> Iterator[JsonObject]:
    for folder in sorted(instances.ROOT.glob("pk-*")) if instances.ROOT.is_dir() else ():
        if leases.is_id(folder.name) and folder.name not in domains:
            app, unused = (
                instances.app_of(folder),
                not any(map(_was_mounted, folder.glob("pkv*.raw"))),
            )
            yield _row("instance", folder.name, app, folder.name, unused)


def _was_mounted(disk: Path) -> bool:
    """Whether a volume's disk may hold data: its ext4 was mounted once, or cannot be read.

    Source: the kernel's Documentation/filesystems/ext4/super.rst: s_mtime at 0x2C, s_magic at 0x38
    of the superblock, which begins at 1024."""
    try:
        with disk.open("rb") as file:
            file.seek(1024)
            block = file.read(64)
    except OSError:
        return True
    # 0xEF53, little-endian. A disk that is no ext4 is taken to hold data.
    return block[0x38:0x3A] != b"\x53\xef" or block[0x2C:0x30] != bytes(4)


def _of_engine() -> Iterator[JsonObject]:
    containers = engine.get_rows("/containers/json?all=1")
    moves = {engine.fields(each, "Labels").get(labels.MOVE) for each in containers}
    yield from _volumes(moves)
    yield from _networks(moves, containers)
    names = {labels.familiar(engine.text(each, "Image")) for each in containers}
    for row in engine.get_rows("/images/json"):
        for tag in map(labels.familiar, engine.texts(row, "RepoTags")):
            held = _HELD_BY.fullmatch(tag)
            identity = "pk-" + held[1] if held else ""
            if tag.startswith(labels.HELD) and tag not in names and identity not in moves:
                yield _row("image", identity, "", tag)


def _volumes(moves: "set[Optional[str]]") -> Iterator[JsonObject]:
    # A volume of a Move has the Move's id in a label. Its name would do as well, but a person may
    # have chosen such a name.
    for row in engine.volumes(labels.MOVE):
        given = engine.fields(row, "Labels")
        identity = given.get(labels.MOVE)
        # Data that came with a running App stays when its containers are removed: it is the user's.
        if leases.is_id(identity) and identity not in moves and labels.DATA not in given:
            name, place = engine.text(row, "Name"), engine.text(row, "Mountpoint")
            yield _row("volume", str(identity), given.get(labels.APP), name, _is_empty(place))


def _networks(moves: "set[Optional[str]]", containers: List[JsonObject]) -> Iterator[JsonObject]:
    places = [engine.fields(each, "NetworkSettings") for each in containers]
    # Of one that is not an App's alone, the engine would not notice containers that do not run.
    joined = {name for place in places for name in engine.fields(place, "Networks")}
    for row in _marked_networks():
        given, name = engine.fields(row, "Labels"), engine.text(row, "Name")
        identity = given.get(labels.MOVE)
        used = labels.EXTERNAL in given and name in joined
        if leases.is_id(identity) and identity not in moves and not used:
            yield _row("network", str(identity), given.get(labels.APP), name)


def _marked_networks() -> List[JsonObject]:
    query = urlencode({"filters": '{"label":["%s"]}' % labels.MOVE})
    return engine.get_rows("/networks?" + query)


def _is_empty(mountpoint: str) -> bool:
    """Whether a volume holds nothing; False where that cannot be seen."""
    try:
        with os.scandir(str(Path(mountpoint))) as entries:
            return mountpoint.startswith("/") and not any(entries)
    except OSError:
        return False
