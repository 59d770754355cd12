"""What a folder's tree holds, with the hashes of its files' blocks, and blocks out of it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Dict, Iterator, List, Optional, Set, Tuple

from portkit.remote import mounts
from portkit.remote import volume_stream as stream
from portkit.remote.channel import Channel
from portkit.remote.ext4_image import Image
from portkit.remote.volume_content import Content, Found, Tree
from portkit.remote.volume_known import (
    NOTHING,
    PROOF,
    TIMES,
    Known,
    begin_proof,
)
from portkit.remote.volume_tree import Root
from portkit.wire import tree
from portkit.wire.blocks import Block, Want, pages_of, runs, unpack_want
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject
from portkit.wire.tree import Row

_PENDING = 64  # files that are being hashed; each is an open descriptor
_SEGMENTS, _LEAST_SEGMENT = 256, 64  # of a file for the threads: at most so many, of so many blocks
# The near end asks for some thousand blocks at a time, each with the hashes of its pages.
_MAX_WANTS = 64 << 20


def _tree(args: JsonObject) -> Tree:
    """The folder of the path; with `image`, that of the file system in the disk at the path."""
    return Image(args["path"]) if args.get("image") else Root(args["path"])


# ---------------------------------------------------------------- the scan


def _small(found: Found, known: Known) -> Optional[Tuple[int, bytes]]:
    """The size and hash of a file of one block; None where it is longer or has holes. For a
    thread, such a file would be more trouble than its content."""
    size = found.status.st_size
    # inode(7): st_blocks is in 512 bytes. With fewer than its size, there may be a hole.
    if size > tree.BLOCK or found.status.st_blocks * 512 < size:
        return None
    content = found.content()
    try:
        data = content.block(0)
        now = content.status()
    finally:
        content.close()
    if len(data) == tree.BLOCK < now.st_size:
        return None
    hashes = hashlib.sha256(data).digest() if data else b""
    if (now.st_size, now.st_ctime_ns) == (len(data), found.status.st_ctime_ns):
        known.keep(now, hashes)
    return len(data), hashes


class _Hashing:
    """A file that is hashed by several threads."""

    def __init__(self, found: Found, pool: ThreadPoolExecutor) -> None:
        self._content = found.content()
        self._begun = self._content.status()
        self.size = size = self._begun.st_size
        filled = bytearray(tree.blocks_of(size))
        for start, length in self._content.extents():
            first, last = start // tree.BLOCK, tree.blocks_of(min(size, start + length))
            filled[first:last] = b"\1" * (last - first)
        step = max(_LEAST_SEGMENT, len(filled) // _SEGMENTS + 1)
        self._parts: "List[Future[bytes]]" = [
            pool.submit(self._segment, filled, start, min(len(filled), start + step))
            for start in range(0, len(filled), step)
        ]

    def _segment(self, filled: bytearray, first: int, last: int) -> bytes:
        found = []
        for number in range(first, last):
            if filled[number]:
                length = min(tree.BLOCK, self.size - number * tree.BLOCK)
                data = self._content.block(number, length)
                found.append(hashlib.sha256(data).digest())
            else:
                found.append(tree.HOLE)
        return b"".join(found)

    def result(self, known: Known) -> bytes:
        """The hashes; remembered where the file stayed as it was."""
        hashes = b"".join(part.result() for part in self._parts)
        now = self._content.status()
        if (now.st_size, now.st_ctime_ns) == (self.size, self._begun.st_ctime_ns):
            known.keep(now, hashes)
        return hashes

    def close(self) -> None:
        for part in self._parts:
            part.cancel()
        for part in self._parts:
            if not part.cancelled():
                part.exception()  # it must not read from another file's descriptor
        self._content.close()


class _Scan:
    """Rows of a tree in order; vanished, entries: how many."""

    def __init__(self, root: Tree, known: Known, pool: ThreadPoolExecutor) -> None:
        self._root, self._known, self._pool = root, known, pool
        self._walk = root.walk()
        self._pending: Deque[Tuple[Row, Optional[_Hashing]]] = deque()
        self._first: Dict[Tuple[int, int], bytes] = {}
        self._inodes: Set[Tuple[int, int]] = set()
        self.entries = 0

    @property
    def vanished(self) -> int:
        return self._walk.vanished

    def rows(self) -> Iterator[Row]:
        """All of them."""
        try:
            for found in self._walk.entries():
                self._begin(found)
                while len(self._pending) > _PENDING:
                    yield self._end()
            while self._pending:
                yield self._end()
            self._known.only(self._inodes)
        finally:
            for _, hashing in self._pending:
                if hashing is not None:
                    hashing.close()

    def _begin(self, found: Found) -> None:
        self.entries += 1
        if self.entries > tree.MAX_ENTRIES:
            why = "the folder has more than %d entries" % tree.MAX_ENTRIES
            raise RemoteError("HostError", why, "", "Move this data by other means.")
        if found.path in self._root.mounts:
            self._pending.append((Row(found.path, tree.MOUNT), None))
            return
        row = found.row()
        if row.kind != tree.FILE:
            self._pending.append((row, None))
            return
        inode = found.status.st_dev, found.status.st_ino
        if row.links > 1:
            first = self._first.setdefault(inode, row.path)
            if first != row.path:
                name = row._replace(kind=tree.LINK, target=first, size=0)
                self._pending.append((name, None))
                return
        self._inodes.add(inode)
        hashes = self._known.recall(found.status)
        if hashes is not None:
            self._pending.append((row._replace(hashes=hashes), None))
            return
        small = _small(found, self._known)
        if small is not None:
            self._pending.append((row._replace(size=small[0], hashes=small[1]), None))
            return
        hashing = _Hashing(found, self._pool)
        self._pending.append((row._replace(size=hashing.size), hashing))

    def _end(self) -> Row:
        row, hashing = self._pending[0]
        if hashing is not None:
            row = row._replace(hashes=hashing.result(self._known))
            hashing.close()
        self._pending.popleft()
        return row


def scan(args: JsonObject, channel: Channel) -> JsonObject:
    """Send the rows of a folder's tree.

    args: path, image, trust (what is not hashed again: see `volume_known`), margin_ms (how much
    older than this scan a file's ctime has to be, so that a later scan that wants a proof believes
    what is hashed now; None: it never does), encoding, level. provable: whether
    the file system has such proofs. remembered: bytes of content that was not hashed again.
    """
    with _tree(args) as root, stream.threads() as pool:
        provable = root.provable()
        trust = NOTHING if args["trust"] == PROOF and not provable else str(args["trust"])
        margin_ms, since_ns = args["margin_ms"], None
        if provable and margin_ms is not None:
            since_ns = begin_proof(root.descriptor, int(margin_ms))
        known = Known(root.key, trust, since_ns)
        scanning = _Scan(root, known, pool)
        sender = stream.Sender(channel, args)
        for row in scanning.rows():
            sender.add(tree.pack(row), row.size)
        sender.finish()
    return {
        "entries": scanning.entries,
        "vanished": scanning.vanished,
        "provable": provable,
        "remembered": known.remembered,
    }


def there(args: JsonObject, channel: Channel) -> JsonObject:
    """Which of these folders are there. args: paths."""
    return {"paths": [path for path in args["paths"] if os.path.isdir(path)]}


def mounted(args: JsonObject, channel: Optional[Channel]) -> JsonObject:
    """The mount points below these folders. args: paths."""
    found: Set[str] = set()
    for path in args["paths"]:
        real = os.fsencode(os.path.realpath(path))  # the kernel tells places without symlinks
        places = mounts.below(real)
        found.update(os.path.join(path, os.fsdecode(each)) for each in places)
    return {"mounts": sorted(found)}


def digest(args: JsonObject, channel: Channel) -> JsonObject:
    """sha256 of the rows that a scan would send now; what is as it was is not hashed again.

    args: path, image, essential (only what two hosts have in common).
    """
    total = tree.Digest(bool(args["essential"]))
    with _tree(args) as root, stream.threads() as pool:
        for row in _Scan(root, Known(root.key, TIMES), pool).rows():
            total.add(row)
    return {"digest": total.text()}


# ---------------------------------------------------------------- blocks


def page_hashes(data: bytes) -> bytes:
    """The hashes of a block's pages, one behind the other."""
    return b"".join(
        hashlib.sha256(data[at : at + tree.PAGE]).digest()[: tree.HINT]
        for at in range(0, len(data), tree.PAGE)
    )


