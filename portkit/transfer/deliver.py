"""One blob to a host: as the recipe that is cheapest, going on where a cut connection ended."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from portkit.delivery import Delivery
from portkit.errors import EngineError, TransferError, VerifyError
from portkit.model import Blob, check_digest
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.transfer import price, recipe
from portkit.transfer.bases import Base, Bases
from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing
from portkit.transfer.resume import Link, Sending, ask, transmit
from portkit.transfer.sampled import sampled
from portkit.transfer.stream import Stream, packer
from portkit.wire import recipe as ops
from portkit.wire import strict_json

# Bytes of a sample, and how many: one MiB tells whether content is compressed already.
_SAMPLE, _SAMPLES = 1 << 16, 16
# Until a link has been measured it is taken for a fast one: on a slow one little is lost by it.
_PRESUMED = 80e6
_STALE_S = 86400.0  # as long as the host keeps a part that nobody goes on with


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
        job = _Job(blob, store, link, bases, observer, told)
        try:
            return job.run()
        except (VerifyError, TransferError, EngineError) as error:
            # A base may have been removed there meanwhile, or altered at rest; where there is no
            # engine, the host could not read a base out of it.
            if link.remote.lost or not job.used:
                raise
            observer.message(f"{error.brief}; trying again without what the host has")
            job.note.forget()
            return _Job(blob, store, link, None, observer, told).run()


def foresee(blob: Blob, store: Store, link: Link, bases: Bases) -> Delivery:
    """What `deliver` would do, found out here; the host is not asked and nothing is sent."""
    with store.space():
        return _Job(blob, store, link, bases, NullObserver(), lambda count: None).foresee()


def roughly_of(blob: Blob, store: Store, link: Link) -> Delivery:
    """As `foresee`, from samples, and as if the host had nothing of the blob."""
    encodings = link.encodings or link.remote.encodings
    rate = link.rate or link.held(price.UNKNOWN_RATE)
    how = price.packing(encodings, blob.size, rate, len(os.sched_getaffinity(0)), packed=False)
    quick, ratio = price.quick(how)
    content, made = sampled(store.path(blob.digest), quick)
    return Delivery(
        digest=blob.digest,
        size=blob.size,
        literal=content,
        zero=blob.size - content,
        sent=round(made * ratio),
        encoding=how.encoding,
        level=how.level,
        window=how.window,
        reason="by samples",
    )


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
        self._candidates = {row.digest: row for row in self._bases.rows}
        self._folder = store.scratch()
        self.note = Note(store.notes(), blob.digest, link.name)
        self._observer, self._told = observer, told
        self._content = 1  # bytes of the recipe, about
        self.used: tuple[str, ...] = ()  # bases, once it is known

    def run(self) -> Delivery:
        folder, note = self._folder, self.note
        with ExitStack() as stack:
            # A transfer that an earlier command began is made again byte for byte: with its bases
            # and its packing, whatever would be chosen today.
            begun = self._begun()
            bases = self._bases
            if begun is not None:  # made again as it was, so with no other candidates
                bases = stack.enter_context(Bases(self._store, self._rows(begun)))
            made = stack.enter_context(self._described(bases, begun))
            # Copies and zeros take a few bytes each: new bytes are nearly all of a recipe.
            self._content = max(1, made.literal)

            def packing(rate: float) -> Packing:
                return self._packing(made.literal, rate, made.packed)

            plan = Plan(
                begun.first if begun else packing(self._link.rate or self._link.held(_PRESUMED)),
                made.found,
                begun.change if begun else None,
            )
            self.used = plan.used
            # While the blob is made, what has arrived of its stream is stored beside it. The blob
            # counts without its holes, which the host leaves as holes too (inode(7): st_blocks is
            # in 512 bytes).
            on_disk = os.fstat(made.target).st_blocks * 512
            room = min(self._blob.size, on_disk) + made.literal
            pace = Pace(self._link, packing, plan, note)
            stream = stack.enter_context(Stream(made.pieces(), plan.first, folder, pace.again))
            sending = self._sending(plan, room)
            resumed = transmit(
                sending,
                stream,
                self._link,
                self._observer,
                # After a cut the stream is read again from what has arrived; what was made is kept
                # in its file.
                lambda offset: self._sent(stream, offset, pace),
            )
            note.forget()
            reason = _reason(stream.how, made.packed, self._link.rate, made.copied)
            found = made.delivery(self._blob.digest, stream.how, stream.made, plan.used, reason)
            return replace(found, resumed=resumed)

    def foresee(self) -> Delivery:
        """What `run` would do with nothing begun, without the host."""
        with self._described(self._bases, None) as made:
            rate = self._link.rate or self._link.held(price.UNKNOWN_RATE)
            how = self._packing(made.literal, rate, made.packed)
            quick, ratio = price.quick(how)
            sent = round(_compressed(made.pieces(), quick) * ratio)
            bases = tuple(digest for digest, used in made.found if used)
            return made.delivery(self._blob.digest, how, sent, bases, "foreseen")

    @contextmanager
    def _described(self, bases: Bases, begun: Plan | None) -> Iterator[_Described]:
        """How the blob can be made of the bases that are worth it."""
        with ExitStack() as stack:
            path = self._store.content(self._blob.digest)
            target = stack.enter_context(path.open("rb")).fileno()
            script = stack.enter_context(bases.scan(target, self._folder))
            found = [n for n in range(len(bases.rows)) if script.copied[n]]
            # Which bases are worth it is known only once it is known how much of the blob they
            # have. A base that is dropped is not looked for again: what it hid in those behind it
            # travels as new bytes.
            dropped = [n for n in found if self._dropped(begun, bases.rows[n], script.copied[n])]
            rows = tuple((bases.rows[n].digest, n not in dropped) for n in found)
            yield _Described(target, script, rows, tuple(dropped))

    # ---------------------------------------------------------------- what is chosen

    def _begun(self) -> Plan | None:
        """How an earlier command began, where it can be gone on with: both ends have all that it
        found content in, and the host has some of its stream."""
        plan = self.note.read()
        if plan is None or plan.first.encoding not in self._encodings or not self._both_have(plan):
            return None
        # `peek` takes nothing over: it may be another command's, which is at work right now.
        args = {"digest": self._blob.digest, "key": self._sending(plan, 0).key, "peek": True}
        return plan if ask(self._link, "store.part", args, self._observer)["size"] else None

    def _both_have(self, plan: Plan) -> bool:
        """What has arrived meanwhile is a candidate, and may have taken the place of another."""
        wanted = [digest for digest, _ in plan.found if digest not in self._candidates]
        if not all(map(self._store.has, wanted)):
            return False
        have: dict[str, int] = {}
        if wanted:
            have = ask(self._link, "store.has", {"digests": wanted}, self._observer)["have"]
        rows = [Base(digest, self._store.size(digest)) for digest in wanted]
        self._candidates.update({row.digest: row for row in rows})
        return all(have.get(row.digest) == row.size for row in rows)

    def _rows(self, plan: Plan) -> list[Base]:
        return [self._candidates[digest] for digest, _ in plan.found]

    def _sending(self, plan: Plan, room: int) -> Sending:
        sizes = {row.digest: row.size for row in self._candidates.values()}
        bases = [Blob(digest, sizes[digest]) for digest in plan.used]
        found = [digest for digest, _ in plan.found]
        return Sending(self._blob, plan.first, bases, room, found)

    def _dropped(self, begun: Plan | None, row: Base, copied: int) -> bool:
        if begun is not None:
            return row.digest not in begun.used
        return not self._worth(copied, row)

    def _worth(self, copied: int, base: Base) -> bool:
        rate = self._link.rate or self._link.held(price.UNKNOWN_RATE)
        # The link is presumed to be slow here: a base that is used without need costs the host some
        # seconds, one that is left out costs bytes.
        return copied > 0 and price.worth(copied, base.size, rate, in_engine=base.in_engine)

    def _packing(self, literal: int, rate: float, packed: bool) -> Packing:
        cores = len(os.sched_getaffinity(0))
        return price.packing(self._encodings, literal, rate, cores, packed)

    @property
    def _encodings(self) -> tuple[str, ...]:
        return self._link.encodings or self._link.remote.encodings

    # ---------------------------------------------------------------- sending

    def _sent(self, stream: Stream, offset: int, pace: Pace) -> Iterator[bytes]:
        for data in pace.measured(stream.read(offset)):
            yield data
            share = min(1.0, stream.eaten / self._content)
            self._told(int(self._blob.size * share))
        self._told(self._blob.size)


@dataclass(frozen=True)
class _Described:
    """A blob as a script against bases. target: its open file. found: as in `Plan`. dropped: the
    numbers of those that are not used."""

    target: int
    script: recipe.Script
    found: tuple[tuple[str, bool], ...]
    dropped: tuple[int, ...]

    @cached_property
    def copied(self) -> int:
        return sum(self.script.copied[n] for n in self.script.used(self.dropped))

    @property
    def literal(self) -> int:
        return self.script.size - self.script.zero - self.copied

    @cached_property
    def packed(self) -> bool:
        """Whether the content is compressed already."""
        return price.is_packed(list(self._samples()))

    def delivery(
        self, digest: str, how: Packing, sent: int, bases: tuple[str, ...], reason: str
    ) -> Delivery:
        """How the blob of that digest travels, packed like that, in so many bytes."""
        return Delivery(
            digest=digest,
            size=self.script.size,
            literal=self.literal,
            copied=self.copied,
            zero=self.script.zero,
            sent=sent,
            bases=bases,
            encoding=how.encoding,
            level=how.level,
            window=how.window,
            reason=reason,
        )

    def pieces(self) -> Iterator[bytes]:
        return recipe.render(self.script, self.target, self.dropped)

    def _samples(self) -> Iterator[bytes]:
        """Pieces of what travels, evenly spread."""
        step = max(1, self.literal // _SAMPLES)
        done = passed = 0
        for kind, base, _, length in self.script.operations():
            if kind == ops.LITERAL or (kind == ops.COPY and base in self.dropped):
                while passed < length:
                    yield os.pread(self.target, min(_SAMPLE, length - passed), done + passed)
                    passed += step
                passed -= length
            done += length


def _compressed(pieces: Iterator[bytes], how: Packing) -> int:
    """The size of a stream that is not kept."""
    stream = packer(how)
    return sum(len(stream.compress(piece)) for piece in pieces) + len(stream.flush())


@dataclass(frozen=True)
class Plan:
    """What a stream depends on beside the blob. first: how it is packed at the beginning. found:
    digests of the candidates that have some of the content, in order, and whether each is used.
    change: behind how many bytes of the recipe it is packed otherwise, and how."""

    first: Packing
    found: tuple[tuple[str, bool], ...]
    change: tuple[int, Packing] | None = None

    @property
    def used(self) -> tuple[str, ...]:
        return tuple(digest for digest, used in self.found if used)


class Note:
    """The Plan of a blob that is on its way to a host, in a file: the same command again makes the
    same stream, although it knows another rate and other candidates."""

    def __init__(self, folder: Path, digest: str, host: str) -> None:
        # A host's name may hold what no file's name can, and its length has no limit here.
        name = hashlib.sha256(f"{digest} {host}".encode()).hexdigest()
        self._path = folder / f"{name}.how"
        for path in folder.glob("*.how"):
            with suppress(FileNotFoundError):  # another command was faster
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()

    def read(self) -> Plan | None:
        """None where there is none that makes sense."""
        try:
            row = strict_json.loads(self._path.read_bytes())
            change = row["change"]
            return Plan(
                Packing(**row["first"]),
                tuple((check_digest(digest), bool(used)) for digest, used in row["found"]),
                None if change is None else (int(change[0]), Packing(**change[1])),
            )
        # The file may be half written or from another version; without it the transfer begins anew,
        # which is always right.
        except (OSError, ValueError, TypeError, KeyError, IndexError, VerifyError):
            return None

    def write(self, plan: Plan) -> None:
        self._path.touch(mode=0o600)
        self._path.write_text(json.dumps(asdict(plan)))

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


class Pace:
    """Measures the link while a stream goes over it, and says how to go on compressing."""

    def __init__(
        self, link: Link, packing: Callable[[float], Packing], plan: Plan, note: Note
    ) -> None:
        self._link, self._packing, self._note = link, packing, note
        self._meter = Meter()
        self._plan = plan
        self._known = link.rate is not None

    def measured(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        self._meter = Meter()
        self._note.write(self._plan)  # at each connection, so that it does not become stale
        for data in chunks:
            # Monotonic: a clock that is set in between would make any rate of it.
            self._meter.count(time.monotonic(), len(data), self._link.sent())
            yield data
        self._link.learn(self._meter.rate())

    def again(self, eaten: int) -> Packing | None:
        """How to go on behind so many bytes of the recipe; None is as before."""
        # The packing changes once, at the first rate that is measured. It is noted at once: whoever
        # makes this stream again has to change at the same byte.
        if self._plan.change is None and not self._known:
            if self._link.rate is None:
                self._link.learn(self._meter.rate())
            if self._link.rate is not None:
                self._plan = replace(self._plan, change=(eaten, self._packing(self._link.rate)))
                self._note.write(self._plan)
        change = self._plan.change
        return change[1] if change is not None and change[0] == eaten else None


def _reason(how: Packing, packed: bool, rate: float | None, copied: int) -> str:
    link = "a link of unknown speed" if rate is None else f"a link of {rate / 1e6:.1f} MB/s"
    level = "content that is compressed already" if packed else f"level {how.level} for {link}"
    return (
        "a recipe from what the target has; " if copied else "the target has nothing similar; "
    ) + level
