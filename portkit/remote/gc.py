"""What Moves left in the host's Store and nothing needs any more.

Kept, whatever its age: what an Instance boots from, what a Move needs that is at work or was left
unfinished, what a held image is made of, what the index of a Store names that this host packs in
itself, what any process has open. While another
connection is at work, only what nobody touched for a day goes.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Iterator, List, Optional, Set, Tuple

from portkit.remote import images, instances, leases, remains, store
from portkit.remote.channel import Channel
from portkit.wire import claims, labels, strict_json
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

# Seconds: a Move whose connection has just broken may come back for what it has sent.
_YOUNG_S = 3600.0
_STALE_S = 86400.0
_ROWS = 1000  # that are told one by one; the sums are of all
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")
# Bytes: manifests and configurations have at most some megabytes, layers and disks are not looked
# through.
_SMALL = 16 << 20
# The command line that the remote half of any connection is started with.
_BOOT = b"exec(zlib.decompress(b.read(int(b.readline()))))"
_PROC = Path("/proc")


def collect(args: JsonObject, channel: Channel) -> JsonObject:
    """Remove what nothing needs, or say what it is.

    args: dry_run; all (also what is younger than an hour); domains (see `remains.find`).
    HostError when the marker of a Move cannot be read: what that one needs is not known.
    Answers rows of kind (blob, base, part, tmp; instance, volume, network, image of `remains`),
    name and bytes on disk, their sums, and how many other connections are at work.
    """
    leases.require_readable()
    others = _others()
    limit = _STALE_S if others else 0.0 if args["all"] else _YOUNG_S
    opened = _opened()
    now = time.time()
    # First: what they need goes with them.
    found = [] if others else remains.find(args.get("domains"))
    rows = [
        _cleared(row, args["dry_run"])
        for row in found
        if not _kept(row, instances.ROOT / row["name"], now, limit, opened)
    ]
    for kind, path in _candidates(blobs=not others):
        age = _age(path, now)
        if age is None or age < limit or _in_use(path, opened):
            continue
        size = _bytes(path)
        if not args["dry_run"]:
            _remove(path)
        rows.append({"kind": kind, "name": path.name[:200], "bytes": size})
    return {
        "removed": rows[:_ROWS],
        "count": len(rows),
        "bytes": sum(row["bytes"] for row in rows),
        "kept_bytes": sum(_bytes(path) for path in _entries(_blobs())),
        "busy": len(others),
    }


def _kept(row: JsonObject, folder: Path, now: float, limit: float, opened: Set[str]) -> bool:
    """Whether something that a killed Move left stays.

    Data of a volume, also of a VM's, is for a person to remove; a folder that is young or in use
    may be of a libvirt that was not asked."""
    if row["kind"] in ("instance", "volume") and not row["empty"]:
        return True
    if row["kind"] == "instance":
        age = _age(folder, now)
        return age is None or age < limit or _in_use(folder, opened)
    return False


def _cleared(row: JsonObject, dry_run: bool) -> JsonObject:
    size = _bytes(instances.ROOT / row["name"]) if row["kind"] == "instance" else 0
    if not dry_run:
        remains.remove(row)
    return {"kind": row["kind"], "name": row["name"][:200], "bytes": size}


def _blobs() -> Path:
    return store.ROOT / "blobs" / "sha256"


def _entries(folder: Path) -> List[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _candidates(blobs: bool) -> Iterator[Tuple[str, Path]]:
    """(kind, path) of everything that no Instance and no image needs."""
    for path in _entries(store.ROOT / "parts"):
        yield "part", path
    for path in _entries(store.ROOT / "tmp"):
        if not claims.is_held(path):
            yield "tmp", path
    if not blobs:
        return
    needed = leases.needed()
    if needed is None:  # a marker was damaged since `collect` looked
        return
    needed |= of_instances()
    for path in _entries(instances.ROOT / "base"):
        if path.name[:64] not in needed:
            yield "base", path
    needed |= _held()
    kept = packed()
    if kept is None:
        return
    for path in _entries(_blobs()):
        if path.name not in needed and path.name not in kept:
            yield "blob", path


def of_instances() -> Set[str]:
    """Digests (hex) of the disks that Instances boot from, and of the kits that are in them."""
    folders = list(instances.ROOT.glob("pk-*")) if instances.ROOT.is_dir() else []
    marks = (folder / "base" for folder in folders)
    return {mark.read_text()[:64] for mark in marks if mark.is_file()} | instances.kits(folders)


def _held() -> Set[str]:
    """Configurations and layers of the images that portkit holds in the engine."""
    try:
        rows = images.every()
    except RemoteError as error:
        if error.kind != "EngineError":
            raise
        return set()  # no engine: nothing of it can be made from what is here
    needed = set()
    for row in rows:
        held = [tag[len(labels.HELD) :] for tag in row["tags"] if tag.startswith(labels.HELD)]
        if not held:
            continue
        needed |= {digest[7:] for digest in row["diff_ids"]}
        for name in held:  # the first half of the configuration's digest, then the Move's
            short = name.partition("-")[0]
            needed |= {path.name for path in _entries(_blobs()) if path.name.startswith(short)}
    return needed


def packed() -> Optional[Set[str]]:
    """What the index names and what is named in there; None when that cannot be told."""
    index = store.ROOT / "index.json"
    if not index.exists():
        return set()
    try:
        rows = strict_json.loads(index.read_bytes())["manifests"]
        needed = {str(row["digest"])[7:] for row in rows}
        for name in sorted(needed):
            path = _blobs() / name
            if _HEX.fullmatch(name) and path.is_file() and path.stat().st_size <= _SMALL:
                needed |= {found.decode() for found in _DIGEST.findall(path.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return None
    return needed


def _age(path: Path, now: float) -> Optional[float]:
    """Seconds since anything of it changed; None when it went meanwhile. A time in the future (a
    clock was set) counts as now."""
    try:
        found = [each.lstat() for each in (path, *path.glob("**/*"))]
    except FileNotFoundError:
        return None
    # Of a blob that became an Instance's base, the last change is when it did.
    return now - max(max(row.st_mtime, row.st_ctime) for row in found)


def _others() -> List[int]:
    """Processes of other connections' remote halves."""
    found = []
    for folder in _processes():
        try:
            # Arguments end with NUL bytes (proc(5)).
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # sudo and sh have the program among their arguments as well, but not behind -c.
        python = os.path.basename(words[0]).startswith(b"python")
        if python and any(word.endswith(_BOOT) for word in words):
            found.append(int(folder.name))
    return found


def _processes() -> Iterator[Path]:
    mine = str(os.getpid())
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and folder.name != mine:
            yield folder


def _opened() -> Set[str]:
    """Files below the Store and the bases that some process has open."""
    roots = tuple("%s/" % os.path.realpath(str(root)) for root in (store.ROOT, instances.ROOT))
    found = set()
    for folder in _processes():
        try:
            # QEMU has its disks open, a `docker load` of another program its file.
            for link in (folder / "fd").iterdir():
                target = os.readlink(str(link))
                if target.startswith(roots):
                    found.add(target)
        except OSError:  # it ended, or is not ours to look at
            continue
    return found


def _in_use(path: Path, opened: Set[str]) -> bool:
    real = os.path.realpath(str(path))
    return real in opened or any(name.startswith(real + "/") for name in opened)


def _bytes(path: Path) -> int:
    """What removing it gives back, about: a link's share of its file."""
    total = 0
    for each in (path, *path.glob("**/*")):
        try:
            row = each.lstat()
        except FileNotFoundError:
            continue
        if not each.is_dir():
            total += row.st_blocks * 512 // max(1, row.st_nlink)
    return total


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path), ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
