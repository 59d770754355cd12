"""The streams of the verbs that read and write folders, and work that is done ahead by threads."""

from __future__ import annotations

import os
import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Callable, Deque, Iterable, Iterator, List, TypeVar

from portkit.remote.channel import Channel
from portkit.wire import codec, tree
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

T = TypeVar("T")
_CHUNK = 1 << 18  # of compressed bytes: less would be many frames, more would make the link wait
_FEED = 1 << 16  # bytes that the compressor gets at once
_PART = struct.Struct(">IQ")
AHEAD = 64  # pieces of work that are begun before they are taken: 4 MiB of blocks


class Sender:
    """Sends records, compressed. What is sent is in parts: the length of the compressed bytes, how
    much content the stream has up to there (which the near end tells as progress), those bytes."""

    def __init__(self, channel: Channel, args: JsonObject, most: int = tree.MAX_INDEX) -> None:
        self._channel = channel
        self._compressor = codec.Compressor(args["encoding"], int(args["level"]))
        self._parts: List[bytes] = []
        self._length = 0
        self._held = bytearray()  # a call of the compressor for each short row takes as long as it
        self._content = 0
        self._left = most

    def add(self, payload: bytes, content: int = 0) -> None:
        """A record that stands for so much content."""
        self._left -= len(payload) + 4
        if self._left < 0:
            raise RemoteError(
                "HostError",
                "the folder is too large for an index",
                "%d bytes of it" % tree.MAX_INDEX,
                "Move this data by other means.",
            )
        self._content += content
        self._held += tree.record(payload)
        if len(self._held) >= _FEED:
            self._put()

    def _put(self) -> None:
        data = self._compressor.feed(bytes(self._held))
        self._held.clear()
        if data:
            self._parts.append(data)
            self._length += len(data)
        if self._length >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._channel.send(_PART.pack(self._length, self._content) + b"".join(self._parts))
        self._parts, self._length = [], 0

    def finish(self) -> int:
        """The rest; how much content there was."""
        self._put()
        self._parts.append(self._compressor.finish())
        self._length += len(self._parts[-1])
        self._flush()
        return self._content


def arriving(channel: Channel, encoding: str, most: int) -> Iterator[bytes]:
    """The records of the call's data, at most `most` bytes of them."""
    return tree.records(_plain(channel, encoding), most)


def _plain(channel: Channel, encoding: str) -> Iterator[bytes]:
    decoder = codec.Decompressor(encoding)
    for chunk in channel.receive():
        yield from decoder.feed(chunk)
    decoder.finish()


@contextmanager
def sound() -> Iterator[None]:
    """What is wrong with the data of a call as an error of ours."""
    try:
        yield
    except ValueError as error:
        raise RemoteError("VerifyError", "the data that arrived is damaged", str(error)) from error


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many as there are cores; hashlib, read(2) and libzstd let go of Python's lock."""
    pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The results of jobs, in their order; some are worked on ahead."""
    begun: Deque["Future[T]"] = deque()
    for job in jobs:
        begun.append(pool.submit(job))
        if len(begun) > AHEAD:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
