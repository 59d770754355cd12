"""Artifact -> the target's Store and engine, verified there; what is there does not travel.

A blob that the target lacks goes as a recipe against what both ends hold: `deliver`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from portkit.delivery import Delivery, Transfer
from portkit.errors import AppError, PortkitError, TransferError
from portkit.host import Host
from portkit.model import Artifact, Blob, Form, ImageConfig
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.transfer.bases import LEAST_BASE, Base, Bases, likeliest
from portkit.transfer.deliver import deliver, foresee, roughly_of
from portkit.transfer.forward import Parcel, bring
from portkit.transfer.known import Layers, layers, layers_if_any
from portkit.transfer.resume import Link, ask, persist
from portkit.wire import labels
from portkit.wire.json_types import JsonObject

_ASKED = 100  # of the Store here; each costs 75 bytes on the way


def missing(
    artifact: Artifact,
    host: Host,
    observer: Observer | None = None,
    *,
    engine: Layers | None = None,
) -> tuple[Blob, ...]:
    """The blobs that neither the host's engine nor its Store has, each once.

    engine: the layers in the host's engine, where they are known already."""
    observer = observer or NullObserver()
    blobs = tuple({blob.digest: blob for blob in artifact.blobs}.values())
    if artifact.form is Form.IMAGE:
        engine = engine or layers(_asking(host), observer)
        blobs = tuple(blob for blob in blobs if blob.digest not in engine.there)
    # A blob of another size under the right name is not the blob: the host's file may have been cut
    # by a full disk, so it is sent again.
    asked = {"digests": [blob.digest for blob in blobs]}
    have = _ask(host, "store.has", asked, observer)["have"]
    return tuple(blob for blob in blobs if have.get(blob.digest) != blob.size)


def send(
    artifact: Artifact,
    store: Store,
    host: Host,
    observer: Observer | None = None,
    *,
    move: str,
    parcels: Mapping[str, Parcel] | None = None,
) -> Transfer:
    """Bring an image into the host's engine, a disk into its Store.

    move: the id of the Move whose it is; an image is held under a name with that id. parcels: blobs
    that are not in the Store here but can be made there. Raises VerifyError when something else
    arrived than was sent, SpaceError when the host is full, TransferError when the connection
    broke, EngineError when its engine refused.
    """
    observer = observer or NullObserver()
    # The host's counters are those of the whole connection, so that what ssh and the protocol add
    # to the content is in the figure as well.
    begun, before = time.monotonic(), host.counters()
    try:
        deliveries = _bring(artifact, store, host, observer, move, parcels or {})
    except TransferError as error:
        # A lost connection has been tried again below; a disk is made of nothing but blobs, which
        # have just been looked for.
        if host.remote.lost or artifact.form is not Form.IMAGE:
            raise
        # Layers that the engine had may have gone with another Move that was rolled back.
        observer.message(f"{error.brief}; trying again with what the host has now")
        deliveries = _bring(artifact, store, host, observer, move, parcels or {})
    after = host.counters()
    return Transfer(
        sent_bytes=after.sent - before.sent,
        received_bytes=after.received - before.received,
        reused_bytes=sum(delivery.copied for delivery in deliveries),
        seconds=round(time.monotonic() - begun, 3),
        counter=after.source,
        blobs=deliveries,
    )


def expected(
    artifact: Artifact,
    store: Store,
    host: Host,
    *,
    arriving: Collection[str] = (),
    rate: float | None = None,
    observer: Observer | None = None,
) -> tuple[tuple[Blob, ...], tuple[Delivery, ...] | None]:
    """The blobs that would travel, and what `send` would do with each blob, without sending any.

    The host is only asked. arriving: digests of what will have come there before. rate: of the way
    there, bytes a second, where it is known. None in place of the deliveries: a blob that would
    travel is not in the Store here, so that its stream cannot be made.
    """
    observer, link = observer or NullObserver(), _link(host)
    link.learn(rate)
    known = layers_if_any(link, observer)
    # An image that arrives is loaded into the engine, where its layers can be read.
    engine = Layers(known.there.union(arriving), known.readable.union(arriving))
    found = missing(artifact, host, observer, engine=engine)
    # What arrives before this Artifact, such as the layers of the image that its disk is made from,
    # is counted with what brings it and not twice.
    new = tuple(blob for blob in found if blob.digest not in arriving)
    # A bundle may leave a blob out because its recipe is made against something that only the
    # target has. Such a stream exists nowhere before the Move.
    if not all(store.has(blob.digest) for blob in new):
        return new, None
    deliveries = []
    with Bases(store, _bases(artifact, store, host, observer, engine)) as bases:
        for blob in new:
            deliveries.append(foresee(blob, store, link, bases))
            if blob.size >= LEAST_BASE:
                bases.add(Base(blob.digest, blob.size))
    return new, _already_there(artifact, new) + tuple(deliveries)


