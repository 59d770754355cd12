"""A folder becomes as another one: its shape, the content of its files, then all that is beside.

Each verb can be called again, and none relies on what another one left in memory: whoever goes on
after a cut scans the folder anew.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from typing import Callable, Dict, Iterator, Optional

from portkit.remote import volume_stream as stream
from portkit.remote.channel import Channel
from portkit.remote.volume_content import read_block
from portkit.remote.volume_known import LIBC, Known, sync
from portkit.remote.volume_tree import Found, Root
from portkit.wire import tree
from portkit.wire.blocks import Block, runs, unpack_block
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject
from portkit.wire.sparse import write_at
from portkit.wire.tree import Row

# Of one call: the near end sends some thousand blocks at a time.
_MAX_CONTENT = 2 << 30
_PUNCH = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (fallocate(2))
_UNKNOWN = b"\xff" * tree.HASH  # of a block that was cut or made longer, until it is written
# Blocks that a file may get at once and be remembered with, 128 GiB: their hashes are 64 MiB. One
# that gets more is hashed at the next scan, which is quick with holes.
_MAX_NEW = 1 << 21


# ---------------------------------------------------------------- the shape


def shape(args: JsonObject, channel: Channel) -> JsonObject:
    """Remove, make and resize entries; files get no content yet.

    args: path, room (bytes that the content takes beyond what is removed), nodes (whether device
    nodes may be made), encoding. Data: the changes, in the order in which they are to be made.
    """
    with Root(args["path"]) as root, stream.sound():
        _check_room(root, int(args["room"]))
        work = _Shape(root, bool(args["nodes"]))
        for payload in stream.arriving(channel, args["encoding"], tree.MAX_INDEX):
            kind, row = tree.unpack_change(payload)
            work.changes[kind](row)
    return {}


def _check_room(root: Root, wanted: int) -> None:
    # f_bavail: the last five percent of ext4 are root's; filling them stops other programs.
    found = os.fstatvfs(root.descriptor)
    free = found.f_bavail * found.f_frsize
    if wanted > free:
        raise RemoteError(
            "SpaceError",
            "the host does not have enough space for a folder's content",
            "%d bytes needed, %d free in %s" % (wanted, free, os.fsdecode(root.key)),
            "Free some space on the host.",
        )


class _Shape:
    def __init__(self, root: Root, nodes: bool) -> None:
        self._root = root
        self._known = Known(root.key)
        self._nodes = nodes
        self.changes: Dict[bytes, Callable[[Row], None]] = {
            tree.REMOVE: self._remove,
            tree.MAKE: self._make,
            tree.RESIZE: self._resize,
        }

    def _remove(self, row: Row) -> None:
        folder, name = self._root.place(row.path)
        if row.kind == tree.FOLDER:
            os.rmdir(name, dir_fd=folder)
            self._root.forget()
        else:
            os.unlink(name, dir_fd=folder)

    def _make(self, row: Row) -> None:
        if row.kind == tree.LINK:
            self._link(row)
            return
        folder, name = self._root.place(row.path)
        # Private until it has got its owner and its mode.
        if row.kind == tree.FOLDER:
            os.mkdir(name, 0o700, dir_fd=folder)
        elif row.kind == tree.FILE:
            self._make_file(folder, name, row)
        elif row.kind == tree.SYMLINK:
            os.symlink(row.target, name, dir_fd=folder)
        elif row.kind in (tree.CHARACTER, tree.DEVICE) and self._nodes:
            kind = stat.S_IFCHR if row.kind == tree.CHARACTER else stat.S_IFBLK
            os.mknod(name, kind | 0o600, row.device, dir_fd=folder)
        else:
            raise ValueError("portkit does not create an entry of that kind: %r" % row.path[:200])

    def _make_file(self, folder: int, name: bytes, row: Row) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            os.ftruncate(descriptor, row.size)
            blocks = tree.blocks_of(row.size)
            if blocks <= _MAX_NEW:
                self._known.keep(os.fstat(descriptor), tree.HOLE * blocks)
        finally:
            os.close(descriptor)

    def _link(self, row: Row) -> None:
        with self._root.entry(row.target) as first:
            if first.kind != tree.FILE:
                raise ValueError(
                    "a second name for something that is not a file: %r" % row.path[:200]
                )
            hashes = self._known.recall(first.status)
            folder, name = self._root.place(row.path)
            # Not by its name, which might be another's by now (AT_SYMLINK_FOLLOW, link(2)).
            os.link(first.handle, name, dst_dir_fd=folder, follow_symlinks=True)
            if hashes is not None:
                self._known.keep(os.fstat(first.descriptor), hashes)

    def _resize(self, row: Row) -> None:
        with self._root.entry(row.path) as found:
            hashes = self._known.recall(found.status)
            descriptor = found.open(os.O_WRONLY)
        try:
            before = os.fstat(descriptor).st_size
            os.ftruncate(descriptor, row.size)
            new = tree.blocks_of(row.size) - tree.blocks_of(before)
            if hashes is not None and new <= _MAX_NEW:
                self._known.keep(os.fstat(descriptor), _resized(hashes, before, row.size))
        finally:
            os.close(descriptor)


def _resized(hashes: bytes, before: int, after: int) -> bytes:
    whole = min(before, after) // tree.BLOCK
    kept = hashes[: whole * tree.HASH]
    if min(before, after) % tree.BLOCK:
        kept += _UNKNOWN
    return kept + tree.HOLE * (tree.blocks_of(after) - len(kept) // tree.HASH)


# ---------------------------------------------------------------- the content


def fill(args: JsonObject, channel: Channel) -> JsonObject:
    """Write blocks into files that are there; each is read again and hashed.

    args: path, encoding. Data: the blocks, as `volumes.read` sends them.
    """
    written = 0
    with Root(args["path"]) as root, stream.sound():
        work = _Fill(root)
        try:
            for payload in stream.arriving(channel, args["encoding"], _MAX_CONTENT):
                block = unpack_block(payload)
                work.write(block)
                written += len(block.data)
        finally:
            work.close()
    return {"bytes": written}


class _Fill:
    """Keeps the file open that the last block was of."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._known = Known(root.key)
        self._path: Optional[bytes] = None
        self._descriptor = -1
        self._hashes: Optional[bytearray] = None

    def close(self) -> None:
        if self._path is None:
            return
        if self._hashes is not None:
            self._known.keep(os.fstat(self._descriptor), bytes(self._hashes))
        os.close(self._descriptor)
        self._path = None

    def _open(self, path: bytes) -> None:
        self.close()
        with self._root.entry(path) as found:
            hashes = self._known.recall(found.status)
            self._descriptor = found.open(os.O_RDWR)
        self._path, self._hashes = path, None if hashes is None else bytearray(hashes)

    def write(self, block: Block) -> None:
        """Write one, and see that it is there."""
        if block.path != self._path:
            self._open(block.path)
        start, done = block.number * tree.BLOCK, 0
        for at, size in runs(block.holes, block.length):
            _punch(self._descriptor, start + at, size)
        view = memoryview(block.data)
        for at, size in runs(block.fresh, block.length):
            write_at(self._descriptor, view[done : done + size], start + at)
            done += size
        data = read_block(self._descriptor, block.number, block.length)
        if hashlib.sha256(data).digest() != tree.plain(block.digest, block.length):
            raise RemoteError(
                "VerifyError",
                "a file's content is not what was sent",
                "block %d of %r" % (block.number, block.path[:200]),
                "Try again.",
            )
        self._note(block)

    def _note(self, block: Block) -> None:
        place = block.number * tree.HASH
        if self._hashes is not None:
            if place + tree.HASH > len(self._hashes):
                self._hashes = None  # it has become longer than it was made
            else:
                self._hashes[place : place + tree.HASH] = block.digest


