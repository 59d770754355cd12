"""Contents of a bundle into the Store: expanded to the declared size and no further, verified."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from portkit import files
from portkit.bundle.tar import content, malformed
from portkit.progress import Observer
from portkit.store import Store
from portkit.wire import codec
from portkit.wire import recipe as ops
from portkit.wire.content import Plain

if TYPE_CHECKING:
    from portkit.bundle.document import Content

_Members = Mapping[str, tuple[int, int]]


def unpack(
    wanted: Sequence[Content],
    file: BinaryIO,
    members: _Members,
    store: Store,
    observer: Observer,
    holes: Mapping[str, int],
) -> None:
    """Every content that is in the bundle and not yet in the Store, in order; absent ones and
    what is made from absent ones that are not in the Store either are passed over.

    holes: by digest, bytes of a content that will take no room.
    """
    missing = [each for each in wanted if each.packed and not _here(each.digest, each.size, store)]
    _check_room(missing, store, holes)
    whole, done = sum(each.packed_size for each in missing), 0
    for each in missing:
        if not all(store.has(base.digest) for base in each.bases):
            continue
        observer.bytes("unpack", done, whole)
        try:
            with store.space():
                _one(each, file, members, store)
        except ValueError as error:
            raise malformed(f"{each.digest}: {error}"[:500]) from error
        done += each.packed_size
        observer.bytes("unpack", done, whole)


def _here(digest: str, size: int, store: Store) -> bool:
    return store.has(digest) and store.size(digest) == size


def _check_room(missing: Sequence[Content], store: Store, holes: Mapping[str, int]) -> None:
    made: set[str] = set()
    need = 0
    for each in missing:
        if all(base.digest in made or store.has(base.digest) for base in each.bases):
            made.add(each.digest)
            need += each.size - holes.get(each.digest, 0)
    store.require(need, "there is not enough space to unpack the bundle")


def _one(each: Content, file: BinaryIO, members: _Members, store: Store) -> None:
    assert each.packed is not None
    if each.encoding == "zstd":
        with store.writer() as writer:
            for data in _declared(each, file, members):
                writer.write(data)
            writer.commit(each.digest, each.size)
        return
    pieces = plain(each, file, members)
    path = store.temporary()
    try:
        with ExitStack() as stack:
            bases = []
            for base in each.bases:
                bases.append(Plain(store.content(base.digest)))
                stack.callback(bases[-1].close)
            out = stack.enter_context(files.create(path)).fileno()
            target = _target(out, each.size)
            ops.apply(pieces, bases, target)
            if target.digest() != each.digest:
                raise ValueError("the result of its recipe does not match the digest")
            os.fsync(out)
        store.adopt(path, each.digest)
    finally:
        path.unlink(missing_ok=True)


def _declared(each: Content, file: BinaryIO, members: _Members) -> Iterator[bytes]:
    """What is packed as it is, to its declared size and no further."""
    left = each.size
    for data in plain(each, file, members):
        left -= len(data)
        if left < 0:
            raise ValueError("it unpacks to more than it declares")
        yield data


def whole(each: Content, file: BinaryIO, members: _Members) -> bytes:
    """What is packed as it is, in memory; ValueError when it is damaged."""
    data = b"".join(_declared(each, file, members))
    if len(data) != each.size or "sha256:" + hashlib.sha256(data).hexdigest() != each.digest:
        raise ValueError("its content differs from what it declares")
    return data


def _target(out: int, size: int) -> ops.Target:
    try:
        return ops.Target(out, size)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL):
            raise
        # A hole takes no room: the file system has no file of that size.
        raise ValueError(f"a file of {size} bytes cannot be created on this machine") from error


def plain(each: Content, file: BinaryIO, members: _Members) -> Iterator[bytes]:
    """The content or recipe out of its zstd; ValueError when it is damaged."""
    assert each.packed is not None
    total = hashlib.sha256()
    decoder = codec.Decompressor("zstd")
    for data in content(file, members["blobs/sha256/" + each.packed[7:]]):
        total.update(data)
        yield from decoder.feed(data)
    decoder.finish()
    # At the end, so a caller has used the content by then; but it has not given it a name, which it
    # does only when the content's own digest is right as well.
    if "sha256:" + total.hexdigest() != each.packed:
        raise ValueError("its packed bytes do not match their digest")