def roughly(
    artifact: Artifact, store: Store, host: Host, observer: Observer | None = None
) -> tuple[Delivery, ...] | None:
    """What `expected` tells of each blob, from some of its content only: it takes no second.

    What the host has of a blob inside others is not looked for. None as there."""
    observer, link = observer or NullObserver(), _link(host)
    new = missing(artifact, host, observer)
    if not all(store.has(blob.digest) for blob in new):
        return None
    return _already_there(artifact, new) + tuple(roughly_of(each, store, link) for each in new)


def _bring(
    artifact: Artifact,
    store: Store,
    host: Host,
    observer: Observer,
    move: str,
    parcels: Mapping[str, Parcel],
) -> tuple[Delivery, ...]:
    image = artifact.form is Form.IMAGE
    # A disk does not need an engine on the target; if there is one, its layers are good bases.
    engine = (layers if image else layers_if_any)(_asking(host), observer)
    new = missing(artifact, host, observer, engine=engine)
    there = _already_there(artifact, new)
    deliveries = there + _send(artifact, new, store, host, observer, parcels, engine)
    if image:
        for number, config in enumerate(artifact.images, 1):
            last = number == len(artifact.images)
            _load(config, new if last else (), host, move, observer)
    return deliveries


def _already_there(artifact: Artifact, new: Sequence[Blob]) -> tuple[Delivery, ...]:
    """Rows of the blobs that need not travel, each once."""
    lacking = {blob.digest for blob in new}
    sizes = {blob.digest: blob.size for blob in artifact.blobs if blob.digest not in lacking}
    return tuple(
        Delivery(digest=digest, size=size, copied=size, reason="already there")
        for digest, size in sizes.items()
    )


def tag(host: Host, reference: str, wanted: str) -> bool:
    """Give a held image a user's tag where it is free or already the same image; never move one."""
    row = host.remote.call("image.tag", {"reference": reference, "tag": wanted})
    return bool(row.get("tagged"))


def has_image(host: Host, reference: str) -> bool:
    """Whether the host's engine has an image of that name."""
    try:
        host.remote.call("image.list", {"reference": reference})
    except AppError:  # the verb's own word for an image that is not there
        return False
    return True


def release(
    holds: Sequence[str],
    host: Host,
    brought: Sequence[str],
    *,
    move: str,
    parts: Sequence[str] = (),
) -> None:
    """Take back what a Move's transfer brought: its names for images and the blobs (digests).

    holds: of `held_name`; none for a disk. parts: blobs of which nothing is kept either that came
    before a connection was cut; the next transfer begins them anew. An image stays while a
    container is made from it or another name holds it; a blob stays while an Instance or another
    Move needs it."""
    for hold in holds:
        host.remote.call("image.remove", {"reference": hold, "move": move})
    args = {"digests": list(brought), "move": move, "parts": list(parts)}
    host.remote.call("store.remove", args)


def held_name(image: str, move: str) -> str:
    """The name under which a Move holds an image (a digest) on a host, whatever happens to the
    user's tags and to other Moves of the same image."""
    # 128 bits: two images that share 12 digits are quickly made, and the name would move.
    short = image.removeprefix("sha256:")[:32]
    return f"{labels.HELD}{short}-{move.removeprefix('pk-')}"


def _ask(host: Host, verb: str, args: JsonObject, observer: Observer | None = None) -> JsonObject:
    """A call that changes nothing."""
    return ask(_asking(host), verb, args, observer or NullObserver())