class _Files:
    """The file that blocks are asked of, one after the other. Each stays open until the jobs that
    read from it have ended. vanished: files that were not there."""

    def __init__(self, root: Tree) -> None:
        self._root = root
        self._open: Deque[Tuple[bytes, Optional[Content]]] = deque()
        self.vanished = 0

    def content(self, path: bytes) -> Optional[Content]:
        """None where there is no such file."""
        if not self._open or self._open[-1][0] != path:
            self._open.append((path, self._opened(path)))
            # No more than AHEAD jobs are under way: those before have ended.
            while len(self._open) > stream.AHEAD + 2:
                self._close(self._open.popleft()[1])
        return self._open[-1][1]

    def _opened(self, path: bytes) -> Optional[Content]:
        try:
            with self._root.entry(path) as found:
                return found.content()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
                raise
            self.vanished += 1
            return None

    @staticmethod
    def _close(content: Optional[Content]) -> None:
        if content is not None:
            content.close()

    def close(self) -> None:
        while self._open:
            self._close(self._open.popleft()[1])


def _wants(channel: Channel, encoding: str) -> List[Want]:
    # All of them, before anything is answered: both ends would wait for each other else.
    with stream.sound():
        found = stream.arriving(channel, encoding, _MAX_WANTS)
        return [unpack_want(payload) for payload in found]


