"""How small a blob's stream becomes, from some of its content: for a prediction that must not take
as long as the compression itself."""

from __future__ import annotations

import os
from pathlib import Path

from portkit.transfer.price import Packing
from portkit.transfer.stream import packer
from portkit.wire import sparse

# Pieces of a blob, 4 MiB of it at most. Longer ones than those that tell whether content is
# compressed: a compressor finds most of its matches within some 100 KiB.
_PIECE, _PIECES = 1 << 18, 16


def sampled(path: Path, how: Packing) -> tuple[int, int]:
    """Bytes of a file's content, without holes, and of its stream, about."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        extents = list(sparse.extents(descriptor))
        content = sum(length for _, length in extents)
        pieces = [os.pread(descriptor, _PIECE, at) for at in places(extents)]
    finally:
        os.close(descriptor)
    read = sum(map(len, pieces))
    if read == 0:
        return content, 0
    stream = packer(how)
    made = sum(len(stream.compress(piece)) for piece in pieces) + len(stream.flush())
    return content, round(content * min(1.0, made / read))


def places(extents: list[tuple[int, int]]) -> list[int]:
    """Where to read, evenly in the content of a file. extents: (offset, length) of what is in no
    hole."""
    content = sum(length for _, length in extents)
    step = max(_PIECE, content // _PIECES + 1)
    found: list[int] = []
    passed = 0  # of the extent, before the next place
    for offset, length in extents:
        while passed < length:
            found.append(offset + passed)
            passed += step
        passed -= length
    return found
