"""A stream to a host until it has arrived, going on where a cut connection ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

from portkit.errors import PortkitError
from portkit.model import Blob
from portkit.progress import Observer
from portkit.transfer.price import Packing
from portkit.transfer.stream import Stream
from portkit.wire.json_types import JsonObject

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds, as long as nothing more arrives
# Part of what a stream's name is made from. Raise it when a recipe or its packing changes its
# bytes, so that what an older version has begun is not gone on with.
_FORMAT = 2
T = TypeVar("T")


class Caller(Protocol):
    """What is used of `portkit.host.calls.Remote`."""

    encodings: tuple[str, ...]
    lost: bool

    def call(
        self,
        verb: str,
        args: JsonObject,
        *,
        send: Iterable[bytes] | None = None,
        receive: Callable[[bytes], None] | None = None,
    ) -> JsonObject: ...


@dataclass
class Link:
    """The way to a host. rate: bytes a second, None until it was measured.

    sent: bytes that went over it so far; None where nothing counts them. name: the host's.
    limit: bytes a second that it is held to. Data waits for that before the link sees it, which
    then seems to keep up with anything.
    """

    remote: Caller
    encodings: tuple[str, ...] = ()  # what may be used of the remote's; empty is all
    sent: Callable[[], int | None] = lambda: None
    rate: float | None = None
    pause: Callable[[float], None] = time.sleep
    pauses: Sequence[float] = PAUSES
    name: str = ""
    limit: float | None = None

    def __post_init__(self) -> None:
        self.learn(self.rate)

    def learn(self, rate: float | None) -> None:
        """A rate that was measured; None tells nothing new."""
        if rate is not None:
            self.rate = self.held(rate)

    def held(self, rate: float) -> float:
        """What is left of a rate by the limit."""
        return rate if self.limit is None else min(rate, self.limit)


@dataclass(frozen=True)
class Sending:
    """A blob on its way. packing: of the stream's beginning. room: bytes that it takes there.

    found: digests of all in which the blob's content was found, in order. One that is no base
    hides what those behind it have as well, so the stream depends on it too.
    """

    blob: Blob
    packing: Packing
    bases: Sequence[Blob]
    room: int
    found: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Names what the stream's beginning depends on."""
        bases = [base.digest for base in self.bases]
        # Two streams of the same key have the same bytes; the host keeps what has come under this
        # name. The version of zstd is not in it: `starts_with` compares what is there with what is
        # made here.
        row = [_FORMAT, self.blob.digest, self.blob.size, asdict(self.packing), bases]
        row.append(list(self.found))
        return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32]


class Retries:
    """Tries of what a broken connection ended, with growing pauses. count: how many there were."""

    def __init__(self, link: Link, observer: Observer) -> None:
        self._link, self._observer = link, observer
        self.count = 0
        self.renew()

    def renew(self) -> None:
        """It got further than before: the pauses begin anew."""
        self._pauses = iter(self._link.pauses)

    def after(self, error: PortkitError) -> None:
        """Wait for the next try; raises the error when there is none, or the connection is whole:
        then the host has refused."""
        # A refusal would be the same the next time; a broken connection may be whole again. The
        # next call makes the connection anew.
        pause = next(self._pauses, None) if self._link.remote.lost else None
        if pause is None:
            raise error
        self.count += 1
        self._observer.message(f"{error.brief}; trying again in {pause:g} s")
        self._link.pause(pause)


def persist(action: Callable[[], T], link: Link, observer: Observer) -> T:
    """The result of an action that may be repeated, whatever became of the connection."""
    retries = Retries(link, observer)
    while True:
        try:
            return action()
        except PortkitError as error:
            retries.after(error)


def ask(link: Link, verb: str, args: JsonObject, observer: Observer) -> JsonObject:
    """The answer to a call that may be repeated, again where the connection broke."""
    return persist(lambda: link.remote.call(verb, args), link, observer)


def transmit(
    sending: Sending,
    stream: Stream,
    link: Link,
    observer: Observer,
    sent: Callable[[int], Iterator[bytes]],
) -> int:
    """Until it has arrived; how often the connection was made again.

    sent: the stream's bytes from an offset on. The pauses begin anew when more of it is there than
    before.
    """
    digest = sending.blob.digest
    args = {"digest": digest, "size": sending.blob.size, "key": sending.key}
    bases = [{"digest": base.digest, "size": base.size} for base in sending.bases]
    apply = {**args, "encoding": sending.packing.encoding, "bases": bases}
    retries, most = Retries(link, observer), -1
    while True:
        try:
            # Only the answer may have been lost.
            # The host may have made the blob and then lost the connection while it said so.
            asked = {"digests": [digest]}
            if retries.count and digest in link.remote.call("store.has", asked)["have"]:
                return retries.count
            # This also takes what is there out of the hands of a connection that broke, whose
            # process on the host may not have noticed yet.
            found = link.remote.call("store.part", {**args, "room": sending.room})
            fits = stream.starts_with(found["size"], found["sha256"])
            # If what is there is not the beginning of this stream (another version of zstd made it,
            # say), it begins anew.
            offset = found["size"] if fits else 0
            if offset > most:
                most = offset
                retries.renew()
            link.remote.call("store.apply", {**apply, "offset": offset}, send=sent(offset))
            return retries.count
        except PortkitError as error:
            retries.after(error)
