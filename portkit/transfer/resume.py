"""A stream to a host until it has arrived, going on where a cut connection ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from portkit.errors import PortkitError
from portkit.model import Blob
from portkit.progress import Observer
from portkit.transfer.price import Packing
from portkit.transfer.stream import Stream

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds, as long as nothing more arrives
_FORMAT = 1


class Caller(Protocol):
    """What is used of `portkit.host.wire.Remote`."""

    encodings: tuple[str, ...]
    lost: bool

    def call(
        self, verb: str, args: dict[str, Any], *, send: Any = None, receive: Any = None
    ) -> dict[str, Any]: ...


@dataclass
class Link:
    """The way to a host. rate: bytes a second, None until it was measured.

    sent: bytes that went over it so far; None where nothing counts them.
    """

    remote: Caller
    encodings: tuple[str, ...] = ()  # what may be used of the remote's; empty is all
    sent: Callable[[], int | None] = lambda: None
    rate: float | None = None
    pause: Callable[[float], None] = time.sleep
    pauses: Sequence[float] = PAUSES


@dataclass(frozen=True)
class Sending:
    """A blob on its way. packing: of the stream's beginning. room: bytes that it takes there."""

    blob: Blob
    packing: Packing
    bases: Sequence[Blob]
    room: int

    @property
    def key(self) -> str:
        """Names all that the stream depends on."""
        bases = [base.digest for base in self.bases]
        row = [_FORMAT, self.blob.digest, self.blob.size, asdict(self.packing), bases]
        return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32]


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
    resumed, most, pauses = 0, -1, iter(link.pauses)
    while True:
        try:
            # Only the answer may have been lost.
            if resumed and digest in link.remote.call("store.has", {"digests": [digest]})["have"]:
                return resumed
            found = link.remote.call("store.part", {**args, "room": sending.room})
            if found["size"] > most:
                most, pauses = found["size"], iter(link.pauses)
            fits = stream.starts_with(found["size"], found["sha256"])
            offset = found["size"] if fits else 0
            link.remote.call("store.apply", {**apply, "offset": offset}, send=sent(offset))
            return resumed
        except PortkitError as error:
            pause = next(pauses, None) if link.remote.lost else None
            if pause is None:
                raise
            resumed += 1
            observer.message(f"{error.brief}; again in {pause:g} s")
            link.pause(pause)
