"""Blobs out of the Store of a host into the Store here: what a VM there boots from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from portkit.errors import VerifyError
from portkit.model import Blob
from portkit.progress import Observer
from portkit.store import Store
from portkit.volumes import streams
from portkit.volumes.side import Folder, Side, encoding_of
from portkit.wire import sparse, tree
from portkit.wire.blocks import Block, Want, runs, unpack_block

_ROUND = 2048  # blocks of one call: 128 MiB
_PHASE = "fetch what the VM boots from"
_ANY = bytes(tree.HASH)  # the hash of a block that nobody knows yet


def fetch(blob: Blob, folder: Folder, store: Store, observer: Observer) -> None:
    """Bring a blob here; holes stay holes. folder: where the host has its blobs, by their digests'
    hex digits.

    VerifyError when the host does not have it, or what came is not what its digest says;
    SpaceError when there is no room here.
    """
    observer.phase(_PHASE)
    side = Side(folder, encoding_of(folder.host))
    path = store.temporary()
    try:
        with store.space(), path.open("xb") as file:
            file.truncate(blob.size)
            for wants in _rounds(blob):
                for block in _read(side, wants):
                    at = block.number * tree.BLOCK
                    for start, piece in _pieces(block):
                        sparse.write_at(file.fileno(), piece, at + start)
                done = wants[-1].number * tree.BLOCK + wants[-1].length
                observer.bytes(_PHASE, done, blob.size)
        store.add_file(path, blob.digest, move=True)
    except ValueError as error:
        raise VerifyError(
            "the data that a host sends of a VM's disk is malformed",
            details=f"{folder.host.name}: {error}",
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _rounds(blob: Blob) -> Iterator[list[Want]]:
    name = blob.digest.removeprefix("sha256:").encode()
    wants = (
        Want(name, number, min(tree.BLOCK, blob.size - number * tree.BLOCK), _ANY)
        for number in range(tree.blocks_of(blob.size))
    )
    while some := list(islice(wants, _ROUND)):
        yield some


def _read(side: Side, wants: list[Want]) -> Iterator[Block]:
    came: list[bytes] = []
    level = streams.level(side.encoding, None)
    side.read(wants, exact=False, level=level, data=came.append, content=lambda count: None)
    most = len(wants) * 2 * tree.BLOCK  # beside its data, a block has a path and numbers
    for payload in tree.records(streams.plain(came, side.encoding), most):
        block = unpack_block(payload)
        if not wants[0].number <= block.number <= wants[-1].number:
            raise ValueError("it contains a block that was not requested")
        yield block


def _pieces(block: Block) -> Iterator[tuple[int, bytes]]:
    """(offset in the block, data) of each run of pages that came."""
    taken = 0
    for at, size in runs(block.fresh, block.length):
        yield at, block.data[taken : taken + size]
        taken += size
