"""A recipe that was made elsewhere, to a host that has its bases: they need not be here."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from portkit.delivery import Delivery
from portkit.errors import PortkitError, VerifyError
from portkit.host import Host
from portkit.model import Blob
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.transfer import price
from portkit.transfer.deliver import deliver
from portkit.transfer.known import layers_if_any
from portkit.transfer.resume import Link, Sending, ask, persist, transmit
from portkit.transfer.stream import Stream


@dataclass(frozen=True)
class Parcel:
    """A blob as its recipe. pieces: the recipe's bytes, anew at each call; packed_size: about how
    many of them travel; data_bytes: of the blob without its holes, None is all of it."""

    blob: Blob
    bases: tuple[Blob, ...]
    packed_size: int
    pieces: Callable[[], Iterator[bytes]]
    data_bytes: int | None = None

    @property
    def room(self) -> int:
        """What it takes on the host: copies are written as well, and while it is made the stream
        is stored beside it."""
        size = self.blob.size
        made = size if self.data_bytes is None else min(size, self.data_bytes)
        return made + self.packed_size


def held(
    host: Host,
    sizes: Mapping[str, int],
    link: Link | None = None,
    observer: Observer | None = None,
) -> set[str]:
    """Which digests the host has, in its Store with that size or as layers in its engine; asked
    again where the connection broke."""
    if not sizes:
        return set()
    link, observer = link or Link(host.remote), observer or NullObserver()

    have = ask(link, "store.has", {"digests": sorted(sizes)}, observer)["have"]
    found = {digest for digest, size in sizes.items() if have.get(digest) == size}
    return found | layers_if_any(link, observer).there & set(sizes)


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
    afterwards. VerifyError when one of them is nowhere.

    parcels: in an order in which each comes after those that it is made from.
    """
    # First all that it could need, to ask for it in one call; then what is not there.
    bases = _in_order(blob, parcels, ())[:-1]
    there = held(host, {base.digest: base.size for base in bases}, link, observer)
    order = _in_order(blob, parcels, there)
    for each in order:
        if each.digest not in parcels and not store.has(each.digest):
            raise VerifyError(
                "the base of a blob in the bundle is neither here nor on the host",
                details=f"{each.digest}, {each.size} bytes, for {blob.digest}",
                resolution="Pack the App again without --for, or for this host's own inventory.",
            )
    made: list[Delivery] = []
    with _lent([base.digest for base in order[:-1]], link, observer):
        for each in order[:-1]:
            if each.digest in parcels:
                made.append(forward(parcels[each.digest], store, link, observer, _unseen))
            else:
                made.append(deliver(each, store, link, None, observer, _unseen))
        return [*made, forward(parcels[blob.digest], store, link, observer, told)]


# Progress is counted in bytes of what the user moves; a base that is lent is none of it.
def _unseen(count: int) -> None:
    """Progress of what is sent for another blob's sake."""


def _in_order(blob: Blob, parcels: Mapping[str, Parcel], there: Collection[str]) -> list[Blob]:
    """What is to be sent so that the blob can be made, each after its bases; itself the last."""
    wanted = {blob.digest: blob}
    # The list grows while it is walked: bases of bases are found in turn.
    queue = [blob]
    for each in queue:
        for base in parcels[each.digest].bases if each.digest in parcels else ():
            if base.digest not in there and base.digest not in wanted:
                wanted[base.digest] = base
                queue.append(base)
    # What is no parcel is plain content, which needs nothing and goes first.
    place = {digest: number for number, digest in enumerate(parcels)}
    return sorted(wanted.values(), key=lambda each: place.get(each.digest, -1))


@contextmanager
def _lent(digests: Sequence[str], link: Link, observer: Observer) -> Iterator[None]:
    """They are removed on the host afterwards, whatever happens."""

    def remove() -> None:
        if digests:
            link.remote.call("store.remove", {"digests": list(digests)})

    try:
        yield
    except BaseException:
        try:
            # Over a connection that is broken nothing can be removed. What stays is no danger, and
            # `portkit gc` takes it.
            if not link.remote.lost:
                remove()
        except PortkitError as error:  # the one that is under way says more
            observer.message(f"blobs that were sent for a recipe stay on the host: {error.brief}")
        raise
    persist(remove, link, observer)


def forward(
    parcel: Parcel, store: Store, link: Link, observer: Observer, told: Callable[[int], None]
) -> Delivery:
    """Send it; the blob is in the host's Store afterwards, verified there. Goes on after a cut as
    `deliver` does. VerifyError when a base is not there or the recipe is damaged, SpaceError when
    there or here is no room."""
    encodings = link.encodings or link.remote.encodings
    rate = link.rate or price.UNKNOWN_RATE
    cores = len(os.sched_getaffinity(0))
    how = price.packing(encodings, parcel.packed_size, rate, cores, packed=False)
    sending = Sending(parcel.blob, how, parcel.bases, parcel.room)
    with store.space(), ExitStack() as stack:
        folder = store.scratch()
        stream = stack.enter_context(Stream(parcel.pieces(), how, folder))
        resumed = transmit(
            sending, stream, link, observer, lambda offset: _sent(stream, offset, parcel, told)
        )
        return Delivery(
            digest=parcel.blob.digest,
            size=parcel.blob.size,
            literal=stream.eaten,
            sent=stream.made,
            bases=tuple(base.digest for base in parcel.bases),
            encoding=stream.how.encoding,
            level=stream.how.level,
            window=stream.how.window,
            reason="a recipe that came in a bundle",
            resumed=resumed,
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
