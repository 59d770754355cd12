"""Moves at work on this host: one of an App at a time, each with a marker of what it needs.

ROOT/locks/APP    held (flock) by the remote half of a Move's connection, and gone with it

The first byte of a lock says whether its holder may be ended: "-", or "+" while it is in a call
that an engine would finish without it. Behind it are the holder's Move, role and process.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional

from portkit.remote import gc, instances, leases, receive, rivals, staging, store, vm_disks
from portkit.remote.channel import Channel
from portkit.wire import processes, strict_json
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject
from portkit.wire.sparse import write_at

_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,300}")
_HELD: Dict[str, int] = {}  # App -> descriptor of the lock that this connection holds
# An engine that was told to load or build goes on when its caller ends: it is waited for.
_LASTING = {"image.load", "image.build", "image.pull", "instance.create", "instance.fill"}
_LASTING_S = 300.0
_GLANCES = 40  # two seconds
_ENDING_S = 20.0  # what the remote half of a broken connection has to clean up


def begin(args: JsonObject, channel: Channel) -> JsonObject:
    """Take the App's lock for this connection and mark the Move; ConflictError names who has it.

    args: id, app, role (source or target), about (source, target, holder, started, forms: texts
    for those who meet the marker), needs (digests), ports (rows of address, number, protocol),
    hold (the name that will hold its image, or ""), brought (only where the Move has begun before:
    what was answered then, as its marker may be gone). Beginning again is fine: a new connection of
    the same Move takes the lock over from one that broke.
    Answers the digests that the Move will have brought, and the files of other Moves' markers that
    cannot be read: such a Move holds up this one only where it may be of the same App.
    """
    app, role, identity = _app(args), str(args["role"]), args["id"]
    if role not in ("source", "target"):
        raise RemoteError("AppError", "the role of a host in a Move is not valid", repr(role)[:100])
    about = {str(key): str(value) for key, value in args["about"].items()}
    if not all(map(_TEXT.fullmatch, about.values())):
        raise RemoteError("AppError", "the description of a Move is not valid")
    needs = [store.path_of(digest).name for digest in args["needs"]]
    held = app in _HELD
    _take(app, identity, role)  # not under the markers' lock, which its last holder may need
    try:
        with leases.locked():
            marker = _mark(args, app, role, about, needs)
    except BaseException:
        if not held:
            _let_go(app)
        raise
    return {
        "brought": sorted("sha256:" + name for name in marker["brought"]),
        "unreadable": [str(leases.path_of(each)) for each in leases.unreadable()],
    }


def _app(args: JsonObject) -> str:
    """The App's name, which becomes a file's; AppError when it is none."""
    name = str(args["app"])
    if not _APP.fullmatch(name):
        raise RemoteError("AppError", "the App's name is not valid", repr(name)[:100])
    return name


def _mark(
    args: JsonObject, app: str, role: str, about: Dict[str, str], needs: List[str]
) -> leases.Marker:
    """Write the Move's marker; ConflictError when another Move is in its way."""
    identity = args["id"]
    old = leases.read(identity)
    ports = leases.ports_of(args["ports"])
    if old is None:
        rivals.require_known(identity, role, about)
    rivals.require_alone(app, identity, ports, about)
    before = [store.path_of(digest).name for digest in args.get("brought") or ()]
    if old is None and args.get("brought") is None:  # later its own Instance may listen
        rivals.require_free(ports)
    absent = [name for name in needs if store.find("sha256:" + name) is None]
    marker: leases.Marker = {
        "id": identity,
        "app": app,
        "role": role,
        "about": about,
        "ports": ports,
        "hold": str(args.get("hold", "")),
        "needs": needs,
        "brought": sorted({*absent, *before, *(old["brought"] if old else ())}),
    }
    # Where one host is both ends, the target's marker is the one that holds what is needed.
    if old is None:
        leases.keep_room(identity)
        leases.write(marker)
    elif role in ("target", old["role"]):
        leases.renew(old, marker)
    return marker


def room(args: JsonObject, channel: Channel) -> JsonObject:
    """The Move `id` is about to be taken back: the room that was set aside for that is free."""
    leases.give_room(args["id"])
    return {}


def end(args: JsonObject, channel: Channel) -> JsonObject:
    """Remove a Move's marker and let its lock go; fine when it has ended before.

    What it brought and nothing needs any more goes with it: for example a blob that it took over
    from another Move, and whose image was in the engine by then. So does what the disks of a VM
    were made of.
    """
    staging.drop(args["id"])
    with leases.locked():
        marker = leases.read(args["id"])
        if marker is not None:
            vm_disks.hide(marker["about"])
            _drop(marker["id"], marker["brought"])
            leases.path_of(marker["id"]).unlink(missing_ok=True)
        leases.give_room(args["id"])
        _let_go(_app(args))
    return {"removed": marker is not None}


def _drop(identity: str, names: Iterable[str]) -> None:
    """Remove blobs (hex) that a Move brought, but none that anything else needs. Hold the lock."""
    packed = gc.packed()
    if packed is None:  # this host's own Store cannot be read: gc says so
        return
    free = leases.hand_over(identity, names) - gc.of_instances() - packed
    store.remove("sha256:" + name for name in sorted(free))
    instances.drop_unused_bases(leases.needed(beside=identity))


