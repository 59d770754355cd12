"""A recipe that was made elsewhere, to a host that has its bases: they need not be here."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from portkit.errors import EngineError
from portkit.host import Host
from portkit.model import Blob
from portkit.progress import Observer
from portkit.store import Store
from portkit.transfer import price
from portkit.transfer.deliver import Delivery, deliver
from portkit.transfer.resume import Link, Sending, transmit
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
        return [deliver(blob, store, link, None, observer, lambda count: None)]
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
    sending = Sending(parcel.blob, how, parcel.bases, min(parcel.blob.size, parcel.packed_size))
    with ExitStack() as stack:
        folder = store.temporary().parent
        stream = stack.enter_context(Stream(parcel.pieces(), how, folder))
        resumed = transmit(
            sending, stream, link, observer, lambda offset: _sent(stream, offset, parcel, told)
        )
        bases = tuple(base.digest for base in parcel.bases)
        return Delivery(
            *(parcel.blob.digest, parcel.blob.size, stream.eaten, 0, 0, stream.made),
            *(bases, stream.how, "a recipe that came in a bundle", resumed),
        )


def _sent(
    stream: Stream, offset: int, parcel: Parcel, told: Callable[[int], None]
) -> Iterator[bytes]:
    done = offset
    for data in stream.read(offset):
        yield data
        done += len(data)
        told(int(parcel.blob.size * min(1.0, done / max(1, parcel.packed_size))))
    told(parcel.blob.size)
