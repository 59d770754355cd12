"""Folders that are in use, looked at for some seconds: how much they hold, how fast they are read,
and how much of them changes. Nothing is written: not even an atime changes.

The content is not hashed as a whole, as a pass does it, but in blocks that lie evenly in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from portkit.remote import volume_stream as stream
from portkit.remote.channel import Channel
from portkit.remote.volume_content import OfFile
from portkit.remote.volume_tree import Found, Root, Walk
from portkit.remote.volumes import block_of, page_hashes
from portkit.wire import codec, tree
from portkit.wire.blocks import Want, unpack_block
from portkit.wire.json_types import JsonObject

_MAX_SAMPLE = 4096  # blocks: 256 MiB
_MAX_S = 60.0
_MAX_CONTENT = 1 << 30  # bytes of a trial


class Picked(NamedTuple):
    """A block. place: among all blocks of all files."""

    place: int
    path: bytes
    number: int
    length: int


class Sample:
    """Blocks that lie evenly in the content of files, whose sizes are known only one by one: every
    `stride`-th of them, where the stride doubles when there are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stride, self._at = 1, 0
        self.picked: List[Picked] = []

    def add(self, path: bytes, size: int, data: Iterable[Tuple[int, int]]) -> None:
        """The next file. data: (start, length) of what of it is in no hole."""
        for start, length in data:
            self._add(path, size, start // tree.BLOCK, tree.blocks_of(min(size, start + length)))

    def _add(self, path: bytes, size: int, first: int, end: int) -> None:
        number = first + -self._at % self._stride
        while number < end:
            place = self._at + number - first
            length = min(tree.BLOCK, size - number * tree.BLOCK)
            self.picked.append(Picked(place, path, number, length))
            if len(self.picked) > self._most:
                self._stride *= 2
                self.picked = [each for each in self.picked if each.place % self._stride == 0]
            number += self._stride - place % self._stride
        self._at += end - first


class _Seen(NamedTuple):
    """bytes: without holes. whole: whether all entries were looked at."""

    entries: int
    bytes: int
    whole: bool
    seconds: float


def _walk(
    root: Root, names: "Optional[Set[bytes]]", until: float, sample: "Optional[Sample]"
) -> _Seen:
    began = time.monotonic()
    entries = size = 0
    whole = True
    inodes: Set[Tuple[int, int]] = set()
    for found in Walk(root).entries():
        if names is not None and found.path not in names:
            continue
        if time.monotonic() > until:
            whole = False
            break
        entries += 1
        if found.kind != tree.FILE or found.path in root.mounts:
            continue
        inode = found.status.st_dev, found.status.st_ino
        if found.status.st_nlink > 1:
            if inode in inodes:
                continue
            inodes.add(inode)
        # inode(7): st_blocks is in 512 bytes.
        taken = found.status.st_blocks * 512
        size += min(found.status.st_size, taken)
        if sample is not None:
            sample.add(found.path, found.status.st_size, _data(found, taken))
    return _Seen(entries, size, whole, time.monotonic() - began)


def _data(found: Found, taken: int) -> List[Tuple[int, int]]:
    """(start, length) of what of a file is in no hole."""
    if taken >= found.status.st_size:
        return [(0, found.status.st_size)]
    content = found.content()
    try:
        return list(content.extents())
    finally:
        content.close()


def _content(root: Root, path: bytes) -> Optional[OfFile]:
    """Of a file; None where there is no such file any more."""
    try:
        with root.entry(path) as found:
            return found.content()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EXDEV):
            raise
        return None


def _page_hashes(content: Optional[OfFile], block: Picked) -> bytes:
    """Of a block; b"" where it is not there. Closes the content."""
    if content is None:
        return b""
    try:
        return page_hashes(content.block(block.number, block.length))
    finally:
        content.close()


def _hashes(root: Root, blocks: List[Picked], until: float) -> List[bytes]:
    """For each block the hashes of its pages, as far as there is time."""

    def jobs() -> Iterator[Callable[[], bytes]]:
        for block in blocks:
            if time.monotonic() > until:
                return
            yield partial(_page_hashes, _content(root, block.path), block)

    with stream.threads() as pool:
        return list(stream.in_order(pool, jobs()))


def _changed(before: List[bytes], after: List[bytes]) -> int:
    """How many pages are not what they were."""
    count = 0
    for one, other in zip(before, after):
        pages = range(0, len(one), tree.HINT)
        count += sum(one[at : at + tree.HINT] != other[at : at + tree.HINT] for at in pages)
    return count


def _within(value: object, most: float) -> float:
    return min(max(float(str(value)), 0.0), most)