def listing(args: JsonObject, channel: Channel) -> JsonObject:
    """Every marker, and whether its Move is at work now; those that cannot be read are left out.

    args: id (HostError when the marker of that Move cannot be read), or nothing.
    """
    if "id" in args:
        leases.read(args["id"])
    rows = []
    with leases.locked():
        for marker in leases.markers():
            holder = _holder(marker["app"])
            rows.append(
                {
                    "id": marker["id"],
                    "app": marker["app"],
                    "role": marker["role"],
                    "about": marker["about"],
                    "hold": marker["hold"],
                    "brought": ["sha256:" + name for name in marker["brought"]],
                    "live": holder is not None and holder.get("id") == marker["id"],
                }
            )
    return {"moves": rows}


def remove(args: JsonObject, channel: Channel) -> JsonObject:
    """Remove blobs from the Store, but none that an Instance or another Move needs.

    args: digests, move (whose they are, or ""), parts (digests of which no part is kept either).
    """
    identity = str(args.get("move", ""))
    with leases.locked():
        _drop(identity, [store.path_of(digest).name for digest in args["digests"]])
        needed = leases.needed(beside=identity)
        for digest in args.get("parts", ()):
            if needed is not None and store.path_of(digest).name not in needed:
                receive.forget(digest)
    return {}


@contextmanager
def lasting(verb: str) -> Iterator[None]:
    """While a verb runs that an engine would finish alone, whoever takes the lock over waits."""
    if verb in _LASTING:
        _say(b"+")
    try:
        yield
    finally:
        if verb in _LASTING:
            _say(b"-")


def _say(mark: bytes) -> None:
    for descriptor in _HELD.values():
        os.pwrite(descriptor, mark, 0)


# ---------------------------------------------------------------- the lock


def lock_of(app: str) -> Path:
    """Where an App's lock is."""
    return leases.ROOT / "locks" / app


def _take(app: str, identity: str, role: str) -> None:
    """Hold the App's lock; ConflictError names the Move that does."""
    if app in _HELD:
        return
    folder = leases.ROOT / "locks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline, glances = 0.0, 0
    while True:
        descriptor = _open(lock_of(app))
        if descriptor is not None:
            break
        holder = _holder(app)
        if not holder and glances < _GLANCES:  # somebody only looked, or has just taken it
            glances += 1
            time.sleep(0.05)
            continue
        if not holder or holder.get("id") != identity:
            raise _busy(app, holder or {})
        if holder.get("role") != role:
            return  # this host is both ends of one Move, and the other end holds it
        # A connection of this very Move that broke, and has not noticed yet.
        now = time.monotonic()
        if not deadline:
            lasts = holder.get("lasting")
            deadline = now + (_LASTING_S if lasts else _ENDING_S)
            if not lasts:
                _stop(holder, signal.SIGTERM)
        elif now > deadline:
            raise _busy(app, holder)
        time.sleep(0.1)
    row = {
        "id": identity,
        "role": role,
        "pid": os.getpid(),
        "start": processes.started(os.getpid()),
    }
    words = b"-" + json.dumps(row).encode()
    # Over what the last holder wrote, who is gone as its lock is free. Not into an empty file: on a
    # full disk, its block is the only one.
    write_at(descriptor, words, 0)
    os.ftruncate(descriptor, len(words))
    _HELD[app] = descriptor


def _let_go(app: str) -> None:
    """Release the App's lock where this connection holds it; one that nobody holds goes as well."""
    path = lock_of(app)
    descriptor = _HELD.pop(app, None)
    if descriptor is None and path.exists():
        descriptor = _open(path)
    if descriptor is not None:
        # Before the descriptor is closed: in the other order somebody could take the lock of a file
        # that is then removed under its feet.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _open(path: Path) -> Optional[int]:
    """The lock's descriptor once it is ours, or None while another process holds it."""
    while True:
        descriptor = os.open(str(path), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Its last holder may have removed the file between the two calls.
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
        os.close(descriptor)


def _holder(app: str) -> Optional[JsonObject]:
    """What the holder of an App's lock wrote into it; None when nobody holds it."""
    path = lock_of(app)
    if app in _HELD:
        return _words(os.pread(_HELD[app], 4096, 0))
    try:
        descriptor = os.open(str(path), os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        # A shared lock, so that two who only look do not take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _words(os.pread(descriptor, 4096, 0))
    finally:
        os.close(descriptor)
    return None


def _words(data: bytes) -> JsonObject:
    try:
        row = strict_json.loads(data[1:])
    except ValueError:  # it has only just been taken
        return {}
    return {**row, "lasting": data[:1] == b"+"} if isinstance(row, dict) else {}


def _stop(holder: JsonObject, number: int) -> None:
    """Signal the process that the lock names, if it is still that one."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 1:
        return
    started = processes.started(pid)
    if started is not None and started == holder.get("start"):
        os.kill(pid, number)


def _busy(app: str, holder: JsonObject) -> RemoteError:
    identity = str(holder.get("id", "unknown"))[:20]
    marker = leases.read(identity) if leases.is_id(identity) else None
    return RemoteError(
        "ConflictError",
        "another Move of %s is running" % app,
        rivals.described(marker) if marker else "Move %s" % identity,
        "Wait until it has ended. `portkit moves` shows it on the machine where it was started.",
    )
