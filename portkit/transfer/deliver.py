"""One blob to a host: as the recipe that is cheapest, going on where a cut connection ended."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from portkit.errors import PortkitError, TransferError, VerifyError
from portkit.host.remote import recipe as ops
from portkit.model import Blob
from portkit.progress import Observer
from portkit.store import Store
from portkit.transfer import price, recipe
from portkit.transfer.index import Index
from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing
from portkit.transfer.stream import Stream

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds, as long as nothing more arrives
_SAMPLE, _SAMPLES = 1 << 16, 16
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
class Base:
    """A blob that both ends hold. in_engine: there it is to be read out of the Docker Engine."""

    digest: str
    size: int
    in_engine: bool = False


@dataclass(frozen=True)
class Delivery:
    """What was chosen for a blob and why. Bytes: of the blob literal, copied, zero; sent is the
    compressed stream. bases: digests. resumed: how often a connection broke and was made again."""

    digest: str
    size: int
    literal: int
    copied: int
    zero: int
    sent: int
    bases: tuple[str, ...]
    packing: Packing
    reason: str
    resumed: int


def deliver(
    blob: Blob,
    store: Store,
    link: Link,
    bases: Sequence[Base],
    observer: Observer,
    told: Callable[[int], None],
) -> Delivery:
    """Send a blob of the Store; it is in the host's Store afterwards, verified there.

    bases: candidates, the likeliest first; only those that are worth it are used. told: gets the
    bytes of the blob that are done. Raises VerifyError when something else arrived than was sent,
    SpaceError when the host is full, TransferError or HostError when the connection stays broken.
    """
    with store.space():
        try:
            return _Job(blob, store, link, bases, observer, told).run()
        except (VerifyError, TransferError) as error:
            # A base may have been removed there meanwhile, or altered at rest.
            if link.remote.lost or not bases:
                raise
            observer.message(f"{error.brief}; once more, without what the host has")
            return _Job(blob, store, link, (), observer, told).run()


class _Job:
    def __init__(
        self,
        blob: Blob,
        store: Store,
        link: Link,
        bases: Sequence[Base],
        observer: Observer,
        told: Callable[[int], None],
    ) -> None:
        self._blob, self._store, self._link = blob, store, link
        self._bases, self._observer, self._told = bases, observer, told
        self._resumed = 0
        self._content = 1  # bytes of the recipe, about
        self._meter = Meter()

    def run(self) -> Delivery:
        folder = self._store.temporary().parent
        with ExitStack() as stack:
            path = self._store.path(self._blob.digest)
            target = stack.enter_context(path.open("rb")).fileno()
            rows = [row for row in self._bases if self._store.has(row.digest)]
            script = stack.enter_context(self._scan(target, rows, folder))
            rate = self._link.rate or price.UNKNOWN_RATE
            dropped = [
                number
                for number, copied in script.copied.items()
                if not price.worth(
                    copied, rows[number].size, rate, in_engine=rows[number].in_engine
                )
            ]
            used = [rows[number] for number in script.used(dropped)]
            copied = sum(script.copied[number] for number in script.used(dropped))
            literal = script.size - script.zero - copied
            self._content = max(1, literal)
            packed = price.is_packed(list(_samples(script, target)))
            first = self._packing(literal, packed, unknown=self._link.rate is None)
            again = None if self._link.rate else lambda: self._adapted(literal, packed)
            pieces = recipe.render(script, target, dropped)
            stream = stack.enter_context(Stream(pieces, first, folder, again))
            self._transmit(stream, first, used)
            return Delivery(
                self._blob.digest, script.size, literal, copied, script.zero, stream.made,
                tuple(row.digest for row in used), stream.how,
                _reason(stream.how, packed, self._link.rate, copied), self._resumed,
            )  # fmt: skip

    def _scan(self, target: int, rows: Sequence[Base], folder: Path) -> recipe.Script:
        with ExitStack() as stack:
            files = [stack.enter_context(self._store.path(row.digest).open("rb")) for row in rows]
            numbers = [file.fileno() for file in files]
            index = None
            if numbers:
                index = Index(numbers, folder)
                stack.callback(index.close)
            return recipe.scan(target, numbers, index, folder)

    # ---------------------------------------------------------------- how hard to compress

    def _packing(self, literal: int, packed: bool, *, unknown: bool = False) -> Packing:
        # Until it is known, as if for a fast link: on a slow one little is lost by it.
        rate = 40e6 if unknown else self._link.rate or price.UNKNOWN_RATE
        cores = len(os.sched_getaffinity(0))
        encodings = self._link.encodings or self._link.remote.encodings
        return price.packing(encodings, literal, rate, cores, packed)

    def _adapted(self, literal: int, packed: bool) -> Packing | None:
        """How to go on, once the link's rate is known."""
        self._link.rate = self._link.rate or self._meter.rate()
        return None if self._link.rate is None else self._packing(literal, packed)

    # ---------------------------------------------------------------- sending

    def _transmit(self, stream: Stream, packing: Packing, used: Sequence[Base]) -> None:
        """Until it has arrived; the pauses begin anew when more of it is there than before."""
        args = {
            "digest": self._blob.digest,
            "size": self._blob.size,
            "key": _key(self._blob, packing, used),
        }
        bases = [{"digest": row.digest, "size": row.size} for row in used]
        apply = {**args, "encoding": packing.encoding, "bases": bases}
        room = min(self._blob.size, self._store.path(self._blob.digest).stat().st_blocks * 512)
        most, pauses = -1, iter(self._link.pauses)
        while True:
            try:
                if self._resumed and self._arrived():
                    return
                found = self._link.remote.call("store.part", {**args, "room": room})
                if found["size"] > most:
                    most, pauses = found["size"], iter(self._link.pauses)
                fits = stream.starts_with(found["size"], found["sha256"])
                offset = found["size"] if fits else 0
                sent = self._sent(stream, offset)
                self._link.remote.call("store.apply", {**apply, "offset": offset}, send=sent)
                return
            except PortkitError as error:
                pause = next(pauses, None) if self._link.remote.lost else None
                if pause is None:
                    raise
                self._resumed += 1
                self._observer.message(f"{error.brief}; again in {pause:g} s")
                self._link.pause(pause)

    def _arrived(self) -> bool:
        """Whether only the answer was lost."""
        digest = self._blob.digest
        return digest in self._link.remote.call("store.has", {"digests": [digest]})["have"]

    def _sent(self, stream: Stream, offset: int) -> Iterator[bytes]:
        self._meter = Meter()
        for data in stream.read(offset):
            self._meter.count(time.monotonic(), len(data), self._link.sent())
            yield data
            share = min(1.0, stream.eaten / self._content)
            self._told(int(self._blob.size * share))
        self._link.rate = self._meter.rate() or self._link.rate
        self._told(self._blob.size)


def _samples(script: recipe.Script, target: int) -> Iterator[bytes]:
    """Pieces of what is new, evenly spread."""
    step = max(1, script.literal // _SAMPLES)
    done = passed = 0
    for kind, _, _, length in script.operations():
        if kind == ops.LITERAL:
            while passed < length:
                yield os.pread(target, min(_SAMPLE, length - passed), done + passed)
                passed += step
            passed -= length
        done += length


def _key(blob: Blob, packing: Packing, used: Sequence[Base]) -> str:
    """Names all that the stream depends on."""
    row = [_FORMAT, blob.digest, blob.size, asdict(packing), [base.digest for base in used]]
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:32]


def _reason(how: Packing, packed: bool, rate: float | None, copied: int) -> str:
    link = "a link of unknown speed" if rate is None else f"a link of {rate / 1e6:.1f} MB/s"
    level = "content that is compressed already" if packed else f"level {how.level} for {link}"
    return ("a recipe against what is there; " if copied else "nothing alike is there; ") + level
