"""What each Move at work needs of this host's Store, so that no other takes it away.

ROOT/pk-ID.json    the marker of a Move: who makes it, what it needs here and what it has brought,
                   from before its first byte until it is ended or rolled back
ROOT/pk-ID.room    room on the disk for its way back: an engine writes when it removes something

A blob that a Move has brought is removed with it, unless something else needs the blob by then:
another Move takes over what it is left, as if it had brought it itself.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple, TypedDict

from portkit.remote import store
from portkit.wire import strict_json
from portkit.wire.frames import RemoteError

ROOT = Path(os.environ.get("PORTKIT_MOVES", "/var/lib/portkit/moves"))
_ID = re.compile(r"pk-[0-9a-f]{12}")
_ROOM_BYTES = 1 << 20  # Docker's list of names, and the settings of some containers, written anew
_LIMIT = strict_json.LIMIT  # bytes of a marker; one of 10,000 blobs has 2 MB


# Address ("" is every one), number and protocol of a port that a Move publishes.
Port = Tuple[str, int, str]


class Marker(TypedDict):
    """What a Move says of itself on a host.

    about: texts for people who meet it. ports: what it publishes here. hold: the name by which it
    holds its image in the engine, or "". needs, brought: hex digests.
    """

    id: str
    app: str
    role: str
    about: Dict[str, str]
    ports: List[Port]
    hold: str
    needs: List[str]
    brought: List[str]


def ports_of(rows: Iterable[Sequence[object]]) -> List[Port]:
    """Ports out of JSON; ValueError or TypeError when one is malformed."""
    return [(str(address), int(str(number)), str(kind)) for address, number, kind in rows]


def is_id(identity: object) -> bool:
    """Whether that is a Move's id, as portkit makes them."""
    return isinstance(identity, str) and bool(_ID.fullmatch(identity))


def path_of(identity: object) -> Path:
    """Where the marker of a Move is or would be."""
    if not is_id(identity):
        raise RemoteError("HostError", "the id of a Move is not valid", repr(identity)[:100])
    return ROOT / ("%s.json" % identity)


@contextmanager
def locked() -> Iterator[None]:
    """Markers are read and written by one connection at a time."""
    ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
    ROOT.chmod(0o700)
    # flock(2) is released with the descriptor, also when the process is killed; a lock file that is
    # made and removed would stay.
    with open(str(ROOT / "lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(identity: str) -> Optional[Marker]:
    """A Move's marker, or None when it has none. HostError when it cannot be read."""
    path = path_of(identity)
    try:
        if path.stat().st_size > _LIMIT:
            raise ValueError("it is too big")
        marker = strict_json.loads(path.read_bytes())
        if not isinstance(marker, dict) or marker.get("id") != identity:
            raise ValueError("it is not the marker of that Move")
        return {
            "id": identity,
            "app": str(marker["app"]),
            "role": str(marker["role"]),
            "about": {str(key): str(value) for key, value in marker["about"].items()},
            "ports": ports_of(marker["ports"]),
            "hold": str(marker["hold"]),
            "needs": [store.path_of(each).name for each in marker["needs"]],
            "brought": [store.path_of(each).name for each in marker["brought"]],
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RemoteError) as error:
        raise RemoteError(
            "HostError",
            "the marker of a Move on the host cannot be read",
            "%s: %s" % (path, type(error).__name__),
            "Check what is in that file. If you delete it, portkit forgets what that Move left "
            "there.",
        ) from error


def write(marker: Marker) -> None:
    """Write a marker; it is there as a whole or as it was before. `needs` and `brought` are hex."""
    row = {
        **marker,
        "needs": sorted("sha256:" + name for name in set(marker["needs"])),
        "brought": sorted("sha256:" + name for name in set(marker["brought"])),
    }
    path = path_of(marker["id"])
    # The glob of `markers` does not match such a name.
    fresh = ROOT / (".%s" % secrets.token_hex(8))
    descriptor = os.open(str(fresh), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(row, sort_keys=True).encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink()
        raise
    store.sync_folder(ROOT)


def renew(old: Marker, marker: Marker) -> None:
    """Write the marker of a Move that has begun before, and may be about to be taken back. On a
    full disk the old one stays, where that protects what the new one would, and SpaceError is
    raised where it does not."""
    try:
        write(marker)
        keep_room(marker["id"])
    except OSError as error:
        more = {*marker["needs"], *marker["brought"]} - {*old["needs"], *old["brought"]}
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or more:
            raise


def keep_room(identity: str) -> None:
    """Set room aside for a Move's way back; OSError when there is none."""
    path = path_of(identity).with_suffix(".room")
    descriptor = os.open(str(path), os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _ROOM_BYTES)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def give_room(identity: object) -> None:
    """A Move goes back, or has ended: what was set aside for that is free."""
    try:
        path_of(identity).with_suffix(".room").unlink()
    except FileNotFoundError:
        return


def markers() -> List[Marker]:
    """The marker of every Move that is at work here or was left unfinished."""
    found = (read(path.name[: -len(".json")]) for path in sorted(ROOT.glob("pk-*.json")))
    return [marker for marker in found if marker is not None]


def needed(beside: str = "") -> Set[str]:
    """Hex digests that Moves need, but for the one called `beside`."""
    return {name for marker in markers() if marker["id"] != beside for name in marker["needs"]}


def hand_over(identity: str, names: Iterable[str]) -> Set[str]:
    """A Move gives up blobs: those (hex) that no other Move needs and that may go.

    What another one needs counts as brought by it as well from now on. Hold the lock.
    """
    free = set(names)
    for marker in markers():
        wanted = free & set(marker["needs"])
        if wanted and marker["id"] != identity:
            marker["brought"] = sorted(set(marker["brought"]) | wanted)
            write(marker)
            free -= wanted
    return free
