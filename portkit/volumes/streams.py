"""The streams of a pass at the near end: into a list, or from one host to the other."""

from __future__ import annotations

import queue
import struct
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar

from portkit.errors import PortkitError, VerifyError
from portkit.halt import Halt, Halted
from portkit.host.calls import Remote
from portkit.wire import codec

T = TypeVar("T")
_PART = struct.Struct(">IQ")
# More than a part ever has: its data are sent when there are 256 KiB, and one piece makes at most
# a block and a half of them. Where a part begins that claims more, the host is out of protocol.
_MAX_PART = 4 << 20
_WAITING = 64  # chunks of at most 1 MiB between the two hosts, usually of 256 KiB
_GLANCE_S = 0.5
_SHORT_S = 0.05  # the end may come without anything in the queue
_LEVEL, FAST_LEVEL = 3, 1
_FAST = 30e6  # bytes a second: a link that takes more is not worth a slower compressor


class Parts:
    """Takes a stream of the remote half apart as it comes: calls `data` with the compressed bytes
    and `content` with how much content there is up to there."""

    def __init__(
        self, data: Callable[[bytes], None], content: Callable[[int], None] = lambda count: None
    ) -> None:
        self._data, self._content = data, content
        self._held = bytearray()

    def feed(self, chunk: bytes) -> None:
        """The next bytes from the host."""
        self._held += chunk
        while len(self._held) >= _PART.size:
            length, count = _PART.unpack_from(self._held)
            if length > _MAX_PART:
                raise VerifyError("what a host sends of a folder is malformed")
            end = _PART.size + length
            if len(self._held) < end:
                return
            data = bytes(self._held[_PART.size : end])
            del self._held[:end]
            if data:
                self._data(data)
            self._content(count)


def plain(parts: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """What compressed bytes stand for; ValueError where they are damaged."""
    decoder = codec.Decompressor(encoding)
    for part in parts:
        yield from decoder.feed(part)
    decoder.finish()


def compressed(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Records as a stream for a host."""
    compressor = codec.Compressor(encoding, FAST_LEVEL)
    for piece in pieces:
        if data := compressor.feed(piece):
            yield data
    if data := compressor.finish():
        yield data


def level(encoding: str, rate: float | None) -> int:
    """How hard a host compresses what goes over a link of that rate."""
    if encoding == "zlib":
        return FAST_LEVEL  # its third level is slower than most links
    return FAST_LEVEL if rate is not None and rate > _FAST else _LEVEL


class Pipe:
    """Chunks from one thread to another; a few of them wait in it."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._ended = threading.Event()

    def put(self, chunk: bytes, halt: Halt) -> None:
        """Wait for room; Halted when there is no sense in it any more."""
        while True:
            halt.check()
            try:
                self._queue.put(chunk, timeout=_GLANCE_S)
            except queue.Full:
                continue
            return

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Nothing comes after the block, whatever way it ends."""
        try:
            yield
        finally:
            self._ended.set()

    def taken(self) -> Iterator[bytes]:
        """The chunks as they come, until the other thread is at its end."""
        while True:
            # Looked at first: what was put before the end is in the queue by then.
            ended = self._ended.is_set()
            try:
                yield self._queue.get(timeout=0 if ended else _SHORT_S)
            except queue.Empty:
                if ended:
                    return


class _GivenUp(Halted):
    """The block that the work was beside has failed."""


class _Inner(Halt):
    """Halts one call, and with everything else."""

    def __init__(self, outer: Halt) -> None:
        super().__init__()
        self._outer = outer

    def check(self) -> None:
        """Raise Halted when either has given up."""
        self._outer.check()
        if self.error is not None:
            raise _GivenUp


class Aside(Generic[T]):
    """Work in another thread. error: what it ended with."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            self.error = error

    def wait(self) -> None:
        """Until it has ended, whatever way."""
        self._thread.join()

    def result(self) -> T:
        """What it came to, or its error."""
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self._results[0]


# Who reads from one host and writes to another needs both. Two that had one each would wait for
# each other for ever.
_BUSY: weakref.WeakKeyDictionary[Remote, threading.Lock] = weakref.WeakKeyDictionary()
_BUSY_LOCK = threading.Lock()


@contextmanager
def together(*remotes: Remote) -> Iterator[None]:
    """Both hosts for a block, which no other block like it has meanwhile."""
    with ExitStack() as stack:
        # Always in the same order.
        for remote in sorted(remotes, key=id):
            with _BUSY_LOCK:
                lock = _BUSY.setdefault(remote, threading.Lock())
            stack.enter_context(lock)
        yield


@contextmanager
def halting(remote: Remote) -> Iterator[Halt]:
    """A halt for calls that another thread makes there: give up, and they end."""
    outer = remote.halt
    remote.halt = own = _Inner(outer)
    try:
        yield own
    finally:
        remote.halt = outer


@contextmanager
def aside(remote: Remote, work: Callable[[Halt], T]) -> Iterator[Aside[T]]:
    """Work in another thread against a host for a block; ends with it, and is ended when the block
    fails. The work's own error comes first where both have failed."""
    with halting(remote) as halt:
        thread = Aside(lambda: work(halt))
        try:
            yield thread
        except BaseException as error:
            halt.give_up(error)
            thread.wait()
            # A stream that ended too early is damaged to whoever reads it; the reason is here.
            own = thread.error if isinstance(error, PortkitError) else None
            if own is not None and not isinstance(own, _GivenUp):
                raise own from None
            raise
        thread.wait()
