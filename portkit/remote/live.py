"""A VM that moves without a stop: its sockets, and the files that its disks arrive in.

RUN/ID/      while it moves: the sockets of QEMU, whose user owns the folder
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import Dict

from portkit.remote import instances, staging, vm_disks
from portkit.remote.channel import Channel
from portkit.wire import processes
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

# A socket's path has at most 107 characters, and here at most 40.
RUN = Path("/run/portkit/live")
_PIDS = Path("/run/libvirt/qemu")  # NAME.pid of each domain that runs
_WAITS_S, _LOOK_S = 1.0, 0.005
_UNKNOWN: JsonObject = {"pid": 0, "started": ""}


def offer(args: JsonObject, channel: Channel) -> JsonObject:
    """Whether who logs in is root, so that ssh can forward QEMU's sockets; the sizes of the disks
    that an Instance writes to, but for its system disk. args: id; "" for no Instance."""
    root = os.geteuid() == 0 and not os.environ.get("SUDO_UID")
    sizes: Dict[str, int] = {}
    if args["id"]:
        folder = staging.folder_of(args["id"])
        sizes = {path.name: path.stat().st_size for path in folder.glob("pkv*.raw")}
    return {"root": root, "volumes": sizes}


def receive(args: JsonObject, channel: Channel) -> JsonObject:
    """The disks of an Instance that does not run are as empty as those that a copy is written to,
    and its logs say what the guest has said before. args: id, volumes, serial, state.

    Done again, it gives the same: nothing of a try that failed is left."""
    folder = staging.folder_of(args["id"])
    sizes = {str(name): int(size) for name, size in args["volumes"].items()}
    if sorted(sizes) != sorted(path.name for path in folder.glob("pkv*.raw")):
        raise RemoteError(
            "VerifyError",
            "the VM has other disks than its Instance on the target",
            "%s: %s" % (folder, ", ".join(sorted(sizes))[:500]),
            "Move it without --live.",
        )
    (folder / "moved").touch()  # from now on they may hold what came from elsewhere
    with staging.in_place_of(folder / vm_disks.OVERLAY) as fresh:
        base = instances.ROOT / "base" / (folder / "base").read_text()
        instances.make_overlay(fresh, base)
    for name, size in sizes.items():
        with staging.in_place_of(folder / name) as fresh, fresh.open("xb") as file:
            file.truncate(size)
    for name in ("serial", "state"):
        _write(folder / (name + ".log"), str(args[name]), os.O_TRUNC)
    return {}


def tell(args: JsonObject, channel: Channel) -> JsonObject:
    """What the guest said while it moved comes behind what its logs have. args: as for `receive`,
    without volumes."""
    folder = staging.folder_of(args["id"])
    for name in ("serial", "state"):
        _write(folder / (name + ".log"), str(args[name]), os.O_APPEND)
    return {}


def _write(path: Path, text: str, flag: int) -> None:
    # QEMU's user could have put a link in its place.
    descriptor = os.open(str(path), os.O_WRONLY | os.O_NOFOLLOW | flag)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode("utf-8", "replace"))


def begin(args: JsonObject, channel: Channel) -> JsonObject:
    """An empty folder for the sockets of a Move, QEMU's alone. args: id. Answers its path."""
    folder = _folder(args["id"])
    RUN.mkdir(mode=0o711, parents=True, exist_ok=True)
    for path in (RUN.parent, RUN):
        path.chmod(0o711)
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.chown(str(folder), *instances.qemu_owner())
    return {"folder": str(folder)}


def process(args: JsonObject, channel: Channel) -> JsonObject:
    """The process that runs a domain, and what no other process of its number has; 0 and "" where
    libvirt has not noted it. args: name, of the domain."""
    name = str(args["name"])
    if "/" in name or name.startswith("."):
        raise RemoteError("EngineError", "a domain has no such name", name[:200], "")
    try:
        pid = int((_PIDS / (name + ".pid")).read_text())
    except (FileNotFoundError, ValueError):
        return _UNKNOWN
    started = processes.started(pid)
    return {"pid": pid, "started": started} if started else _UNKNOWN


def ended(args: JsonObject, channel: Channel) -> JsonObject:
    """Whether a process has ended, or does so within a second. args: as `process` answers; one that
    is not known never ends."""
    pid, started = int(args["pid"]), str(args["started"])
    end = time.monotonic() + _WAITS_S
    while time.monotonic() < end:
        if started and processes.started(pid) != started:
            return {"ended": True}
        time.sleep(_LOOK_S if started else _WAITS_S)
    return {"ended": False}


def hand(args: JsonObject, channel: Channel) -> JsonObject:
    """Give QEMU the sockets that sshd has made in the folder. args: id."""
    for path in _folder(args["id"]).iterdir():
        if stat.S_ISSOCK(path.lstat().st_mode):
            os.chown(str(path), *instances.qemu_owner(), follow_symlinks=False)
    return {}


def end(args: JsonObject, channel: Channel) -> JsonObject:
    """Take the folder away; no error where there is none. args: id."""
    folder = _folder(args["id"])
    there = folder.is_dir()
    if there:
        shutil.rmtree(str(folder))
    return {"removed": there}


def _folder(identity: object) -> Path:
    return RUN / instances.folder_of(identity).name
