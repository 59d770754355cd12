"""The image Form: built on a host's engine, fetched from there, checked, kept in the Store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from portkit import files
from portkit.errors import AppError, TransferError, VerifyError
from portkit.host import Host
from portkit.model import Artifact, Blob, Form, ImageConfig
from portkit.package import archive
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.wire import codec
from portkit.wire.json_types import JsonObject

# What an engine calls an image's size may be its compressed layers (containerd), and counts no
# headers: a tar of empty files is some 1.5 KiB for each.
_ARCHIVE_RATIO = 8
_ARCHIVE_BYTES = 2 << 30


def fetch(host: Host, reference: str, store: Store, observer: Observer | None = None) -> Artifact:
    """The image of that name or id on the host, as an Artifact whose blobs are in the Store.

    Raises AppError when the host has no such image or it is not one for Linux, VerifyError when
    what came is not the image that the engine named.
    """
    observer = observer or NullObserver()
    listed = host.remote.call("image.list", {"reference": reference})
    if len(listed["images"]) != 1:
        raise TransferError(
            "unexpected response from the host",
            details=f"{reference} stands for {len(listed['images'])} images",
            resolution="Name the image by its id.",
        )
    row = listed["images"][0]
    key = f"image {row['id']}"
    # By the id that the engine says now: a name that was given to another image is fetched anew.
    known = store.find(key)
    if known is not None:
        observer.message(f"{reference} is already in the Store")
        _say_what_stays(reference, known.config, observer)
        return known
    _require(row, store, containerd=listed["containerd"])
    spool = store.temporary(".tar")
    try:
        _receive(host, reference, spool, store, int(row.get("size") or 0), observer)
        config, _ = archive.read(spool, store, lambda _: None)
    finally:
        spool.unlink(missing_ok=True)
    # An image's id is its configuration's digest, but in the containerd store its manifest's.
    other = not listed["containerd"] and row["id"] != config.digest
    if other or list(config.diff_ids) != row["diff_ids"]:
        raise VerifyError(
            "the image changed while it was fetched",
            details=f"{reference}: the engine now reports another image than the one it sent",
            resolution="Try again.",
        )
    if config.os != "linux":
        raise AppError(
            "the image is not for Linux",
            details=f"{reference} is for {config.os}",
            resolution="portkit moves only Linux apps.",
        )
    artifact = _artifact(config, store)
    store.save(artifact, key)
    _say_what_stays(reference, config, observer)
    return artifact


def _say_what_stays(reference: str, config: ImageConfig, observer: Observer) -> None:
    if config.attestations:
        observer.message(f"the attestations of {reference} are not moved: {config.attestations}")


def stored(config: ImageConfig, store: Store) -> Artifact | None:
    """The image of a configuration, where the Store has all of it."""
    if not all(store.has(digest) for digest in (config.digest, *config.diff_ids)):
        return None
    return _artifact(config, store)


def _artifact(config: ImageConfig, store: Store) -> Artifact:
    digests = (config.digest, *config.diff_ids)
    blobs = tuple(Blob(digest, store.size(digest)) for digest in digests)
    total = sum({blob.digest: blob.size for blob in blobs}.values())
    return Artifact(Form.IMAGE, config.digest, (config,), blobs, total, total)


def pull(host: Host, reference: str, platform: str = "", *, always: bool) -> None:
    """Have the host's engine pull an image from its registry; unless `always`, only where it has
    none of that name. platform: OS/ARCHITECTURE[/VARIANT], "" for the host's own.

    EngineError with the engine's words when it cannot.
    """
    args = {"reference": reference, "platform": platform, "always": always}
    host.remote.call("image.pull", args)


def joined(images: Sequence[Artifact]) -> Artifact:
    """The images of several services as one Artifact; what they share is in it once."""
    first = images[0]
    configs = {image.digest: image.config for image in images}
    if len(configs) == 1:
        return first
    blobs = {blob.digest: blob for image in images for blob in image.blobs}
    total = sum(blob.size for blob in blobs.values())
    digest = hashlib.sha256("\n".join(configs).encode()).hexdigest()
    return Artifact(
        form=Form.IMAGE,
        digest=f"sha256:{digest}",
        images=tuple(configs.values()),
        blobs=tuple(blobs.values()),
        logical_bytes=total,
        stored_bytes=total,
    )


def _require(row: JsonObject, store: Store, *, containerd: bool) -> None:
    """SpaceError when the archive and the layers out of it have no room in the Store."""
    size = int(row.get("size") or 0)
    there = sum(store.size(digest) for digest in set(row["diff_ids"]) if store.has(digest))
    # What the containerd store's size counts is not the same in every version: once is the least.
    need = size * (1 if containerd else 2) - there
    store.require(need, "the Store of this machine does not have enough space for the image")


def _receive(
    host: Host, reference: str, path: Path, store: Store, size: int, observer: Observer
) -> None:
    encoding = host.remote.encodings[0] if host.name != "local" else "raw"
    decoder = codec.Decompressor(encoding)
    most = _ARCHIVE_RATIO * size + _ARCHIVE_BYTES
    done = 0
    with store.space(), files.create(path) as out:

        def take(data: bytes) -> None:
            nonlocal done
            for part in decoder.feed(data):
                done += len(part)
                if done > most:
                    raise VerifyError(
                        "the host sends an image that is far larger than it announced",
                        details=f"{reference}: more than {most} bytes; it announced {size}",
                        resolution="Check which program answers for the engine on the host.",
                    )
                out.write(part)
            observer.bytes("fetch", done, max(size, done))

        args = {"reference": reference, "encoding": encoding}
        told = host.remote.call("image.save", args, receive=take, most=most)
        decoder.finish()
    if told.get("size") != done:
        raise VerifyError(
            "the image arrived incomplete",
            details=f"{done} bytes of {told.get('size')}",
            resolution="Try again.",
        )
