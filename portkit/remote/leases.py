"""What each Move at work needs of this host's Store, so that no other takes it away.

ROOT/pk-ID.json    the marker of a Move: who makes it, what it needs here and what it has brought,
                   from before its first byte until it is ended or rolled back
ROOT/pk-ID.room    room on the disk for its way back: an engine writes when it removes something

A blob that a Move has brought is removed with it, unless something else needs the blob by then:
another Move takes over what it is left, as if it had brought it itself.

A marker that cannot be read holds up its own Move, and what must know whose it is: the stop of an
App on this host, the replacement of a volume's data, and gc. Until it is gone, nothing is removed
from the Store, as that Move may need it.
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
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple, TypedDict, Union

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
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RemoteError) as error:
        raise RemoteError(
            "HostError",
            "the marker of a Move on the host cannot be read",
            "%s: %s" % (path, type(error).__name__),
            "Look at that file and move it to another folder. Then end the Move on the machine "
            "where it was started: portkit resume %s, or portkit rollback %s. Do not start another "
            "Move of its App before that. If that machine is gone, `portkit ps` and `portkit gc` "
            "list what the Move left on this host." % (identity, identity),
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


def _found() -> Iterator[Tuple[str, Union[Marker, RemoteError]]]:
    for path in sorted(ROOT.glob("pk-*.json")):
        identity = path.name[: -len(".json")]
        if not is_id(identity):  # portkit did not write it
            continue
        try:
            marker = read(identity)
        except RemoteError as error:
            yield identity, error
        else:
            if marker is not None:
                yield identity, marker


def markers() -> List[Marker]:
    """The marker of every Move that is at work here or was left unfinished, as far as they can be
    read; see `unreadable`."""
    return [each for _, each in _found() if not isinstance(each, RemoteError)]


def unreadable() -> Dict[str, RemoteError]:
    """The Moves whose markers cannot be read, with the error that says so of each."""
    return {identity: each for identity, each in _found() if isinstance(each, RemoteError)}


def require_readable(beside: str = "") -> None:
    """HostError when the marker of a Move cannot be read, but for the one called `beside`: it may
    be of the very App, volume or blob that is asked about."""
    for identity, error in unreadable().items():
        if identity != beside:
            raise error


def needed(beside: str = "") -> Optional[Set[str]]:
    """Hex digests that Moves need, but for the one called `beside`. None where that cannot be told:
    all that is here may be needed."""
    found: Set[str] = set()
    for identity, each in _found():
        if identity == beside:
            continue
        if isinstance(each, RemoteError):
            return None
        found.update(each["needs"])
    return found


def hand_over(identity: str, names: Iterable[str]) -> Set[str]:
    """A Move gives up blobs: those (hex) that no other Move needs and that may go.

    What another one needs counts as brought by it as well from now on. Where the marker of another
    one cannot be read, none may go. Hold the lock.
    """
    free = set(names)
    for marker in markers():
        wanted = free & set(marker["needs"])
        if wanted and marker["id"] != identity:
            marker["brought"] = sorted(set(marker["brought"]) | wanted)
            write(marker)
            free -= wanted
    return set() if set(unreadable()) - {identity} else free
