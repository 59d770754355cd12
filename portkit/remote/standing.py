"""How services stood at the source of an App: a byte for each in its guest's configuration.

portkit/guest/config.py writes the configuration, and portkit/guest/src/config.c reads it.
"""

from __future__ import annotations

import struct
import zlib
from typing import Dict, Iterator, Mapping, Tuple

from portkit.wire.frames import RemoteError

RESTS, ILL = 1, 2  # it is not started; nobody waits until it is healthy
_HEAD = struct.Struct("<8sII")  # magic, length and CRC-32 of the records behind it
_RECORD = struct.Struct("<cI")  # tag, length
# In the record N: the second byte of the restart policy, of which the first one is enough.
_STANDING = 13


def standing(config: bytes) -> Dict[str, int]:
    """RESTS or ILL for each service of which that was said."""
    return {name: config[at] for name, at in _places(config) if config[at]}


def with_standing(config: bytes, told: Mapping[str, int]) -> bytes:
    """The same configuration with that said of these services, and nothing of all others."""
    found = bytearray(config)
    for name, at in _places(config):
        found[at] = told.get(name, 0)
    magic, size, _ = _HEAD.unpack_from(config)
    _HEAD.pack_into(found, 0, magic, size, zlib.crc32(bytes(found[_HEAD.size : _HEAD.size + size])))
    return bytes(found)


def _places(config: bytes) -> Iterator[Tuple[str, int]]:
    """The name of each service among several, and where its byte is."""
    if len(config) < _HEAD.size:
        raise _damaged()
    end = _HEAD.size + _HEAD.unpack_from(config)[1]
    if end > len(config):
        raise _damaged()
    at, name = _HEAD.size, ""
    while at + _RECORD.size <= end:
        tag, length = _RECORD.unpack_from(config, at)
        at += _RECORD.size
        if at + length > end:
            raise _damaged()
        if tag == b"S":
            name = config[at : at + length].decode("utf-8", "replace")
        elif tag == b"N" and name and length > _STANDING:
            yield name, at + _STANDING
        at += length


def _damaged() -> RemoteError:
    return RemoteError(
        "HostError",
        "the configuration disk of a VM is damaged",
        "its records end in the middle",
        "Roll the Move back, or remove the VM: portkit rm.",
    )
