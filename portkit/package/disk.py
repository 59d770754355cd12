"""The disk Form: images and a GuestKit on one raw disk that boots on BIOS and on UEFI.

GPT; the kit's boot partition, with the image's own configuration in its slot; an ext4 root behind
it. One image is the root as a whole. Of several there is a tree for each of their layers, which the
guest lays over each other for every service: what they share is on the disk once. Nothing is
mounted or booted to make it, and nothing of a run is on it: the same image and the same kit make
the same bytes, whenever and wherever.
"""

from __future__ import annotations

import os
import uuid
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from portkit import files
from portkit.errors import AppError, SpaceError, VerifyError
from portkit.guest import boot_partition
from portkit.guest.config import encode_config
from portkit.guest.initrd import cpio
from portkit.guest.kit import GuestKit
from portkit.guest.stack import chains
from portkit.model import Artifact, Blob, Form, RunSpec
from portkit.package import ext4, partitions
from portkit.package.flatten import flattened, stacked
from portkit.package.tree import Tree
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.wire.sparse import copy_data, write_at

_VERSION = 6  # of what a disk holds beside image and kit: a new one makes disks anew
_LABEL = b"portkit-root"


def build(
    image: Artifact,
    defaults: RunSpec | None,
    kit: GuestKit,
    store: Store,
    *,
    disk_bytes: int | None = None,
    layered: bool = False,
    observer: Observer | None = None,
) -> Artifact:
    """The disk of images whose layers are in the Store, as an Artifact in the same Store.

    image: an Artifact of the image Form. defaults: what it runs when no configuration disk is
    there; None where the image names no command, and of several images. disk_bytes: its virtual
    size, None for the content, a quarter and 512 MiB more. layered: a tree for each layer, for
    several services, also where they share one image. Raises VerifyError for malformed layers,
    AppError when the size or the place for the defaults is too small, SpaceError, ToolError when
    sfdisk fails.
    """
    observer = observer or NullObserver()
    default = _default(defaults)
    mark = uuid.uuid5(uuid.NAMESPACE_OID, default.hex())
    shape = "layered" if layered else "flat"
    key = f"disk {image.digest} {kit.digest} {disk_bytes or 'auto'} {_VERSION} {shape} {mark}"
    known = store.find(key)
    if known is not None:
        observer.message("the disk is already in the Store")
        return _with_kit(known, kit, store)
    raw = store.temporary(".raw")
    try:
        with store.space():
            _write(image, default, kit, store, raw, disk_bytes, key, observer, layered=layered)
        blob = store.add_file(raw, move=True)
    finally:
        raw.unlink(missing_ok=True)
    artifact = Artifact(
        form=Form.DISK,
        digest=blob.digest,
        images=image.images,
        blobs=(blob,),
        logical_bytes=blob.size,
        stored_bytes=_stored(store, blob),
        kit=kit.digest,
    )
    store.save(artifact, key)
    return _with_kit(artifact, kit, store)


def _with_kit(artifact: Artifact, kit: GuestKit, store: Store) -> Artifact:
    """The kit as blobs before the disk, which holds it too: a host gets it once, and every disk is
    made from it there. The boot partition is made of kernel and initrd in turn."""
    blobs = tuple(store.add_file(path) for path in (kit.kernel, kit.initrd, kit.boot))
    return replace(artifact, blobs=(*blobs, *artifact.blobs))


def _stored(store: Store, blob: Blob) -> int:
    """Bytes that its data takes; holes do not count."""
    return store.path(blob.digest).stat().st_blocks * 512


def _default(defaults: RunSpec | None) -> bytes:
    """What the boot partition's slot holds: the defaults as one more initrd."""
    if defaults is None:
        return b""
    data = cpio({"default": (0o600, encode_config(defaults))})
    if len(data) > boot_partition.SLOT_BYTES:
        raise AppError(
            "the image's environment and command are too large for a disk",
            details=f"{len(data)} bytes, at most {boot_partition.SLOT_BYTES}",
            resolution="Put large values into files of the image.",
        )
    return data


def _write(
    image: Artifact,
    default: bytes,
    kit: GuestKit,
    store: Store,
    raw: Path,
    disk_bytes: int | None,
    key: str,
    observer: Observer,
    *,
    layered: bool,
) -> None:
    full = "the Store of this machine does not have enough space for the disk"
    store.require(image.logical_bytes, full)  # the tree has hardly less
    observer.message("merging the image's layers")
    with _tree(image, store, layered=layered) as tree:
        try:
            planned = ext4.plan(tree)
            # A file takes an inode of 256 bytes beside its blocks, and leaves room for others.
            bounds = partitions.layout(planned.content + planned.entries * 4096, disk_bytes)
            store.require(planned.content + boot_partition.BYTES, full)
            with files.create(raw) as file:
                file.truncate(bounds.size)
                partitions.write(
                    raw,
                    bounds,
                    whole=_id(key, "disk"),
                    boot=_id(key, "boot"),
                    root=_id(key, "part"),
                )
                observer.message("writing the boot partition")
                _boot(kit, default, file)
                observer.message("writing the root")
                place = (bounds.root_start, bounds.root_bytes)
                ext4.write(planned, file, *place, uuid=_id(key, "root").bytes, label=_LABEL)
        except ext4.NoRoom:
            raise SpaceError(
                "the root disk is full before the image is on it",
                resolution="Raise x-portkit.disk, or remove it.",
            ) from None
        except ValueError as error:
            raise VerifyError(
                "the image contains something that a disk cannot hold",
                details=str(error),
                resolution="Change the file in the image, or move the image: --form image.",
            ) from None


def _tree(image: Artifact, store: Store, *, layered: bool) -> AbstractContextManager[Tree]:
    if not layered:
        return flattened([store.content(digest) for digest in image.config.diff_ids])
    return stacked(
        [tuple(store.content(digest) for digest in chain) for chain in chains(image.images)]
    )


def _id(key: str, part: str) -> uuid.UUID:
    """An identity that follows from what the disk is made of."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"portkit {key} {part}")


def _boot(kit: GuestKit, default: bytes, out: BinaryIO) -> None:
    with kit.boot.open("rb") as source:
        copy_data(source.fileno(), out.fileno(), boot_partition.START)
        slot = boot_partition.slot(os.pread(source.fileno(), 512, 0))
    write_at(out.fileno(), default, boot_partition.START + slot)
    write_at(out.fileno(), kit.loader.read_bytes(), 0)
