"""Folders of Instances in the disk Form: a shared read-only base, an overlay, their small disks.

/var/lib/portkit/instances/base/HEX.raw    root:QEMU-GROUP 0440, verified content
/var/lib/portkit/instances/ID/             0711: disk.qcow2, config.raw, NAME.raw, serial.log
                                           and state.log of QEMU's user; kernel, initrd as the
                                           base; app, base, kit of root; see also staging.py
"""

from __future__ import annotations

import base64
import grp
import os
import pwd
import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO, Callable, Iterable, List, Optional, Set, Tuple, cast

from portkit.remote import facts, leases, mounts, standing, store, volume_disk
from portkit.remote.channel import Channel
from portkit.wire import sparse
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

ROOT = Path(os.environ.get("PORTKIT_INSTANCES", "/var/lib/portkit/instances"))
_ID = re.compile(r"pk-[0-9a-f]{12}")
# hostile input 12: what makes disks from foreign input ends in time and in memory.
_TOOL_SECONDS = 600.0
_TOOL_MEMORY = 4 << 30
_CONFIG_LIMIT = 17 << 20  # bytes of a configuration disk; its records have at most 16 MiB


def folder_of(identity: object) -> Path:
    """The folder of an Instance, there or not; HostError for what is no Instance's id."""
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        raise RemoteError("HostError", "an Instance's id is not valid", repr(identity)[:100])
    return ROOT / identity


def qemu_owner() -> Tuple[int, int]:
    user, group = facts.qemu_account()
    if user is None or group is None:
        raise RemoteError(
            "EngineError",
            "this host has no user for QEMU",
            "neither qemu.conf nor the passwd file names one",
            "Install libvirt-daemon-system there.",
        )
    return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid


def create(args: JsonObject, channel: Channel) -> JsonObject:
    """Make an Instance's folder.

    args: id, app, disk (digest in the Store), boot (of a kernel and an initrd to start it with, or
    none), kit (digests of blobs that stay beside it), config (base64), volumes (name, bytes, and
    the folder whose content each has, or none for an empty one), again (make one that is there and
    does not run anew; what is on its way into its volumes stays).
    """
    folder = folder_of(args["id"])
    owner = qemu_owner()
    ROOT.mkdir(mode=0o711, parents=True, exist_ok=True)
    # QEMU's user has to pass through, and need not see what is there: x without r.
    for path in (ROOT.parent, ROOT):
        path.chmod(0o711)
    again = bool(args.get("again")) and folder.is_dir()
    if folder.exists() and not again:
        raise RemoteError(
            "ConflictError",
            "the host already has an Instance with this id",
            str(folder),
            "To remove it: portkit rm %s --on THIS-HOST" % args["id"],
        )
    base = _base(args["disk"], owner[1])
    if not again:
        folder.mkdir(mode=0o711)
        folder.chmod(0o711)
    try:
        _clear(folder)
        return _fill(folder, base, args, owner)
    except BaseException:
        if not again:
            shutil.rmtree(str(folder), ignore_errors=True)
        with leases.locked():
            drop_unused_bases(leases.needed())
        raise


def make_overlay(path: Path, base: Path) -> None:
    """A system disk that has nothing yet but what its base has."""
    # -F: without the base's format qemu-img refuses (since 6.1), and guessing it from content that
    # a guest may have written is how a raw disk becomes a qcow2 that names a file of the host.
    run_tool(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(path)])


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.is_dir():
            path.unlink()


def _fill(folder: Path, base: Path, args: JsonObject, owner: Tuple[int, int]) -> JsonObject:
    overlay = folder / "disk.qcow2"
    make_overlay(overlay, base)
    (folder / "base").write_text(base.name)
    (folder / "app").write_text(str(args.get("app", "")))
    kit = [store.path_of(digest).name for digest in args.get("kit", ())]
    (folder / "kit").write_text("\n".join(kit))
    config = folder / "config.raw"
    config.write_bytes(base64.b64decode(args["config"]))
    serial, state = folder / "serial.log", folder / "state.log"
    serial.touch()
    state.touch()
    volumes = {}
    for row in args.get("volumes", ()):
        path = folder / (volume_disk.name_of(row) + ".raw")
        volume_disk.make(path, row, ROOT.parent, run_tool)
        volumes[row["name"]] = str(path)
    for path in folder.iterdir():
        if not path.is_dir():
            path.chmod(0o600)
    # Nothing else is QEMU's: what base and kit name is removed with the Instance, by root.
    for path in (overlay, config, serial, state, *map(Path, volumes.values())):
        os.chown(str(path), *owner)
    boot = []
    for name, digest in zip(("kernel", "initrd"), args.get("boot", ())):
        _readable(digest, folder / name, owner[1])
        boot.append(str(folder / name))
    return {
        "dir": str(folder),
        "base": str(base),
        "boot": boot,
        "overlay": str(overlay),
        "config": str(config),
        "serial": str(serial),
        "state": str(state),
        "volumes": volumes,
    }


