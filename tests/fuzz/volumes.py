"""Streams of a volume: what a host says of a folder, and what is to be made of one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from portkit.remote import volume_apply
from portkit.remote.channel import Channel
from portkit.volumes.diff import diff
from portkit.volumes.index import Index, first_difference
from portkit.wire import tree
from portkit.wire.blocks import Block, Want, unpack_want
from portkit.wire.json_types import JsonObject
from portkit.wire.tree import Row

_X = hashlib.sha256(b"x").digest()
_ROWS = (
    Row(b"", tree.FOLDER, 0o755),
    Row(b"a", tree.FILE, 0o644, size=1, hashes=_X, xattrs=((b"user.a", b"1"),)),
    Row(b"b", tree.LINK, target=b"a"),
    Row(b"d", tree.FOLDER, 0o700, uid=5),
    Row(b"d/l", tree.SYMLINK, 0o777, target=b"../a"),
    Row(b"d/p", tree.PIPE, 0o600),
    Row(b"d/s", tree.FILE, 0o4755, size=3 * tree.BLOCK, hashes=tree.HOLE + _X + tree.ZERO),
)


def _stream(payloads: Iterable[bytes]) -> bytes:
    return b"".join(map(tree.record, payloads))


INDEX = _stream(map(tree.pack, _ROWS))
WANTS = _stream(
    (Want(b"a", 0, 1, _X).pack(), Want(b"d/s", 1, 8192, _X, bytes(2 * tree.HINT)).pack())
)
SHAPE = _stream(
    (
        *(tree.pack_change(tree.MAKE, row) for row in _ROWS[1:5]),
        tree.pack_change(tree.RESIZE, _ROWS[1]),
        tree.pack_change(tree.REMOVE, _ROWS[4]),
    )
)
FILL = _stream(
    (
        Block(b"in", 0, 1, 1, 0, _X, b"x").pack(),
        Block(b"in", 1, 8192, 0, 3, tree.HOLE, b"").pack(),
    )
)
SETTLE = _stream((tree.pack(Row(b"in", tree.FILE, 0o4755, mtime_ns=5)), tree.pack(_ROWS[0])))


def index(data: bytes, folder: Path) -> object:
    """A host's index, compared with another one."""
    found = Index(tree.read_index([data]))
    other = Index(tree.read_index([INDEX]))
    return [
        [list(diff(one, two).wanted()), one.digest, first_difference(one, two)]
        for one, two in ((found, other), (other, found))
    ]


def wants(data: bytes, folder: Path) -> object:
    """What a host is asked for."""
    return [unpack_want(payload) for payload in tree.records([data], 1 << 22)]


class _Call(Channel):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def receive(self) -> Iterator[bytes]:
        yield self._data


def applied(verb: str) -> Callable[[bytes, Path], object]:
    """What is to be made in a folder; nothing beside it may change."""

    def read(data: bytes, folder: Path) -> object:
        inside = folder / "inside"
        inside.mkdir(exist_ok=True)
        (inside / "in").write_bytes(bytes(tree.BLOCK + 8192))
        (folder / "outside").write_text("theirs")
        (inside / "link").unlink(missing_ok=True)
        (inside / "link").symlink_to("..")
        args: JsonObject = {"path": str(inside), "encoding": "raw", "room": 0, "nodes": False}
        try:
            return getattr(volume_apply, verb)(args, _Call(data))
        finally:
            names = {path.name for path in folder.iterdir()}
            assert names == {"inside", "outside"}
            assert (folder / "outside").read_text() == "theirs"

    return read
