"""One folder to another, over several passes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from portkit.errors import ConflictError, HostError, PortkitError, VerifyError
from portkit.halt import Halt
from portkit.host.calls import Remote
from portkit.progress import Observer
from portkit.transfer.resume import Link, Retries
from portkit.volumes import streams
from portkit.volumes.diff import Changes, Wanted, diff
from portkit.volumes.index import Index, first_difference, shown
from portkit.volumes.passes import Pass, another
from portkit.volumes.side import Folder, Scanned, Side, Trust, encoding_of
from portkit.wire.blocks import Want
from portkit.wire.json_types import JsonObject

# Blocks of one round: at most 256 MiB of content. Each round costs three round trips.
_ROUND = 4096
# How much older than a scan a file's ctime has to be, for its hash to be a proof later. A tick of
# the kernel's clock, from which ctime comes, takes up to 10 ms. At the source a write(2) may be
# under way: it sets the times first and then copies. Into the target's folder nobody else writes.
_MARGIN_MS, _MARGIN_THERE_MS = 250, 20
_LEAST_S = 0.3  # of a round, before it tells a rate


class Copy:
    """Brings one folder to another. Call `run` as often as it pays, and with `last` when nobody
    writes to the origin any more.

    The target's folder must be there; what is in it and not in the origin is removed. A copy that
    was cut off begins again with what has arrived. nodes: whether device nodes are made there, or
    named as skipped like FIFOs and sockets.
    """

    def __init__(
        self, origin: Folder, target: Folder, observer: Observer, *, nodes: bool = False
    ) -> None:
        if origin.host.remote is target.host.remote:
            raise HostError(
                "copying a folder needs two connections",
                details=f"both ends use the same connection to {origin.host.name}",
                resolution="Connect twice to copy within a host.",
            )
        self._origin, self._target = origin, target
        self._observer = observer
        self._nodes = nodes
        self._rate = _Rate(target.host.rate)
        self._provable = (False, False)
        self.sent: Index | None = None
        self.seconds: float | None = None

    def run(
        self, *, last: bool = False, full: bool = False, observer: Observer | None = None
    ) -> Pass:
        """A pass. After the last one both folders are equal, by the hashes of all that is in them,
        and the target's is on its disk. `sent` is what the source had then. `seconds`
        is how long the latest pass took.

        observer: of this pass alone, instead of the one that all have.

        full: hash all of it now, whatever a host can prove. Where `Pass.remembered` is not 0, a
        later `verify_origin` does that for the source.

        Raises VerifyError when somebody writes during the last pass, or when what arrived is not
        what was sent; SpaceError when the target is full; ConflictError when something is mounted
        in one of the folders; TransferError when a connection stays broken.
        """
        hosts = (self._origin.host, self._target.host)
        observer = observer or self._observer
        retries = {
            host: Retries(Link(host.remote, pause=host.remote.pause), observer) for host in hosts
        }
        while True:
            try:
                trust = self._trust(last, full)
                work = self._try(last, trust, list(retries.values()), observer)
                done = work.run()
            except PortkitError as error:
                lost = [host for host in hosts if host.remote.lost]
                if lost:
                    retries[lost[0]].after(error)
                elif last and work.remembered and isinstance(error, VerifyError):
                    full = True  # what was remembered may be what is wrong
                else:
                    raise
            else:
                self._provable, self.sent = work.provable, work.seen if last else None
                self.seconds = done.seconds
                return done

    def _trust(self, last: bool, full: bool) -> tuple[Trust, Trust]:
        """Of both sides. A host that cannot prove anything hashes all in the last pass, and only
        there."""
        if full:
            return Trust.NOTHING, Trust.NOTHING
        here, there = (Trust.PROOF if last or each else Trust.TIMES for each in self._provable)
        return here, there

    def _try(
        self, last: bool, trust: tuple[Trust, Trust], retries: list[Retries], observer: Observer
    ) -> _Try:
        folders = (self._origin, self._target)
        encoding = encoding_of(*(folder.host for folder in folders))
        sides = [Side(folder, encoding) for folder in folders]
        return _Try(sides[0], sides[1], observer, self._rate, last, trust, self._nodes, retries)


@dataclass
class _Rate:
    """Bytes a second that the way to the target was seen to carry; None while nothing was sent."""

    seen: float | None

    def learn(self, wire_bytes: int, seconds: float) -> None:
        """What a round has shown."""
        if seconds > _LEAST_S:
            self.seen = wire_bytes / seconds


@dataclass
class _Try:
    """One pass, until it is through or something breaks.

    trust: what each side need not hash again. bytes: of content that was sent. remembered: of
    content that a side has not hashed again; provable: whether each could prove that it need not.
    seen: what the source has.
    """

    origin: Side
    target: Side
    observer: Observer
    rate: _Rate
    last: bool
    trust: tuple[Trust, Trust]
    nodes: bool
    retries: list[Retries]
    bytes: int = 0
    vanished: int = 0
    send_s: float = 0.0
    scan_s: float = 0.0
    remembered: int = 0
    provable: tuple[bool, bool] = (False, False)
    seen: Index | None = None
    began: float = field(default_factory=time.monotonic)

    def run(self) -> Pass:
        written = _remote(self.target).written
        source, target = self._scan(self.trust, prove=not self.last)
        self.vanished += source.vanished
        self.remembered = source.remembered + target.remembered
        self.provable = source.provable, target.provable
        self.seen = source.index
        index, skipped = source.index.travelling(nodes=self.nodes)
        _refuse_mounts(
            source.index,
            self.origin.folder,
            "portkit does not copy it, so the App would be without it on the target. Move what is "
            "mounted there to a folder or volume of its own, or unmount it.",
        )
        _refuse_mounts(
            target.index, self.target.folder, "Unmount it there, or choose another folder."
        )
        changes = diff(index, target.index)
        most, room = changes.sizes()
        # Nothing to make and nothing to send is usual in a late pass.
        if changes.shape or most:
            self.target.shape(changes.shape, room=room, nodes=self.nodes)
        self._send(changes, most)
        self.observer.phase("volume:settle")
        self.target.settle(changes.settle)  # writes it to the disk, too
        if self.last:
            self._check_equal(source.index, index)
        return Pass(
            entries=len(index.rows),
            bytes=index.bytes,
            changed_entries=changes.changed,
            sent_bytes=self.bytes,
            wire_bytes=_remote(self.target).written - written,
            deleted=changes.deleted,
            seconds=time.monotonic() - self.began,
            last=self.last,
            digest=index.digest,
            skipped=skipped,
            vanished=self.vanished,
            scan_s=self.scan_s,
            send_s=self.send_s,
            began_s=self.began,
            remembered=source.remembered,
            hashed=source.index.bytes - source.remembered,
            hashed_there=target.index.bytes - target.remembered,
            provable=all(self.provable),
        )

    # ------------------------------------------------------------ both sides are read

    def _scan(self, trust: tuple[Trust, Trust], *, prove: bool) -> tuple[Scanned, Scanned]:
        self.observer.phase("volume:scan")
        began = time.monotonic()
        margins = (_MARGIN_MS, _MARGIN_THERE_MS) if prove else (None, None)

        def aside(_: Halt) -> Scanned:
            return self.target.scan(trust[1], margin_ms=margins[1], content=lambda count: None)

        def told(count: int) -> None:
            self.observer.bytes("volume:scan", count, None)

        with streams.aside(_remote(self.target), aside) as thread:
            source = self.origin.scan(trust[0], margin_ms=margins[0], content=told)
        found = source, thread.result()
        self.scan_s += time.monotonic() - began
        return found

    def _check_equal(self, before: Index, wanted: Index) -> None:
        """That nobody wrote meanwhile, and that both folders are the same."""
        began = time.monotonic()

        # Everything was hashed in this pass, or is proven: what has kept its times since then is
        # not read again.
        def aside(_: Halt) -> str:
            return self.target.digest(essential=True)

        with streams.aside(_remote(self.target), aside) as thread:
            here = self.origin.digest(essential=False)
        there = thread.result()
        self.scan_s += time.monotonic() - began
        if here == before.exact_digest and there == wanted.digest:
            return
        source, target = self._scan((Trust.TIMES, Trust.TIMES), prove=False)
        if source.index.rows != before.rows:
            changed = _first_change(before, source.index)
            raise VerifyError(
                "something still writes to the folder",
                details=f"{changed} in {self.origin.folder.path} changed during the last pass",
                resolution="Stop what writes there, and try again.",
            )
        raise VerifyError(
            "the folder on the target differs from its source",
            details=first_difference(wanted, target.index),
            resolution="Make sure that nothing writes there, and try again. A file system that "
            "does not keep times or attributes cannot hold the folder.",
        )

    # ------------------------------------------------------------ content

    def _send(self, changes: Changes, most: int) -> None:
        self.observer.phase("volume:send")
        began = time.monotonic()
        for wanted in _rounds(changes.wanted()):
            self._round(wanted, most)
            for each in self.retries:
                each.renew()
        self.send_s += time.monotonic() - began

    def _round(self, wanted: Sequence[Wanted], most: int) -> None:
        known = [each.want for each in wanted if each.known]
        hints = iter(self.target.pages(known) if known else ())
        wants = [
            _with_hints(each.want, next(hints)) if each.known else each.want for each in wanted
        ]
        before, written = self.bytes, _remote(self.target).written
        level = streams.level(self.origin.encoding, self.rate.seen)
        began = time.monotonic()

        def told(count: int) -> None:
            self.observer.bytes("volume:send", before + count, most)

        pipe = streams.Pipe()

        def aside(halt: Halt) -> JsonObject:
            with pipe.ending():
                return self.origin.read(
                    wants,
                    exact=self.last,
                    level=level,
                    data=lambda chunk: pipe.put(chunk, halt),
                    content=told,
                )

        with (
            streams.together(_remote(self.origin), _remote(self.target)),
            streams.aside(_remote(self.origin), aside) as thread,
        ):
            self.target.fill(pipe.taken())
        row = thread.result()
        self.rate.learn(_remote(self.target).written - written, time.monotonic() - began)
        self.bytes += row["bytes"]
        self.vanished += row["vanished"]


def _remote(side: Side) -> Remote:
    return side.folder.host.remote


def _with_hints(want: Want, hints: bytes) -> Want:
    return want._replace(hints=hints)


def _rounds(wanted: Iterator[Wanted]) -> Iterator[list[Wanted]]:
    while some := list(islice(wanted, _ROUND)):
        yield some


def _refuse_mounts(index: Index, folder: Folder, resolution: str) -> None:
    if mounts := index.mounts():
        raise ConflictError(
            f"something is mounted in the folder on {folder.host.name}",
            details=f"{folder.path}: {', '.join(mounts[:10])}",
            resolution=resolution,
        )


def _first_change(before: Index, after: Index) -> str:
    for path in (*before.rows, *after.rows):
        if before.rows.get(path) != after.rows.get(path):
            return shown(path)
    return "."


def warm(copy: Copy) -> list[Pass]:
    """Passes while the App runs, as long as each makes the last one shorter."""
    passes = [copy.run()]
    while another(passes):
        passes.append(copy.run())
    return passes
