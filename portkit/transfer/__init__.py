"""Artifact -> the target's Store and engine, verified there; what is there does not travel.

The seam for a delta engine is `_put`: it sends one blob that the target lacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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

    reused_bytes: content that the target had.
    """

    sent_bytes: int
    received_bytes: int
    reused_bytes: int
    seconds: float
    counter: str


def missing(artifact: Artifact, host: Host) -> tuple[Blob, ...]:
    """The blobs that neither the host's engine nor its Store has, each once."""
    blobs = tuple({blob.digest: blob for blob in artifact.blobs}.values())
    if artifact.form is Form.IMAGE:
        listed = host.remote.call("image.list", {})["images"]
        there = {digest for row in listed for digest in row["diff_ids"]}
        blobs = tuple(blob for blob in blobs if blob.digest not in there)
    have = host.remote.call("store.has", {"digests": [blob.digest for blob in blobs]})["have"]
    return tuple(blob for blob in blobs if blob.digest not in have)


def send(
    artifact: Artifact,
    store: Store,
    host: Host,
    observer: Observer | None = None,
    *,
    new: Sequence[Blob] | None = None,
) -> TransferResult:
    """Bring an Artifact to a host: an image into its engine, a disk into its Store.

    new: what `missing` said, when it was asked. Raises VerifyError when something else arrived
    than was sent, SpaceError when the host is full, TransferError when the connection broke,
    EngineError when its engine refused.
    """
    observer = observer or NullObserver()
    begun, before = time.monotonic(), host.counters()
    new = missing(artifact, host) if new is None else new
    _send(new, store, host, observer)
    if artifact.form is Form.IMAGE:
        _load(artifact, new, host, observer)
    whole = {blob.digest: blob.size for blob in artifact.blobs}
    reused = sum(whole.values()) - sum(blob.size for blob in new)
    after = host.counters()
    return TransferResult(
        sent_bytes=after.sent - before.sent,
        received_bytes=after.received - before.received,
        reused_bytes=reused,
        seconds=time.monotonic() - begun,
        counter=after.source,
    )


def tag(host: Host, reference: str, wanted: str) -> bool:
    """Give a held image a user's tag where it is free or already the same image; never move one."""
    row = host.remote.call("image.tag", {"reference": reference, "tag": wanted})
    return bool(row.get("tagged"))


def release(artifact: Artifact, host: Host, brought: Sequence[Blob]) -> None:
    """Take back what a transfer brought; an image stays while a container is made from it."""
    if artifact.form is Form.IMAGE:
        host.remote.call("image.remove", {"reference": held_name(artifact)})
    host.remote.call("store.remove", {"digests": [blob.digest for blob in brought]})


def held_name(artifact: Artifact) -> str:
    """The portkit name that keeps an image on a host, whatever happens to the user's tags."""
    if artifact.form is not Form.IMAGE:
        return ""
    # 128 bits: two images that share 12 digits are quickly made, and the name would move.
    return "portkit/held:" + artifact.config.digest.removeprefix("sha256:")[:32]


def _load(artifact: Artifact, new: Sequence[Blob], host: Host, observer: Observer) -> None:
    observer.phase("load")
    args = {
        "config": artifact.config.digest,
        "layers": list(artifact.config.diff_ids),
        "hold": held_name(artifact),
        "discard": [blob.digest for blob in new],
    }
    host.remote.call("image.load", args)


def _send(blobs: Sequence[Blob], store: Store, host: Host, observer: Observer) -> None:
    total, done = sum(blob.size for blob in blobs), 0
    for blob in blobs:

        def told(count: int, before: int = done) -> None:
            observer.bytes("transfer", before + count, total)

        _put(blob, store, host, told)
        done += blob.size


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
