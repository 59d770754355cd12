"""A folder that is in use, looked at for some seconds: how much it holds, how fast it is read, and
how much of it changes. Nothing is written: not even a file's atime changes.

The content is not hashed as a whole, as a pass does it, but in blocks that lie evenly in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from functools import partial
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from portkit.remote import volume_stream as stream
from portkit.remote.channel import Channel
from portkit.remote.volume_content import OfFile
from portkit.remote.volume_tree import Found, Root, Walk
from portkit.remote.volumes import page_hashes
from portkit.wire import tree
from portkit.wire.json_types import JsonObject
from portkit.wire.tree import Want

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


def survey(args: JsonObject, channel: Channel) -> JsonObject:
    """Look at a folder, and send the blocks that were read of it, as `volume.read` wants them.

    args: path, names (of entries: the others do not count; None: all do), blocks (to read at most),
    budget_s (for each of listing and reading), window_s (between two readings of a block),
    encoding, level. whole: whether all entries were listed in time; `entries` and `bytes` (without
    holes) are of those that were. sampled_bytes: read in read_ms. changed_pages: of those that
    were read twice, window_ms apart. grown_bytes: by which the content has grown meanwhile.
    """
    budget = _within(args["budget_s"], _MAX_S)
    names = args["names"] and {os.fsencode(str(name)) for name in args["names"]}
    sample = Sample(int(_within(args["blocks"], _MAX_SAMPLE)) or 1)
    with Root(args["path"]) as root:
        seen = _walk(root, names, time.monotonic() + budget, sample)
        began = time.monotonic()
        before = _hashes(root, sample.picked, began + budget)
        read = time.monotonic()
        blocks = sample.picked[: len(before)]
        time.sleep(max(0.0, began + _within(args["window_s"], _MAX_S) - read) if before else 0.0)
        again = time.monotonic()
        after = _hashes(root, blocks, again + budget)
        grown = 0
        if seen.whole:
            later = _walk(root, names, time.monotonic() + budget, None)
            grown = max(0, later.bytes - seen.bytes) if later.whole else 0
    known = [block for block, hashes in zip(blocks, before) if hashes]
    sender = stream.Sender(channel, args)
    for block in known:
        want = Want(block.path, block.number, block.length, bytes(tree.HASH))
        sender.add(want.pack())
    sender.finish()
    return {
        "entries": seen.entries,
        "bytes": seen.bytes,
        "whole": seen.whole,
        "walk_ms": int(seen.seconds * 1000),
        "sampled_bytes": sum(block.length for block in known),
        "read_ms": int((read - began) * 1000),
        "changed_pages": _changed(before[: len(after)], after),
        "window_ms": int((again - began) * 1000),
        "grown_bytes": grown,
    }


def weigh(args: JsonObject, channel: Channel) -> JsonObject:
    """Take blocks as `volume.fill` does, hash them and forget them. args: encoding."""
    count = 0
    with stream.sound():
        for payload in stream.arriving(channel, args["encoding"], _MAX_CONTENT):
            block = tree.unpack_block(payload)
            # Once when it comes and once when it was written, as `volume.fill`.
            for _ in range(2):
                hashlib.sha256(block.data).digest()
            count += len(block.data)
    return {"bytes": count}
