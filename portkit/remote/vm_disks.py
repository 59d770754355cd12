"""The disks of a VM that moves, as a folder: at its source, and on its target.

INSTANCE/about.json     what it was made of, for whoever moves it from here; root's alone
INSTANCE/disks/         at its source while it moves: second names of its disks, and nothing else
INSTANCE/data/disks/    on its target while it moves: the disks that came so far
"""

from __future__ import annotations

import json
import os
import stat
import struct
from pathlib import Path
from typing import Dict, List, Tuple

from portkit.remote import instances, mounts, staging, store
from portkit.remote.channel import Channel
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

OVERLAY = "disk.qcow2"
# Characters: a frame of the protocol has 4 MiB, in which each may take two bytes.
_LIMIT = 3 << 19
# Of a qcow2: magic, version, offset and length of the backing file's name, incompatible features.
_HEADER = struct.Struct(">4sIQI52xQ")
_DATA_FILE = 1 << 2
_NAME_LIMIT = 1023


def describe(args: JsonObject, channel: Channel) -> JsonObject:
    """Keep beside an Instance's disks what it was made of. args: id, text.

    The text has the App's environment in it, and so passwords, as the configuration disk has."""
    path = staging.folder_of(args["id"]) / "about.json"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(str(fresh), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(str(args["text"]))
    fresh.replace(path)
    return {}


def described(args: JsonObject, channel: Channel) -> JsonObject:
    """What `describe` kept, "" where nothing was; where this host has blobs; the disks that the
    Instance was made with; and the services that are not started. args: id."""
    folder = staging.folder_of(args["id"])
    path = folder / "about.json"
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LIMIT + 1)
    except FileNotFoundError:
        text = ""
    if len(text) > _LIMIT:
        raise RemoteError(
            "HostError", "the description of what a VM was made of is too long", str(path)
        )
    return {
        "text": text,
        "blobs": str(store.path_of("sha256:" + "0" * 64).parent),
        "disks": [str(folder / name) for name in (*_disks(folder), "config.raw")],
        "resting": instances.at_rest(args["id"]),
    }


def expose(args: JsonObject, channel: Channel) -> JsonObject:
    """A folder with the disks of an Instance alone, whether it runs or not. args: id.

    The files are the very same ones under second names, so this takes no room."""
    folder = staging.folder_of(args["id"])
    # What `adopt` would refuse is told while the VM still runs.
    _fit(folder / OVERLAY, instances.ROOT / "base" / (folder / "base").read_text())
    shown = folder / "disks"
    shown.mkdir(mode=0o700, exist_ok=True)
    disks = _disks(folder)
    for path in shown.iterdir():
        if path.name not in disks or not path.samefile(folder / path.name):
            path.unlink()
    for name in disks:
        if not (shown / name).exists():
            os.link(str(folder / name), str(shown / name))
    return {"folders": [str(shown)]}


def hide(about: Dict[str, str]) -> None:
    """The Move of a VM is over at its source: what `expose` made goes. about: of its marker."""
    identity = about.get("domain", "").partition(" ")[0]
    if identity:
        mounts.discard(instances.folder_of(identity) / "disks")


def _disks(folder: Path) -> List[str]:
    """Names of what the guest writes to."""
    return sorted([OVERLAY, *(path.name for path in folder.glob("pkv*.raw"))])


def adopt(args: JsonObject, channel: Channel) -> JsonObject:
    """Put the disks that came in the place of those that an Instance was made with. args: id.

    The Instance does not run. Done again, it gives the same: also when it has run since, as the
    disks that came are then brought anew, over what it wrote."""
    folder = staging.folder_of(args["id"])
    arrived = folder / "data" / "disks"
    names = sorted(path.name for path in arrived.iterdir())
    if names != _disks(folder) or not all(_is_plain(arrived / name) for name in names):
        raise RemoteError(
            "VerifyError",
            "the disks that arrived are not those that the VM has",
            "%s: %s" % (arrived, ", ".join(names)[:500]),
            "Check what else writes to it.",
        )
    base = instances.ROOT / "base" / (folder / "base").read_text()
    if _fit(arrived / OVERLAY, base) != str(base):  # the other host has its folders elsewhere
        words = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", str(base), "-F", "raw"]
        instances.run_tool([*words, str(arrived / OVERLAY)])
    (folder / "moved").touch()
    for name in names:
        _place(arrived / name, folder / name)
    for log in ("serial.log", "state.log"):  # of a boot that failed
        os.truncate(str(folder / log), 0)
    store.sync_folder(folder)
    return {}


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _header(overlay: Path) -> Tuple[str, bool]:
    """What a qcow2 stands on, and whether its content is in another file, by its header alone
    (docs/interop/qcow2.rst of QEMU). "" where it has no such header or stands on nothing."""
    with overlay.open("rb") as file:
        head = file.read(_HEADER.size).ljust(_HEADER.size, b"\0")
        magic, version, offset, length, features = _HEADER.unpack(head)
        if magic != b"QFI\xfb" or version not in (2, 3):
            return "", False
        file.seek(min(offset, 1 << 20))  # within the first cluster, of at most 2 MiB
        name = file.read(length if length <= _NAME_LIMIT else 0)
    return name.decode("utf-8", "replace"), version == 3 and bool(features & _DATA_FILE)


def _fit(overlay: Path, base: Path) -> str:
    """What the overlay stands on. VerifyError where its header names anything else than the base of
    its VM, wherever its host has that: QEMU would open it."""
    # Another host's file: before qemu-img reads it, as it opens what the header names
    # (CVE-2024-4467). A name that is no path from the root may be of any protocol, or json:.
    backing, elsewhere = _header(overlay)
    if elsewhere or not backing.startswith("/") or os.path.basename(backing) != base.name:
        raise _another_base(overlay, backing, base)
    # -U: a guest that runs holds a lock on it.
    words = ["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(overlay)]
    said = instances.run_tool(words)
    row = json.loads(said.decode("utf-8", "replace"))
    own = row.get("format-specific", {}).get("data", {})
    odd = "data-file" in own or row.get("encrypted") or row.get("snapshots")
    said_raw = row.get("backing-filename-format") == "raw"
    if odd or not said_raw or row.get("backing-filename") != backing:
        raise _another_base(overlay, backing, base)
    if int(row.get("virtual-size", 0)) != base.stat().st_size:
        raise RemoteError(
            "VerifyError",
            "the system disk of the VM has another size than its base",
            "%s: %s bytes, its base %d" % (overlay, row.get("virtual-size"), base.stat().st_size),
            "A system disk that was enlarged by hand cannot be moved.",
        )
    return backing


def _another_base(overlay: Path, backing: str, base: Path) -> RemoteError:
    return RemoteError(
        "VerifyError",
        "the system disk of the VM has another backing file than it was made with",
        "%s is based on %s, expected %s" % (overlay, backing[:300], base),
        "It cannot be moved like that, nor with snapshots. Find out who has changed that disk.",
    )


def _place(came: Path, disk: Path) -> None:
    """Give the file that came the disk's name as well, and its owner and mode. It keeps its own:
    the next try compares with it what it brings."""
    before = disk.stat()
    came.chmod(0o600)
    os.chown(str(came), before.st_uid, before.st_gid)
    staging.to_disk(came)
    # rename(2) does nothing where both are names of one file.
    if not came.samefile(disk):
        fresh = disk.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        os.link(str(came), str(fresh))
        fresh.replace(disk)
