"""A recipe that was made elsewhere, to a host that has its bases: they need not be here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from portkit.errors import EngineError, PortkitError
from portkit.host import Host
from portkit.model import Blob
from portkit.progress import Observer
from portkit.store import Store
from portkit.transfer import price
from portkit.transfer.deliver import Delivery, Link, deliver
from portkit.transfer.stream import Stream


@dataclass(frozen=True)
class Parcel:
    """A blob as its recipe. pieces: the recipe's bytes, anew at each call; packed_size: about how
    many of them travel."""

    blob: Blob
    bases: tuple[Blob, ...]
    packed_size: int
    pieces: Callable[[], Iterator[bytes]]


def held(host: Host, digests: Collection[str]) -> set[str]:
    """Which of them the host has, in its Store or as layers in its engine."""
    if not digests:
        return set()
    found = set(host.remote.call("store.has", {"digests": sorted(digests)})["have"])
    try:
        rows = host.remote.call("image.list", {})["images"]
    except EngineError:
        return found
    return found | ({digest for row in rows for digest in row["diff_ids"]} & set(digests))


def bring(
    blob: Blob,
    parcels: Mapping[str, Parcel],
    store: Store,
    host: Host,
    link: Link,
    observer: Observer,
    told: Callable[[int], None],
) -> list[Delivery]:
    """A blob that is a parcel; bases of it that the host lacks go before it and are removed there
    afterwards. VerifyError when one of them is nowhere."""
    if blob.digest not in parcels:
        return [deliver(blob, store, link, (), observer, lambda count: None)]
    parcel = parcels[blob.digest]
    there = held(host, {base.digest for base in parcel.bases})
    lacking = [base for base in parcel.bases if base.digest not in there]
    made: list[Delivery] = []
    try:
        for base in lacking:
            made += bring(base, parcels, store, host, link, observer, told)
        return [*made, forward(parcel, store, link, observer, told)]
    finally:
        if made and not link.remote.lost:
            host.remote.call("store.remove", {"digests": [base.digest for base in lacking]})


def forward(
    parcel: Parcel, store: Store, link: Link, observer: Observer, told: Callable[[int], None]
) -> Delivery:
    """Send it; the blob is in the host's Store afterwards, verified there. Goes on after a cut as
    `deliver` does. VerifyError when a base is not there or the recipe is damaged."""
    encodings = link.encodings or link.remote.encodings
    rate = link.rate or price.UNKNOWN_RATE
    cores = len(os.sched_getaffinity(0))
    how = price.packing(encodings, parcel.packed_size, rate, cores, packed=False)
    row = [1, parcel.blob.digest, asdict(how), [base.digest for base in parcel.bases]]
    key = hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32]
    with ExitStack() as stack:
        folder = store.temporary().parent
        stream = stack.enter_context(Stream(parcel.pieces(), how, folder))
        resumed = _transmit(parcel, stream, key, link, observer, told)
        bases = tuple(base.digest for base in parcel.bases)
        return Delivery(
            *(parcel.blob.digest, parcel.blob.size, stream.eaten, 0, 0, stream.made),
            *(bases, stream.how, "a recipe that came in a bundle", resumed),
        )


def _transmit(
    parcel: Parcel,
    stream: Stream,
    key: str,
    link: Link,
    observer: Observer,
    told: Callable[[int], None],
) -> int:
    """Until it has arrived; how often the connection was made again."""
    blob, bases = parcel.blob, _rows(parcel.bases)
    args = {"digest": blob.digest, "size": blob.size, "key": key}
    apply = {**args, "encoding": stream.how.encoding, "bases": bases}
    resumed, most, pauses = 0, -1, iter(link.pauses)
    while True:
        try:
            if resumed and link.remote.call("store.has", {"digests": [blob.digest]})["have"]:
                return resumed
            part = {**args, "room": min(blob.size, parcel.packed_size)}
            found = link.remote.call("store.part", part)
            if found["size"] > most:
                most, pauses = found["size"], iter(link.pauses)
            fits = stream.starts_with(found["size"], found["sha256"])
            offset = found["size"] if fits else 0
            sent = _sent(stream, offset, parcel, told)
            link.remote.call("store.apply", {**apply, "offset": offset}, send=sent)
            return resumed
        except PortkitError as error:
            pause = next(pauses, None) if link.remote.lost else None
            if pause is None:
                raise
            resumed += 1
            observer.message(f"{error.brief}; again in {pause:g} s")
            link.pause(pause)


def _rows(bases: Sequence[Blob]) -> list[dict[str, object]]:
    return [{"digest": base.digest, "size": base.size} for base in bases]


def _sent(
    stream: Stream, offset: int, parcel: Parcel, told: Callable[[int], None]
) -> Iterator[bytes]:
    done = offset
    for data in stream.read(offset):
        yield data
        done += len(data)
        told(int(parcel.blob.size * min(1.0, done / max(1, parcel.packed_size))))
    told(parcel.blob.size)