def _load(
    image: ImageConfig, came: Sequence[Blob], host: Host, move: str, observer: Observer
) -> None:
    """came: blobs that came for the engine alone, and no later image needs."""
    observer.phase("load")
    # The engine keeps a copy of every layer that it loads, so these would lie on the host twice.
    hold, discard = held_name(image.digest, move), [blob.digest for blob in came]
    args = {
        "config": image.digest,
        "layers": list(image.diff_ids),
        "hold": hold,
        "move": move,
        "discard": discard,
    }
    tries = 0

    # `docker load` is one request that cannot be continued. If the connection breaks, the engine
    # goes on loading, and a second try may find the image there already.
    def load() -> None:
        nonlocal tries
        tries += 1
        try:
            host.remote.call("image.load", args)
        except PortkitError:
            # What an earlier try began goes on in the engine when its connection breaks.
            # An image under that name means that the first try was loaded to its end.
            if tries == 1 or host.remote.lost or not has_image(host, hold):
                raise
            host.remote.call("store.remove", {"digests": discard, "move": move})

    persist(load, _asking(host), observer)


def _send(
    artifact: Artifact,
    blobs: Sequence[Blob],
    store: Store,
    host: Host,
    observer: Observer,
    parcels: Mapping[str, Parcel],
    engine: Layers,
) -> tuple[Delivery, ...]:
    total, done = sum(blob.size for blob in blobs), 0
    link = _link(host)
    # Listing what both ends hold costs a round trip and opening files: not for a few small ones.
    large = any(blob.size >= LEAST_BASE for blob in blobs)
    rows = _bases(artifact, store, host, observer, engine) if large else []
    deliveries = []
    with Bases(store, rows) as bases:
        for blob in blobs:
            # `before` is bound now: the next turn of the loop changes `done`.
            def told(count: int, before: int = done) -> None:
                observer.bytes("transfer", before + count, total)

            if blob.digest in parcels:
                deliveries += bring(blob, parcels, store, host, link, observer, told)
            else:
                deliveries.append(deliver(blob, store, link, bases, observer, told))
            # The rate that this blob has shown is where the next one begins.
            host.rate = link.rate
            if blob.size >= LEAST_BASE:
                bases.add(Base(blob.digest, blob.size))
            done += blob.size
    return tuple(deliveries)


def _asking(host: Host) -> Link:
    """For calls that carry no content."""
    return Link(host.remote, pause=_pause(host))


def _pause(host: Host) -> Callable[[float], None]:
    # A Remote's own ends when the Move does.
    return getattr(host.remote, "pause", time.sleep)


def _link(host: Host) -> Link:
    if host.name == "local":
        # Both ends are this machine: to compress would cost time and save nothing.
        return Link(host.remote, encodings=("raw",), pause=_pause(host))

    def sent() -> int | None:
        counters = host.counters()
        # Other counters do not say what the network has taken, only what was handed to ssh, which
        # buffers; a rate from those would be that of a pipe.
        return counters.sent if counters.source == "tcp_info" else None

    limit = getattr(host.remote, "limit", None)
    most = None if limit is None else limit.rate
    return Link(
        host.remote, sent=sent, rate=host.rate, name=host.name, limit=most, pause=_pause(host)
    )


def _bases(
    artifact: Artifact, store: Store, host: Host, observer: Observer, engine: Layers
) -> list[Base]:
    """What both ends hold: layers of the same image first, then the newest blobs."""
    newest = store.newest(_ASKED, LEAST_BASE)
    own = [digest for digest in artifact.diff_ids if store.has(digest)]
    asked = list(dict.fromkeys([*own, *(blob.digest for blob in newest)]))
    have = _ask(host, "store.has", {"digests": asked}, observer)["have"]
    bases = []
    for digest in asked:
        size = store.size(digest)
        if have.get(digest) == size or digest in engine.there:
            # To read such a layer the host has to ask its engine for an image as a whole (`docker
            # save`), which takes time in proportion to the image.
            whole = digest not in have and digest not in engine.readable
            bases.append(Base(digest, size, in_engine=whole))
    return likeliest(bases, own)