def pages(args: JsonObject, channel: Channel) -> JsonObject:
    """Send the hashes of the pages of blocks, a record for each; an empty one where there is no
    such block.

    args: path, image, encoding, level. Data: the blocks.
    """
    wants = _wants(channel, args["encoding"])
    with _tree(args) as root, stream.threads() as pool:
        files = _Files(root)
        sender = stream.Sender(channel, args)
        try:

            def job(want: Want) -> Callable[[], bytes]:
                content = files.content(want.path)
                return lambda: _pages(content, want)

            for hints in stream.in_order(pool, map(job, wants)):
                sender.add(hints)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            files.close()
        sender.finish()
    return {}


def _pages(content: Optional[Content], want: Want) -> bytes:
    if content is None:
        return b""
    data = content.block(want.number, want.length)
    return page_hashes(data) if len(data) == want.length else b""


def read(args: JsonObject, channel: Channel) -> JsonObject:
    """Send blocks.

    args: path, image, exact (a block that is not what is expected is an error), encoding, level.
    Data: the blocks.
    """
    wants = _wants(channel, args["encoding"])
    most = len(wants) * (2 * tree.BLOCK)
    with _tree(args) as root, stream.threads() as pool:
        files = _Files(root)
        sender = stream.Sender(channel, args, most)
        try:

            def job(want: Want) -> Callable[[], Optional[Block]]:
                content = files.content(want.path)
                return lambda: block_of(content, want, bool(args["exact"]))

            for block in stream.in_order(pool, map(job, wants)):
                if block is not None:
                    sender.add(block.pack(), len(block.data))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            files.close()
        content = sender.finish()
    return {"bytes": content, "vanished": files.vanished}


def block_of(content: Optional[Content], want: Want, exact: bool) -> Optional[Block]:
    """A block as it is sent; None where it is not there."""
    data = b""
    if content is not None:
        data = content.block(want.number, want.length)
    holes = content.holes(want.number, len(data)) if data and content is not None else 0
    whole = (1 << pages_of(len(data))) - 1
    digest = tree.HOLE if data and holes == whole else hashlib.sha256(data).digest()
    if exact and (len(data) != want.length or not tree.equal(digest, want.expected, len(data))):
        raise RemoteError(
            "VerifyError",
            "something still writes to the folder",
            "a block of %r is not what it was some seconds ago" % want.path[:200],
            "Stop what writes there, and try again.",
        )
    if not data:
        return None
    same = _same(data, want) & ~holes
    fresh = whole & ~holes & ~same
    parts = b"".join(data[at : at + size] for at, size in runs(fresh, len(data)))
    return Block(want.path, want.number, len(data), fresh, holes, digest, parts)


def _same(data: bytes, want: Want) -> int:
    """Bits of the pages that the target has."""
    if not want.hints or len(data) != want.length:
        return 0
    mine, bits = page_hashes(data), 0
    for page in range(pages_of(len(data))):
        at = page * tree.HINT
        bits |= (mine[at : at + tree.HINT] == want.hints[at : at + tree.HINT]) << page
    return bits
