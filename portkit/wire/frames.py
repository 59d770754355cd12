"""The frames of both directions, and the error that travels in them.

A frame: one byte of kind, four bytes of length (big endian), payload.
J: a JSON object, at most 4 MiB. D: data, at most 1 MiB. E: end of data. A: data given up.
"""

from __future__ import annotations

import json
import struct
from typing import BinaryIO, Optional, Protocol, Tuple

from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

# A login's shell may print what it likes before the program runs (motd, a profile): the near end
# reads until this and a number that was made for the connection.
MAGIC = b"PORTKIT-REMOTE/1 "
JSON_LIMIT = 4 << 20
DATA_LIMIT = 1 << 20
_LIMITS = {b"J": JSON_LIMIT, b"D": DATA_LIMIT, b"E": 0, b"A": 0}


class FrameError(Exception):
    """The other side does not speak the protocol, or the connection ended within a frame."""


class RemoteError(Exception):
    """A verb failed: `kind` names the class of portkit.errors, the rest are its three parts."""

    def __init__(self, kind: str, brief: str, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.kind = kind
        self.brief = brief
        self.details = details
        self.resolution = resolution


class Readable(Protocol):
    """What frames are read from: at most `count` bytes at once, b"" at the end."""

    def read(self, count: int) -> bytes:
        """Fewer bytes than `count` are fine."""


def read_exactly(stream: Readable, count: int) -> bytes:
    """`count` bytes; FrameError when the stream ends before."""
    parts = []
    while count > 0:
        part = stream.read(count)
        if not part:
            raise FrameError("the connection ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_frame(stream: Readable) -> Optional[Tuple[bytes, bytes]]:
    """(kind, payload), or None at an orderly end of the stream."""
    # The end of the stream is orderly only between two frames.
    kind = stream.read(1)
    if not kind:
        return None
    if kind not in _LIMITS:
        raise FrameError("unknown kind of frame %r" % kind)
    (length,) = struct.unpack(">I", read_exactly(stream, 4))
    # Before the payload is read: the other end must not decide how much memory this one takes.
    if length > _LIMITS[kind]:
        raise FrameError("a frame of %d bytes is over the limit" % length)
    return kind, read_exactly(stream, length)


def write_frame(stream: BinaryIO, kind: bytes, payload: bytes = b"") -> None:
    """Write and flush one frame."""
    if len(payload) > _LIMITS[kind]:
        raise FrameError("a frame of %d bytes is over the limit" % len(payload))
    stream.write(kind + struct.pack(">I", len(payload)))
    stream.write(payload)
    # Whoever reads waits for the whole frame and sends nothing meanwhile.
    stream.flush()


def write_json(stream: BinaryIO, value: JsonObject) -> None:
    """Write and flush a JSON object. What of its text is not Unicode becomes "?"."""
    # Names of files that are not UTF-8 have lone surrogates in Python (os.fsdecode), and no
    # encoding can write those.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    write_frame(stream, b"J", text.encode("utf-8", "replace"))


def parse_json(payload: bytes, lone_surrogates: bool = True) -> JsonObject:
    """A JSON object; FrameError for anything else.

    lone_surrogates: whether text may hold "\\ud800" and its like, which no encoding can write.
    """
    try:
        value = strict_json.loads(payload, halves=lone_surrogates, most=strict_json.MAX_CHECKED)
    except ValueError as error:
        raise FrameError("a frame holds no JSON: %s" % error) from None
    if not isinstance(value, dict):
        raise FrameError("a frame holds no JSON object")
    return value
