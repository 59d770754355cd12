"""Artifact -> the target's Store and engine, verified there; what is there does not travel.

The seam for a delta engine is `_put`: it sends one blob that the target lacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from portkit.host import Host
from portkit.host.remote import codec
from portkit.model import Artifact, Blob, Form
from portkit.progress import NullObserver, Observer
from portkit.store import Store

_CHUNK = 1 << 20


@dataclass(frozen=True)
class TransferResult:
    """What a transfer cost. Bytes of the connection, both ways, by `counter`; seconds.

    reused_bytes: content that the target had. image_ref: the name that holds the image there.
    """

    sent_bytes: int
    received_bytes: int
    reused_bytes: int
    seconds: float
    counter: str
    image_ref: str | None = None


def send(
    artifact: Artifact, store: Store, host: Host, observer: Observer | None = None
) -> TransferResult:
    """Bring an Artifact to a host: an image into its engine, a disk into its Store.

    Raises VerifyError when something else arrived than was sent, SpaceError when the host is
    full, TransferError when the connection broke, EngineError when its engine refused.
    """
    observer = observer or NullObserver()
    begun, before = time.monotonic(), host.counters()
    if artifact.form is Form.IMAGE:
        new, reference = _image(artifact, store, host, observer)
    else:
        new, reference = _blobs(artifact.blobs, store, host, observer), None
    whole = {blob.digest: blob.size for blob in artifact.blobs}
    reused = sum(whole.values()) - sum(blob.size for blob in new)
    after = host.counters()
    return TransferResult(
        sent_bytes=after.sent - before.sent,
        received_bytes=after.received - before.received,
        reused_bytes=reused,
        seconds=time.monotonic() - begun,
        counter=after.source,
        image_ref=reference,
    )


def tag(host: Host, reference: str, wanted: str) -> bool:
    """Give a held image a user's tag where it is free or already the same image; never move one."""
    row = host.remote.call("image.tag", {"reference": reference, "tag": wanted})
    return bool(row.get("tagged"))


def release(host: Host, reference: str) -> None:
    """Take a held name away; it stays while a container is made from it."""
    host.remote.call("image.remove", {"reference": reference})


def held_name(artifact: Artifact) -> str:
    """The portkit name that keeps an image on a host, whatever happens to the user's tags."""
    return "portkit/held:" + artifact.config.digest.removeprefix("sha256:")[:12]


def _image(
    artifact: Artifact, store: Store, host: Host, observer: Observer
) -> tuple[list[Blob], str]:
    listed = host.remote.call("image.list", {})["images"]
    there = {digest for row in listed for digest in row["diff_ids"]}
    wanted = [blob for blob in artifact.blobs if blob.digest not in there]
    new = _blobs(tuple(wanted), store, host, observer)
    observer.phase("load")
    args = {
        "config": artifact.config.digest,
        "layers": list(artifact.config.diff_ids),
        "hold": held_name(artifact),
        "discard": [blob.digest for blob in new],
    }
    host.remote.call("image.load", args)
    return new, held_name(artifact)


def _blobs(blobs: tuple[Blob, ...], store: Store, host: Host, observer: Observer) -> list[Blob]:
    """Send those that the host's Store lacks; they are returned."""
    unique = list({blob.digest: blob for blob in blobs}.values())
    have = host.remote.call("store.has", {"digests": [blob.digest for blob in unique]})["have"]
    new = [blob for blob in unique if blob.digest not in have]
    total, done = sum(blob.size for blob in new), 0
    for blob in new:

        def told(count: int, before: int = done) -> None:
            observer.bytes("transfer", before + count, total)

        _put(blob, store, host, told)
        done += blob.size
    return new


def _put(blob: Blob, store: Store, host: Host, told: Callable[[int], None]) -> None:
    encoding = host.remote.encodings[0]
    args = {"digest": blob.digest, "size": blob.size, "encoding": encoding}
    host.remote.call("store.put", args, send=_compressed(store.path(blob.digest), encoding, told))


def _compressed(path: Path, encoding: str, told: Callable[[int], None]) -> Iterator[bytes]:
    packer = codec.Compressor(encoding)
    done = 0
    with path.open("rb") as file:
        for data in iter(lambda: file.read(_CHUNK), b""):
            yield packer.feed(data)
            done += len(data)
            told(done)
    yield packer.finish()
