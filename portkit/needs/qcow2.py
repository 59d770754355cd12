"""The header of a qcow2, and what its clusters hold: read here, as QEMU would open what it names.

Source: QEMU's docs/interop/qcow2.rst. Everything in the file is input.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from portkit.errors import VerifyError
from portkit.model.disk import Qcow2
from portkit.text import printable
from portkit.wire.codec import Decompressor, Missing

MAGIC = b"QFI\xfb"
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = range(5)  # incompatible feature bits
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")  # version 2, 72 bytes
_MORE = struct.Struct(">QQQII")  # version 3
_V3_BYTES = 104
_COMPRESSED, _ZERO = 1 << 62, 1
_OFFSET = 0x00FFFFFFFFFFFE00  # bits 9 to 55 of an entry
_EXTENSION = struct.Struct(">II")
_DATA_FILE_NAME, _MOST_EXTENSIONS = 0x44415441, 64
# QEMU's own limits (block/qcow2.h).
_MAX_L1_BYTES, _MAX_REFCOUNT_BYTES, _MAX_SNAPSHOTS, _MAX_NAME = 32 << 20, 8 << 20, 65536, 1023
_COMPRESSIONS = {0: "zlib", 1: "zstd"}
_METHODS = {0: "", 1: "aes", 2: "luks"}
_MAX_READ = 1 << 20
_MAX_TABLES = 16 << 20
# Such a cluster is stored in so many bytes more at most than it has, when nothing makes it smaller.
_SLACK = 4096


def header(head: bytes, file_bytes: int) -> Qcow2:
    """What the header says. head: the first bytes of the file, up to 2 MiB.

    VerifyError when it is none, or asks for more than QEMU allows.
    """
    if head[:4] != MAGIC:
        raise VerifyError(
            "the file does not begin as a qcow2",
            details=f"its first bytes are {head[:4]!r}",
            resolution="Name a raw disk with --disk-format raw. If it should be a qcow2, it is "
            "damaged: copy it again.",
        )
    if len(head) < _HEADER.size:
        raise _malformed("it ends within its header")
    fields = _HEADER.unpack_from(head)
    version, backing_at, backing_bytes, bits, size, method, l1, l1_at = fields[1:9]
    if version not in (2, 3):
        raise _malformed(f"version {version}")
    features, kind, length = 0, 0, _HEADER.size
    if version == 3:
        features, kind, length = _v3(head)
    if not 9 <= bits <= 21 or length > 1 << bits:
        raise _malformed(f"clusters of 2^{bits} bytes, a header of {length}")
    entries = 1 << (bits - (4 if features >> EXTENDED_L2 & 1 else 3))
    _bounded(fields, l1, l1_at, file_bytes, entries)
    named = _named(head, length, backing_at, backing_bytes, 1 << bits)
    return Qcow2(
        version=version,
        virtual_bytes=size,
        cluster_bytes=1 << bits,
        compression=_COMPRESSIONS.get(kind, f"type {kind}"),
        incompatible=tuple(bit for bit in range(64) if features >> bit & 1),
        encryption=_METHODS.get(method, f"method {method}"),
        backing=_backing(head, backing_at, backing_bytes, 1 << bits),
        data_file=named or bool(features >> DATA_FILE & 1),
    )


def _v3(head: bytes) -> tuple[int, int, int]:
    """Incompatible features, compression type and length of the header."""
    if len(head) < _V3_BYTES:
        raise _malformed("it ends within its header")
    features, _, _, order, length = _MORE.unpack_from(head, _HEADER.size)
    if order > 6 or length < _V3_BYTES or length % 8:
        raise _malformed(f"refcount order {order}, a header of {length} bytes")
    kind = head[_V3_BYTES] if length > _V3_BYTES and len(head) > _V3_BYTES else 0
    if bool(features >> COMPRESSION & 1) != bool(kind):
        raise _malformed(f"compression type {kind}, which its feature bit contradicts")
    return features, kind, length


def _bounded(fields: tuple[int, ...], l1: int, l1_at: int, file_bytes: int, entries: int) -> None:
    """VerifyError unless sizes and places are those of a file. entries: of one second table."""
    bits, size, refcount_clusters, snapshots = fields[4], fields[5], fields[10], fields[11]
    if size == 0 or size >= 1 << 62:
        raise _malformed(f"a disk of {size} bytes")
    if l1 * 8 > _MAX_L1_BYTES or l1 * (entries << bits) < size:
        raise _malformed(f"a first table of {l1} entries for {size} bytes")
    if refcount_clusters << bits > _MAX_REFCOUNT_BYTES or snapshots > _MAX_SNAPSHOTS:
        raise _malformed(f"{refcount_clusters} clusters of references, {snapshots} snapshots")
    if l1_at % (1 << bits) or l1_at == 0 or l1_at + l1 * 8 > file_bytes:
        raise _malformed("its first table lies outside of the file: it is cut off, or damaged")


def _backing(head: bytes, at: int, size: int, cluster: int) -> str:
    if at == 0:
        return ""
    if size > _MAX_NAME or at + size > min(cluster, len(head)):
        raise _malformed(f"the name of its backing file is {size} bytes at {at}")
    return printable(head[at : at + size].decode("utf-8", "replace"), 200) or "without a name"


def _named(head: bytes, at: int, backing_at: int, backing_bytes: int, cluster: int) -> bool:
    """Whether an extension of the header names a file with its data."""
    end = min(backing_at or cluster, len(head))
    at = (at + 7) & ~7
    for _ in range(_MOST_EXTENSIONS):
        if at + _EXTENSION.size > end:
            return False
        kind, size = _EXTENSION.unpack_from(head, at)
        if kind == 0:
            return False
        if kind == _DATA_FILE_NAME:
            return True
        at += _EXTENSION.size + (size + 7 & ~7)
    raise _malformed("extensions of its header without an end")


class Clusters:
    """The content of a qcow2 that stands on no other file, as far as it is asked for."""

    def __init__(self, file: BinaryIO, told: Qcow2, file_bytes: int) -> None:
        self._file = file
        self._told = told
        self._file_bytes = file_bytes
        self._wide = EXTENDED_L2 in told.incompatible
        (self._l1,) = struct.unpack(">I", self._at(36, 4))
        (self._l1_at,) = struct.unpack(">Q", self._at(40, 8))

    def check_whole(self) -> None:
        """VerifyError when the tables name something behind the end of the file: it is cut off.
        A disk of 128 GiB in clusters of 64 KiB is looked at as a whole, larger ones in part."""
        left = _MAX_TABLES
        tables = struct.unpack(f">{self._l1}Q", self._at(self._l1_at, self._l1 * 8))
        size = self._told.cluster_bytes
        for table in filter(None, (entry & _OFFSET for entry in tables)):
            left -= size
            if left < 0:
                return
            entries = struct.unpack(f">{size // 8}Q", self._at(table, size))
            plain = (e & _OFFSET for e in entries[:: 2 if self._wide else 1] if not e & _COMPRESSED)
            if max(plain, default=0) >= self._file_bytes:
                raise _cut()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the virtual disk; fewer at its end. VerifyError where the file is not sound."""
        length = min(length, _MAX_READ, max(self._told.virtual_bytes - offset, 0))
        return b"".join(self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        size = self._told.cluster_bytes
        while length > 0:
            inner = offset % size
            piece = min(length, size - inner)
            yield self._cluster(offset // size, inner, piece)
            offset, length = offset + piece, length - piece

    def _cluster(self, number: int, inner: int, length: int) -> bytes:
        """A part of one cluster."""
        size, width = self._told.cluster_bytes, 16 if self._wide else 8
        first, second = divmod(number, size // width)
        table = self._entry(self._l1_at + 8 * first)[0] & _OFFSET
        if table == 0:
            return bytes(length)
        entry, subclusters = self._entry(table + width * second)
        if entry & _COMPRESSED:
            return self._inflated(entry)[inner : inner + length]
        place = entry & _OFFSET
        if self._wide:
            return self._subclusters(place, subclusters, inner, length)
        if place == 0 or (entry & _ZERO and self._told.version == 3):
            return bytes(length)
        return self._at(place + inner, length)

    def _subclusters(self, place: int, bits: int, inner: int, length: int) -> bytes:
        """A part of a cluster of which each 32nd is there, or is zeros."""
        each = self._told.cluster_bytes // 32
        found = bytearray()
        while length > 0:
            part = inner // each
            piece = min(length, each - inner % each)
            there = place and bits >> part & 1
            found += self._at(place + inner, piece) if there else bytes(piece)
            inner, length = inner + piece, length - piece
        return bytes(found)

    def _inflated(self, entry: int) -> bytes:
        size = self._told.cluster_bytes
        shift = 62 - (size.bit_length() - 1 - 8)
        at = entry & ((1 << shift) - 1)
        sectors = (entry & (_COMPRESSED - 1)) >> shift
        stored = min((sectors + 1) * 512 - at % 512, size + _SLACK, self._file_bytes - at)
        if stored <= 0:
            raise _cut()
        data = self._at(at, stored)
        try:
            whole = _zlib(data, size) if self._told.compression == "zlib" else _zstd(data, size)
        except (zlib.error, Missing, ValueError) as error:
            raise _malformed(f"a compressed cluster: {error}") from None
        if len(whole) != size:
            raise _malformed(f"a compressed cluster of {len(whole)} bytes")
        return whole

    def _entry(self, at: int) -> tuple[int, int]:
        """An entry of a table, and, of a wide one, its second half."""
        if not self._wide:
            return struct.unpack(">Q", self._at(at, 8))[0], 0
        data = self._at(at, 16, least=8).ljust(16, b"\0")
        return struct.unpack(">QQ", data)

    def _at(self, offset: int, length: int, *, least: int | None = None) -> bytes:
        if offset >= self._file_bytes:
            raise _cut()
        self._file.seek(offset)
        data = self._file.read(length)
        # The last cluster of a file may be short of what the disk does not use.
        if least is not None and len(data) < least:
            raise _cut()
        return data if least is not None else data.ljust(length, b"\0")


def _zlib(data: bytes, size: int) -> bytes:
    return zlib.decompressobj(-12).decompress(data, size)


def _zstd(data: bytes, size: int) -> bytes:
    """One frame, behind which other data follow."""
    found = bytearray()
    for piece in Decompressor("zstd").feed(data):
        found += piece
        if len(found) >= size:
            break
    return bytes(found[:size])


def _cut() -> VerifyError:
    return _malformed("it names clusters behind its end: it is cut off, or damaged")


def _malformed(why: str) -> VerifyError:
    return VerifyError(
        "the qcow2 file is not sound",
        details=why,
        resolution="Copy it again, and look at it with: qemu-img check.",
    )
