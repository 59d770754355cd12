"""One blob to a host: as the recipe that is cheapest, going on where a cut connection ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from portkit.errors import TransferError, VerifyError
from portkit.host.remote import recipe as ops
from portkit.model import Blob
from portkit.progress import Observer
from portkit.store import Store
from portkit.transfer import price, recipe
from portkit.transfer.bases import Base, Bases
from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing
from portkit.transfer.resume import Link, Sending, transmit
from portkit.transfer.stream import Stream

_SAMPLE, _SAMPLES = 1 << 16, 16
# Until a link has been measured it is taken for a fast one: on a slow one little is lost by it.
_PRESUMED = 80e6


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
    bases: Bases | None,
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
            if link.remote.lost or bases is None or not bases.rows:
                raise
            observer.message(f"{error.brief}; once more, without what the host has")
            return _Job(blob, store, link, None, observer, told).run()


class _Job:
    def __init__(
        self,
        blob: Blob,
        store: Store,
        link: Link,
        bases: Bases | None,
        observer: Observer,
        told: Callable[[int], None],
    ) -> None:
        self._blob, self._store, self._link = blob, store, link
        self._bases = bases or Bases(store)
        self._observer, self._told = observer, told
        self._content = 1  # bytes of the recipe, about

    def run(self) -> Delivery:
        folder = self._store.temporary().parent
        with ExitStack() as stack:
            path = self._store.path(self._blob.digest)
            target = stack.enter_context(path.open("rb")).fileno()
            script = stack.enter_context(self._bases.scan(target, folder))
            rows = self._bases.rows
            dropped = [n for n, row in enumerate(rows) if not self._worth(script.copied[n], row)]
            kept = script.used(dropped)
            copied = sum(script.copied[number] for number in kept)
            used = [rows[number] for number in kept]
            literal = script.size - script.zero - copied
            self._content = max(1, literal)
            packed = price.is_packed(list(_samples(script, target)))

            def packing(rate: float) -> Packing:
                return self._packing(literal, rate, packed)

            first = packing(self._link.rate or _PRESUMED)
            room = min(self._blob.size, path.stat().st_blocks * 512)
            blobs = [Blob(row.digest, row.size) for row in used]
            sending = Sending(self._blob, first, blobs, room)
            pace = Pace(self._link, packing, folder / f"{sending.key}.how")
            pieces = recipe.render(script, target, dropped)
            stream = stack.enter_context(Stream(pieces, first, folder, pace.again))
            resumed = transmit(
                sending, stream, self._link, self._observer,
                lambda offset: self._sent(stream, offset, pace),
            )  # fmt: skip
            pace.forget()
            return Delivery(
                self._blob.digest, script.size, literal, copied, script.zero, stream.made,
                tuple(row.digest for row in used), stream.how,
                _reason(stream.how, packed, self._link.rate, copied), resumed,
            )  # fmt: skip

    def _worth(self, copied: int, base: Base) -> bool:
        rate = self._link.rate or price.UNKNOWN_RATE
        return copied > 0 and price.worth(copied, base.size, rate, in_engine=base.in_engine)

    def _packing(self, literal: int, rate: float, packed: bool) -> Packing:
        encodings = self._link.encodings or self._link.remote.encodings
        return price.packing(encodings, literal, rate, len(os.sched_getaffinity(0)), packed)

    # ---------------------------------------------------------------- sending

    def _sent(self, stream: Stream, offset: int, pace: Pace) -> Iterator[bytes]:
        for data in pace.measured(stream.read(offset)):
            yield data
            share = min(1.0, stream.eaten / self._content)
            self._told(int(self._blob.size * share))
        self._told(self._blob.size)


class Pace:
    """Measures the link while a stream goes over it, and says how to go on compressing.

    What it said is noted in a file, so that the same command again makes the same stream.
    """

    def __init__(self, link: Link, packing: Callable[[float], Packing], note: Path) -> None:
        self._link, self._packing, self._note = link, packing, note
        self._meter = Meter()
        self._told = _noted(note)
        self._known = link.rate is not None

    def measured(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        self._meter = Meter()
        for data in chunks:
            self._meter.count(time.monotonic(), len(data), self._link.sent())
            yield data
        self._link.rate = self._meter.rate() or self._link.rate

    def again(self, eaten: int) -> Packing | None:
        """How to go on behind so many bytes of the recipe; None is as before."""
        if self._told is None and not self._known:
            self._link.rate = self._link.rate or self._meter.rate()
            if self._link.rate is not None:
                self._told = (eaten, self._packing(self._link.rate))
                self._note.write_text(json.dumps([eaten, asdict(self._told[1])]))
        return self._told[1] if self._told is not None and self._told[0] == eaten else None

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)


def _noted(path: Path) -> tuple[int, Packing] | None:
    try:
        eaten, row = json.loads(path.read_bytes())
        return int(eaten), Packing(**row)
    except (OSError, ValueError, TypeError):
        return None


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


def _reason(how: Packing, packed: bool, rate: float | None, copied: int) -> str:
    link = "a link of unknown speed" if rate is None else f"a link of {rate / 1e6:.1f} MB/s"
    level = "content that is compressed already" if packed else f"level {how.level} for {link}"
    return ("a recipe against what is there; " if copied else "nothing alike is there; ") + level