class _Look:
    """One of the folders, while it is looked at."""

    def __init__(self, folder: JsonObject, most: int) -> None:
        self.root = Root(folder["path"])
        self._names = folder["names"] and {os.fsencode(str(name)) for name in folder["names"]}
        self._sample = Sample(most)
        self.seen = _Seen(0, 0, False, 0.0)
        self._blocks: List[Picked] = []
        self._before: List[bytes] = []
        self._after: List[bytes] = []
        self._read_s = self._at = self._window_s = self._pack_s = 0.0
        self._grown = self._packed = self._packed_wire = 0

    def list(self, until: float) -> None:
        self.seen = _walk(self.root, self._names, until, self._sample)

    def thin(self, most: int) -> None:
        """Of all blocks that were picked, at most so many that lie evenly."""
        picked = self._sample.picked
        self._blocks = picked[:: -(-len(picked) // most) or 1]

    def read(self, until: float) -> None:
        self._at = time.monotonic()
        self._before = _hashes(self.root, self._blocks, until)
        self._read_s = time.monotonic() - self._at

    def pack(self, encoding: str, level: int, until: float) -> None:
        """Compress what was read as a pass does, and forget it."""
        began = time.monotonic()
        compressor = codec.Compressor(encoding, level)
        for want in self.wants():
            if time.monotonic() > until:
                break
            content = _content(self.root, want.path)
            if content is None:
                continue
            with closing(content):
                block = block_of(content, want, False)
            if block is not None:
                self._packed += len(block.data)
                self._packed_wire += len(compressor.feed(tree.record(block.pack())))
        self._packed_wire += len(compressor.finish())
        self._pack_s = time.monotonic() - began

    def read_again(self, until: float) -> None:
        self._window_s = time.monotonic() - self._at
        self._after = _hashes(self.root, self._blocks[: len(self._before)], until)

    def list_again(self, until: float) -> None:
        if self.seen.whole:
            later = _walk(self.root, self._names, until, None)
            self._grown = max(0, later.bytes - self.seen.bytes) if later.whole else 0

    def wants(self) -> List[Want]:
        """The blocks that were there."""
        known = [block for block, hashes in zip(self._blocks, self._before) if hashes]
        return [Want(each.path, each.number, each.length, bytes(tree.HASH)) for each in known]

    def row(self) -> JsonObject:
        known = self.wants()
        return {
            "entries": self.seen.entries,
            "bytes": self.seen.bytes,
            "whole": self.seen.whole,
            "walk_ms": int(self.seen.seconds * 1000),
            "blocks": len(known),
            "sampled_bytes": sum(block.length for block in known),
            "read_ms": int(self._read_s * 1000),
            "packed_bytes": self._packed,
            "packed_wire_bytes": self._packed_wire,
            "pack_us": int(self._pack_s * 1e6),
            "changed_pages": _changed(self._before[: len(self._after)], self._after),
            "window_ms": int(self._window_s * 1000),
            "grown_bytes": self._grown,
        }


def _each(looks: "List[_Look]", budget: float, step: "Callable[[_Look, float], None]") -> None:
    """One step for all folders within the budget; each gets an even share of what is left."""
    until = time.monotonic() + budget
    for number, look in enumerate(looks):
        now = time.monotonic()
        step(look, now + max(0.0, until - now) / (len(looks) - number))


def survey(args: JsonObject, channel: Channel) -> JsonObject:
    """Look at folders, and send the blocks that were read of them, as `volume.read` wants them, one
    folder after the other.

    args: folders (each with path and names: of entries, the others do not count; None: all do),
    blocks (to read at most of all), budget_s (for each of listing, reading, and both once more; for
    all folders), window_s (between two readings of a block), encoding, level, content_level (at
    which a pass compresses content). The answer has a row for each folder. whole: whether all
    entries were listed in time; `entries` and `bytes` (without holes) are of those that were.
    blocks, sampled_bytes: read in read_ms. packed_bytes, packed_wire_bytes: of these, compressed in
    pack_us between the two readings. changed_pages: of those that were read twice, window_ms apart.
    grown_bytes: by which the content has grown meanwhile.
    """
    budget = _within(args["budget_s"], _MAX_S)
    most = int(_within(args["blocks"], _MAX_SAMPLE)) or 1
    with ExitStack() as stack:
        looks = []
        for folder in args["folders"]:
            looks.append(_Look(folder, most))
            stack.enter_context(looks[-1].root)
        _each(looks, budget, _Look.list)
        total = sum(look.seen.bytes for look in looks) or 1
        for look in looks:
            look.thin(max(1, most * look.seen.bytes // total))
        began = time.monotonic()
        _each(looks, budget, _Look.read)
        if any(look.wants() for look in looks):
            again = began + _within(args["window_s"], _MAX_S)
            # Where reading has taken most of the window, some time for that all the same.
            room = max(again - time.monotonic(), budget / 4)
            how = args["encoding"], int(args["content_level"])
            _each(looks, room, lambda look, until: look.pack(*how, until))
            time.sleep(max(0.0, again - time.monotonic()))
        _each(looks, budget, _Look.read_again)
        _each(looks, budget, _Look.list_again)
    sender = stream.Sender(channel, args)
    for look in looks:
        for want in look.wants():
            sender.add(want.pack())
    sender.finish()
    return {"folders": [look.row() for look in looks]}


def weigh(args: JsonObject, channel: Channel) -> JsonObject:
    """Take blocks as `volume.fill` does, hash them and forget them. args: encoding."""
    count = 0
    with stream.sound():
        for payload in stream.arriving(channel, args["encoding"], _MAX_CONTENT):
            block = unpack_block(payload)
            # Once when it comes and once when it was written, as `volume.fill`.
            for _ in range(2):
                hashlib.sha256(block.data).digest()
            count += len(block.data)
    return {"bytes": count}