def _memory_limit() -> str:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _TOOL_MEMORY if hard == resource.RLIM_INFINITY else min(_TOOL_MEMORY, hard)
    return "--as=%d" % limit


def run_tool(argv: List[str], seconds: float = 0.0) -> bytes:
    """Run a program; what it printed. EngineError or SpaceError with that when it failed.

    seconds: that it may take; 0 for those that suffice where nothing large is copied."""
    seconds = seconds or _TOOL_SECONDS
    env = dict(os.environ, PATH=facts.tool_path())
    for program in ("prlimit", argv[0]):
        if shutil.which(program, path=env["PATH"]) is None:
            raise RemoteError(
                "EngineError",
                "%s is not on the host" % program,
                "portkit needs it to make an Instance's disks",
                "Install util-linux, qemu-utils and e2fsprogs on the host.",
            )
    try:
        done = subprocess.run(
            # prlimit(1) of util-linux: a preexec_fn is unsafe beside the thread of `serve`.
            ["prlimit", _memory_limit(), "--", *argv],
            stdin=subprocess.DEVNULL,  # ours is the connection
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise RemoteError(
            "EngineError",
            "%s did not finish within %g s on the host" % (argv[0], seconds),
            " ".join(argv)[:2000],
            "Check whether the host or its disk is overloaded.",
        ) from error
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace")[-2000:]
        # The second is what mke2fs says of the disk that it fills.
        full = any(words in said for words in ("No space left", "Could not allocate"))
        kind = "SpaceError" if full else "EngineError"
        raise RemoteError(kind, "%s failed on the host" % argv[0], said, "Read its message above.")
    return done.stdout


def _base(digest: str, group: int) -> Path:
    """The verified blob as a read-only file that QEMU may open; a link, else a sparse copy."""
    blob = store.path_of(digest)
    folder = ROOT / "base"
    folder.mkdir(mode=0o711, exist_ok=True)
    folder.chmod(0o711)
    base = folder / (blob.name + ".raw")
    if base.exists():
        _verify(digest, base, blob)
        return base
    fresh = folder / (blob.name + ".new")
    fresh.unlink(missing_ok=True)
    _readable(digest, fresh, group)
    fresh.replace(base)
    return base


def _readable(digest: str, path: Path, group: int) -> None:
    """A verified blob under a name of its own, which QEMU may read; a link, else a sparse copy."""
    blob = store.path_of(digest)
    if not blob.is_file():
        raise RemoteError(
            "TransferError",
            "the disk that a VM shall boot from is not in the host's Store",
            str(digest),
            "Send it first.",
        )
    if digest not in store.VERIFIED:
        _verify(digest, blob)
    try:
        # A second name costs nothing. The file's mode and owner change with it, which the Store
        # does not mind: it is root's.
        os.link(str(blob), str(path))
    except OSError:  # another file system
        sparse.copy_sparse(blob, path)
    os.chown(str(path), 0, group)
    path.chmod(0o440)


def _verify(digest: str, path: Path, *others: Path) -> None:
    """What was here before this connection may have been altered at rest since. VerifyError then;
    its names are taken away, so that it is sent anew."""
    if "sha256:" + sparse.hash_sparse(path) == digest:
        return
    for each in (path, *others):
        each.unlink(missing_ok=True)
    raise RemoteError(
        "VerifyError",
        "a disk in the host's Store does not match its digest",
        "%s: %s" % (path, digest),
        "Run the same command again, which sends it anew. Check whether the host's disk is sound.",
    )


def configure(args: JsonObject, channel: Channel) -> JsonObject:
    """Write the configuration disk anew. What `stand` has said of its services stays. args: id,
    config (base64)."""
    data = base64.b64decode(args["config"])
    return _configured(args["id"], lambda old: standing.with_standing(data, standing.standing(old)))


def stand(args: JsonObject, channel: Channel) -> JsonObject:
    """How the services of a guest stand from its next boot on.

    args: id, resting (names of services that are not started; all others are), ill (of which no
    other one waits until they are healthy)."""
    told = dict.fromkeys(args["ill"], standing.ILL)
    told.update(dict.fromkeys(args["resting"], standing.RESTS))
    return _configured(args["id"], lambda old: standing.with_standing(old, told))


def at_rest(identity: str) -> List[str]:
    """The services of an Instance that are not started."""
    try:
        with _config(identity) as file:
            told = standing.standing(file.read(_CONFIG_LIMIT))
            return sorted(name for name, each in told.items() if each == standing.RESTS)
    except FileNotFoundError:  # a folder that was not removed to the end
        return []


def _config(identity: str) -> BinaryIO:
    # The file is QEMU's user's, who could have put a link in its place.
    path = folder_of(identity) / "config.raw"
    return cast(BinaryIO, os.fdopen(os.open(str(path), os.O_RDWR | os.O_NOFOLLOW), "r+b"))


def _configured(identity: str, change: Callable[[bytes], bytes]) -> JsonObject:
    """In place: a guest that runs may have it open."""
    with _config(identity) as file:
        old = file.read(_CONFIG_LIMIT)
        data = change(old)
        # A running guest has the size of the disk in memory; a shorter or longer one would be read
        # wrongly.
        if len(data) != os.fstat(file.fileno()).st_size:
            raise RemoteError("HostError", "the configuration has another size than before")
        if data != old:
            sparse.write_at(file.fileno(), data, 0)
            os.fsync(file.fileno())
    return {}


def drop_unused_bases(needed: Optional[Set[str]]) -> None:
    """Remove the bases that no Instance stands on, but for those (hex digests) that are needed;
    none of them where that is not known."""
    if needed is None:
        return
    used = {mark.read_text() for mark in ROOT.glob("pk-*/base")}
    for path in (ROOT / "base").glob("*.raw"):
        if path.name not in used and path.name[: -len(".raw")] not in needed:
            path.unlink()
            store.path_of("sha256:" + path.name[: -len(".raw")]).unlink(missing_ok=True)


def app_of(folder: Path) -> str:
    """The App of an Instance, "" where its folder does not say."""
    try:
        with (folder / "app").open(errors="replace") as file:
            return file.read(64)
    except OSError:
        return ""


def kits(folders: Iterable[Path]) -> Set[str]:
    """Blobs (hex digests) of the guest kits that Instances brought: the next disk is made from
    them, and they go with the last one."""
    marks = (folder / "kit" for folder in folders)
    return {name for mark in marks if mark.is_file() for name in mark.read_text().split()}


def remove(args: JsonObject, channel: Channel) -> JsonObject:
    """Take an Instance's folder away, and the base when no other Instance needs it."""
    return {"removed": discard(args["id"])}


def discard(identity: str) -> bool:
    """`remove` by id; False when there is no such folder."""
    folder = folder_of(identity)
    existed = folder.exists()
    if existed:
        kit = kits([folder])
        mounts.discard(folder)
        with leases.locked():
            needed = leases.needed()  # of its own Move as well, while that is at work
            drop_unused_bases(needed)
            unused = set() if needed is None else kit - kits(ROOT.glob("pk-*")) - needed
            for name in unused:
                store.path_of("sha256:" + name).unlink(missing_ok=True)
    return existed


def log(args: JsonObject, channel: Channel) -> JsonObject:
    """A log from `offset` on, at most its last `limit` bytes (1 MiB), as text.

    name: "serial" for the console; "state" for what init tells of its services, which Instances of
    earlier versions tell on the console alone.
    A log that is shorter than `offset` was begun anew by a boot: all of it is news."""
    folder = folder_of(args["id"])
    path, state = folder / "serial.log", folder / "state.log"
    if args.get("name") == "state" and state.exists():
        path = state
    limit = min(int(args.get("limit", 65536)), 1 << 20)
    if not path.exists():
        return {"text": "", "size": 0}
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        offset = int(args.get("offset", 0))
        file.seek(max(0, size - limit, offset if offset <= size else 0))
        return {"text": file.read(limit).decode("utf-8", "replace"), "size": size}
