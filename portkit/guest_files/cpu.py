"""The processor that the C library of a disk asks for."""

from __future__ import annotations

import base64
import zlib
from typing import Any

# glibc's loader has this text only where it was compiled for more than the baseline
# (sysdeps/x86_64/dl-hwcap-check.h).
_CHECKS = b"CPU does not support x86-64-v"
_LOADER_BYTES, _PACKED_BYTES = 1 << 20, 240 << 10  # one has 0.2 MiB, and half of that packed


def checking_loader(g: Any, path: str) -> str:
    """A loader that checks the processor, for `loader_of`; "" for one that does not."""
    data = bytes(g.pread(path, _LOADER_BYTES, 0))
    packed = base64.b64encode(zlib.compress(data)).decode() if _CHECKS in data else ""
    return packed if len(packed) <= _PACKED_BYTES else ""


def loader_of(packed: str) -> bytes:
    """What `checking_loader` read. ValueError for anything else."""
    try:
        return zlib.decompressobj().decompress(base64.b64decode(packed), _LOADER_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from None