def _punch(descriptor: int, start: int, length: int) -> None:
    """Make a hole; write zeros where the file system has none."""
    # Past the end there is nothing to free, and zeros would make the file longer.
    length = min(length, os.fstat(descriptor).st_size - start)
    if length <= 0:
        return
    place, size = ctypes.c_int64(start), ctypes.c_int64(length)
    # fallocate64: the other one takes 32 bits on machines of 32 bits.
    call = getattr(LIBC, "fallocate64", None) or LIBC.fallocate
    if call(descriptor, _PUNCH, place, size) != 0:
        write_at(descriptor, bytes(length), start)


# ---------------------------------------------------------------- what is beside


def settle(args: JsonObject, channel: Channel) -> JsonObject:
    """Give entries their owner, mode, attributes and times; all of the folder is on the disk
    afterwards.

    args: path, encoding. Data: rows without hashes.
    """
    with Root(args["path"]) as root, stream.sound():
        known = Known(root.key)
        for row in _rows(channel, args["encoding"]):
            with root.entry(row.path) as found:
                _check_kind(found, row)
                hashes = known.recall(found.status) if row.kind == tree.FILE else None
                _give(found, row)
                if hashes is not None:
                    known.keep(os.fstat(found.descriptor), hashes)
        sync(root.descriptor)
    return {}


def _rows(channel: Channel, encoding: str) -> Iterator[Row]:
    for payload in stream.arriving(channel, encoding, tree.MAX_INDEX):
        yield tree.unpack(payload, hashed=False)


def _check_kind(found: Found, row: Row) -> None:
    if found.kind != row.kind:
        raise RemoteError(
            "VerifyError",
            "another process writes to the target folder",
            "%r has changed into another kind of file" % row.path[:200],
            "Stop what writes there, and try again.",
        )


def _give(found: Found, row: Row) -> None:
    """An entry gets what its row says; what it has already is left alone."""
    status, handle = found.status, found.handle
    # A change of the owner takes the setuid bits and the capabilities away (chown(2)), and a mode
    # changes an ACL: in this order each is right in the end.
    if (status.st_uid, status.st_gid) != (row.uid, row.gid):
        os.chown(handle, row.uid, row.gid)
        status = os.fstat(found.descriptor)
    if row.kind != tree.SYMLINK and stat.S_IMODE(status.st_mode) != row.mode:
        os.chmod(handle, row.mode)
    _give_xattrs(found, row)
    if status.st_mtime_ns != row.mtime_ns:
        os.utime(handle, ns=(status.st_atime_ns, row.mtime_ns))


def _give_xattrs(found: Found, row: Row) -> None:
    have, wanted = dict(found.xattrs()), dict(row.xattrs)
    for name in have:
        if name not in wanted:
            os.removexattr(found.handle, name)
    for name, value in wanted.items():
        if have.get(name) != value:
            try:
                os.setxattr(found.handle, name, value)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise RemoteError(
                    "HostError",
                    "the target's file system does not support an attribute",
                    "%s of %r: %s" % (os.fsdecode(name), row.path[:200], error),
                    "Use a file system there that supports such attributes, such as ext4 or xfs.",
                ) from error
