"""Data of a running App on its way into the disks of a VM.

INSTANCE/data/          0700 of root, until the Move is over: the content that came so far, a folder
                        for each volume by its number
INSTANCE/moved          there once the disks were made of it: what they hold came from elsewhere
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from portkit.remote import instances, mounts, store, volume_disk
from portkit.remote.channel import Channel
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

# Free space that a disk has at least beside its content, so that the App can go on writing: half as
# much again, and a GiB. The file is sparse: what is not written to takes no room.
_FREE_SHARE = 0.5
_FREE_BYTES = 1 << 30


def folder_of(identity: object) -> Path:
    """The folder of an Instance; EngineError where it is not there any more."""
    folder = instances.folder_of(identity)
    if not folder.is_dir():
        raise RemoteError(
            "EngineError",
            "the Instance no longer exists on the host",
            str(folder),
            "`portkit ps` lists what exists.",
        )
    return folder


def stage(args: JsonObject, channel: Channel) -> JsonObject:
    """A folder for the content of each volume, made where it is not there yet.

    args: id, disks (one folder for its disks themselves, see vm_disks). Answers their paths, by
    number.
    """
    folder = folder_of(args["id"])
    count = len(list(folder.glob("pkv*.raw")))
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    names = ["disks"] if args.get("disks") else map(str, range(count))
    folders = [data / name for name in names]
    for each in folders:
        each.mkdir(mode=0o700, exist_ok=True)
    return {"folders": [str(each) for each in folders]}


def fill(args: JsonObject, channel: Channel) -> JsonObject:
    """Make the disks of volumes anew, of what came into their folders, and the system disk as it
    was before its first boot: a try that failed may have written to it.

    args: id, volumes (numbers). The Instance does not run. Done again, it gives the same.
    """
    folder = folder_of(args["id"])
    # Before the first of them: a disk that is half made of somebody's data counts as such.
    (folder / "moved").touch()
    for number in map(int, args["volumes"]):
        _fill(folder, "pkv%d" % number, folder / "data" / str(number))
    with in_place_of(folder / "disk.qcow2") as fresh:
        instances.make_overlay(fresh, instances.ROOT / "base" / (folder / "base").read_text())
    return {}


def _fill(folder: Path, name: str, content: Path) -> None:
    disk = folder / ("%s.raw" % name)
    needed = volume_disk.used(volume_disk.content(str(content), instances.ROOT.parent))
    size = max(disk.stat().st_size, int(needed * (1 + _FREE_SHARE)) + _FREE_BYTES)
    row = {"name": name, "bytes": size, "folder": str(content)}
    with in_place_of(disk) as fresh:
        volume_disk.make(fresh, row, instances.ROOT.parent, instances.run_tool)


@contextmanager
def in_place_of(disk: Path) -> Iterator[Path]:
    """A name for a new disk, which takes the other one's place when it is whole."""
    before, fresh = disk.stat(), disk.with_suffix(".new")
    try:
        yield fresh
        fresh.chmod(0o600)
        os.chown(str(fresh), before.st_uid, before.st_gid)
        to_disk(fresh)
        fresh.replace(disk)
        store.sync_folder(disk.parent)
    finally:
        fresh.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Write a file out: the source of what is in it may be deleted once the Move is over."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds_data(args: JsonObject, channel: Channel) -> JsonObject:
    """Whether the disks of an Instance hold data that came from elsewhere. args: id."""
    return {"moved": (instances.folder_of(args["id"]) / "moved").exists()}


def drop(identity: str) -> None:
    """The Move is over: what its disks were made of goes. Fine where there is nothing."""
    mounts.discard(instances.folder_of(identity) / "data")
