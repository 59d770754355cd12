"""The disk Form: an image's tree and a GuestKit on one raw disk that boots on BIOS and on UEFI.

GPT; a FAT boot partition with kernel, initrd, the image's own configuration and both boot loaders;
an ext4 root behind it. Nothing of a run is on it. libguestfs writes it, nothing is mounted here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portkit import files, kvm, process
from portkit.errors import AppError, EngineError, SpaceError, ToolError
from portkit.guest.config import encode_config
from portkit.guest.initrd import cpio
from portkit.guest.kit import BIOS_LOADER, UEFI_LOADER, GuestKit, cache_root
from portkit.model import Artifact, Blob, Form, RunSpec
from portkit.package.flatten import flatten
from portkit.progress import NullObserver, Observer
from portkit.store import Store

_VERSION = 4  # of what a disk holds beside image and kit: a new one makes disks anew
_MIB = 1 << 20
_SECTOR = 512
_BOOT_MIB = 48  # kernel 14, initrd 1; room for one of twice that size
_ROOT_START_MIB = 1 + _BOOT_MIB
_SPARE_BYTES = 512 * _MIB  # what the app may write beside its image; holes cost nothing
_DEADLINE_S = 1800.0
_MEMORY_MIB = 512
# -P: the folder that the user stands in is often the App's; no module comes from there.
_WORKER = (sys.executable, "-P", "-m", "portkit.package._guestfs_worker")
# The last console= is /dev/console. -1: a panic ends the guest at once.
_KERNEL_LINE = "console=tty0 console=ttyS0 quiet panic=-1 random.trust_cpu=on"
_PATHS = {"kernel": "/vmlinuz", "initrd": "/initrd", "default": "/default.img"}


@dataclass(frozen=True)
class Layout:
    """Sizes in bytes, bounds in sectors of 512 (both ends belong to the partition)."""

    size: int
    boot: tuple[int, int]
    root: tuple[int, int]


def layout(content_bytes: int, wanted_bytes: int | None = None) -> Layout:
    """Where the partitions are. content_bytes: what the root has to hold.

    AppError when `wanted_bytes` (of the whole disk) is too small for it.
    """
    least = content_bytes + content_bytes // 16 + (_ROOT_START_MIB + 33) * _MIB
    size = wanted_bytes or content_bytes + content_bytes // 4 + _SPARE_BYTES
    size = -(-max(size, _ROOT_START_MIB * _MIB) // _MIB) * _MIB
    if size < least:
        raise AppError(
            "the disk that was asked for is too small for the image",
            details=f"{size} bytes asked for, at least {least} needed",
            resolution="Raise x-portkit.disk, or leave it out.",
        )
    mib = _MIB // _SECTOR
    # The last MiB is GPT's second copy.
    root = (_ROOT_START_MIB * mib, size // _SECTOR - mib - 1)
    return Layout(size, (mib, _ROOT_START_MIB * mib - 1), root)


def build(
    image: Artifact,
    defaults: RunSpec | None,
    kit: GuestKit,
    store: Store,
    *,
    disk_bytes: int | None = None,
    observer: Observer | None = None,
) -> Artifact:
    """The disk of an image whose layers are in the Store, as an Artifact in the same Store.

    defaults: what it runs when no configuration disk is there; None where the image names no
    command. disk_bytes: its virtual size, None for the content, a quarter and 512 MiB more.
    Raises VerifyError for malformed layers, AppError when the size is too small, SpaceError,
    EngineError when libguestfs fails.
    """
    observer = observer or NullObserver()
    default = b"" if defaults is None else encode_config(defaults)
    mark = uuid.uuid5(uuid.NAMESPACE_OID, default.hex())
    key = f"disk {image.digest} {kit.digest} {disk_bytes or 'auto'} {_VERSION} {mark}"
    known = store.find(key)
    if known is not None:
        observer.message("the disk is in the Store already")
        return _with_kit(known, kit, store)
    _check_tools()
    raw = store.temporary(".raw")
    try:
        with tempfile.TemporaryDirectory(dir=raw.parent) as folder, store.space():
            _write(image, default, kit, store, raw, Path(folder), disk_bytes, observer)
        blob = store.add_file(raw, move=True)
    finally:
        raw.unlink(missing_ok=True)
    artifact = Artifact(
        form=Form.DISK,
        digest=blob.digest,
        config=image.config,
        blobs=(blob,),
        logical_bytes=blob.size,
        stored_bytes=_stored(store, blob),
        kit=kit.digest,
    )
    store.save(artifact, key)
    return _with_kit(artifact, kit, store)


def _with_kit(artifact: Artifact, kit: GuestKit, store: Store) -> Artifact:
    """Kernel and initrd as blobs before the disk, which holds them too: a host gets them once,
    and every disk is made from them there."""
    blobs = tuple(store.add_file(path) for path in (kit.kernel, kit.initrd))
    return replace(artifact, blobs=(*blobs, *artifact.blobs))


def _stored(store: Store, blob: Blob) -> int:
    """Bytes that its data takes; holes do not count."""
    return store.path(blob.digest).stat().st_blocks * 512


def _check_tools() -> None:
    for path, package in ((BIOS_LOADER, "syslinux-common"), (UEFI_LOADER, "systemd-boot-efi")):
        if not path.is_file():
            raise ToolError(
                "a boot loader for the disk is not installed",
                details=f"{path} is not there",
                resolution=f"apt-get install {package}",
            )


def _write(
    image: Artifact,
    default: bytes,
    kit: GuestKit,
    store: Store,
    raw: Path,
    folder: Path,
    disk_bytes: int | None,
    observer: Observer,
) -> None:
    tree, full = folder / "root.tar", "the disk has no room in the Store of this machine"
    store.require(image.logical_bytes, full)  # the tree has hardly less
    observer.message("laying the image's layers over each other")
    with files.create(tree) as out:
        entries = flatten([store.content(digest) for digest in image.config.diff_ids], out)
    # A file takes whole blocks and an inode of 256 bytes beside them.
    content = tree.stat().st_size + entries * 4096
    store.require(tree.stat().st_size, full)
    bounds = layout(content, disk_bytes)
    with files.create(raw) as file:
        file.truncate(bounds.size)
    row = plan(bounds, entries, raw=raw, tree=tree, mbr=BIOS_LOADER)
    row["boot_files"] = [[str(path), name] for path, name in _boot_files(kit, default, folder)]
    _guestfs(row, kit, folder, observer)
    process.run(["fallocate", "--dig-holes", raw], timeout=_DEADLINE_S)


def plan(bounds: Layout, entries: int, *, raw: Path, tree: Path, mbr: Path) -> dict[str, Any]:
    """What `_guestfs_worker` is told, but for the boot files."""
    return {
        "disk": str(raw),
        "memory_mib": _MEMORY_MIB,
        "boot": bounds.boot,
        "root": bounds.root,
        "inodes": max(2 * entries, 65536),
        "root_tar": str(tree),
        "mbr": str(mbr),
        "disk_uuid": str(uuid.uuid4()),
        "boot_uuid": str(uuid.uuid4()),
        "root_uuid": str(uuid.uuid4()),
    }


def _boot_files(kit: GuestKit, default: bytes, folder: Path) -> list[tuple[Path, str]]:
    """(file here, its path on the boot partition)."""
    initrds = [_PATHS["initrd"]]
    rows = [(kit.kernel, _PATHS["kernel"]), (kit.initrd, _PATHS["initrd"])]
    texts = {}
    if default:
        initrds.append(_PATHS["default"])
        files.write(folder / "default.img", cpio({"default": (0o600, default)}))
        rows.append((folder / "default.img", _PATHS["default"]))
    texts["/syslinux.cfg"] = (
        "SERIAL 0 115200\nDEFAULT portkit\nPROMPT 0\nTIMEOUT 0\nLABEL portkit\n"
        f"  LINUX {_PATHS['kernel']}\n  INITRD {','.join(initrds)}\n  APPEND {_KERNEL_LINE}\n"
    )
    # Boot Loader Specification (UAPI.1), type 1 entries.
    texts["/loader/loader.conf"] = "timeout 0\n"
    lines = "".join(f"initrd {path}\n" for path in initrds)
    texts["/loader/entries/portkit.conf"] = (
        f"title portkit\nlinux {_PATHS['kernel']}\n{lines}options {_KERNEL_LINE}\n"
    )
    for number, (name, text) in enumerate(texts.items()):
        path = folder / f"text-{number}"
        files.write(path, text.encode())
        rows.append((path, name))
    rows.append((UEFI_LOADER, "/EFI/BOOT/BOOTX64.EFI"))
    return rows


def guestfs_env(kit: GuestKit, folder: Path) -> dict[str, str]:
    """What libguestfs needs of the environment; folder: for its own files. EngineError when it
    could not start here."""
    cache = cache_root()
    (cache / "appliance").mkdir(mode=0o700, exist_ok=True)
    env = {
        "LIBGUESTFS_BACKEND": "direct",
        "LIBGUESTFS_CACHEDIR": str(cache / "appliance"),
        "TMPDIR": str(folder),  # its lock files go with the folder when it is killed
        # The appliance runs the kit's kernel: a machine need not have one that root may read.
        "SUPERMIN_KERNEL": str(kit.kernel),
        "SUPERMIN_KERNEL_VERSION": kit.release,
        "SUPERMIN_MODULES": str(kit.modules),
    }
    if not kvm.proven(kit.kernel, cache):
        env["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    if not Path("/lib/modules").is_dir():
        raise EngineError(
            "libguestfs needs the folder /lib/modules",
            details="supermin looks there even when it is told another place",
            resolution="mkdir /lib/modules",
        )
    return env


def _guestfs(row: dict[str, Any], kit: GuestKit, folder: Path, observer: Observer) -> None:
    """Run the worker to its end; its lines become messages."""
    env = guestfs_env(kit, folder)
    said: list[str] = []
    with process.popen(_WORKER, env=env, stdin=process.PIPE, stdout=process.DEVNULL) as worker:
        assert worker.stdin is not None
        assert worker.stderr is not None
        # Not closed: its end tells the worker that this process has ended.
        worker.stdin.write(json.dumps(row).encode() + b"\n")
        worker.stdin.flush()
        with process.deadline(worker, _DEADLINE_S):
            for line in worker.stderr:
                text = line.decode("utf-8", "replace").rstrip()
                told = text.removeprefix("portkit: ")
                if told != text:
                    observer.message(told)
                else:
                    said.append(text)
        code = worker.wait()
    if code != 0:
        raise _failure(code, said)


def _failure(code: int, said: list[str]) -> EngineError | SpaceError:
    text = "\n".join(said[-12:])
    if "No space left" in text:
        return SpaceError(
            "the root disk is full before the image is on it",
            details=text,
            resolution="Raise x-portkit.disk, or leave it out.",
        )
    return EngineError(
        "libguestfs could not write the disk",
        details=f"exit code {code}\n{text}",
        resolution="portkit doctor looks at what it needs; LIBGUESTFS_DEBUG=1 makes it talk.",
    )
