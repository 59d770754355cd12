"""The layers of an image, from wherever this host has them."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Optional, Sequence, Tuple, cast
from urllib.parse import quote

from portkit.remote import engine, engine_layers, store
from portkit.wire import codec
from portkit.wire.content import Content, Plain
from portkit.wire.frames import Readable, RemoteError

_CHUNK = 1 << 20
_MEMBERS = 10_000  # of `docker save`: an image has at most some hundred layers, three members each
_EXTENDED_BYTES = 1 << 20  # of one header, as in Go's archive/tar


def gather(layers: Sequence[str]) -> Dict[str, Content]:
    """What each layer is read from, to be closed: the Store, else the engine's own files, else
    an image of the engine that has it (kept as long as this connection: others need it as well)."""
    found: Dict[str, Content] = {}
    try:
        _gather(layers, found)
    except BaseException:
        for source in found.values():
            source.close()
        raise
    return found


def _gather(layers: Sequence[str], found: Dict[str, Content]) -> None:
    places: Optional[Dict[str, Path]] = None
    for digest in dict.fromkeys(layers):
        path = store.find(digest)
        source: Optional[Content] = None if path is None else Plain(path)
        if source is None:
            places = engine_layers.places(engine.get_object("/info")) if places is None else places
            source = engine_layers.of_engine(digest, places)
        if source is not None:
            found[digest] = source
    missing = {digest for digest in layers if digest not in found}
    for image in _images() if missing else ():
        if missing & set(image[1]):
            extracted = _extract(image[0], missing)
            store.RETIRED.update(extracted)
            found.update({digest: Plain(path) for digest, path in extracted.items()})
            missing -= set(extracted)
    if missing:
        raise RemoteError(
            "TransferError",
            "layers of the image are neither in the host's Store nor in its engine",
            ", ".join(sorted(missing)),
            "Try again. They may have been removed in the meantime.",
        )


def _images() -> Iterator[Tuple[str, List[str]]]:
    """Id and layers of each image of the engine."""
    for name in engine.images():
        yield name, engine.image(name).diff_ids


def _extract(image: str, wanted: "set[str]") -> Dict[str, Path]:
    """Those members of `docker save` whose uncompressed sha256 is wanted."""
    found: Dict[str, Path] = {}
    path = "/images/%s/get" % quote(image, safe=":")
    with (
        engine.request("GET", path) as bulk,
        tarfile.open(fileobj=bulk, mode="r|", tarinfo=_Member) as bundle,
    ):
        for count, member in enumerate(bundle):
            if count >= _MEMBERS:
                raise engine.malformed(path, "over %d members" % _MEMBERS)
            bundle.members = []  # type: ignore[attr-defined] # tarfile keeps each
            file = bundle.extractfile(member) if member.isreg() else None
            # A tar has at least two empty records: what is smaller is no layer but a JSON file of
            # the archive.
            if file is None or member.size < 1024:
                continue
            out = store.temporary()
            digest = _unpack(file, out)
            if digest in wanted:
                found[digest] = out
            else:
                out.unlink()
    return found


class _Member(tarfile.TarInfo):
    """Python's tarfile reads an extended header of a gigabyte, and lists every hole of a sparse
    file."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type in (b"x", b"X", b"g", b"L", b"K")
        if self.type == b"S" or (extended and self.size > _EXTENDED_BYTES):
            raise engine.malformed("an image", "a header of %d bytes" % self.size)
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _unpack(file: Readable, path: Path) -> str:
    """Write `file` without its gzip or zstd to `path`; the digest of what was written."""
    total = hashlib.sha256()
    with path.open("wb") as out:
        for data in _plain(file):
            total.update(data)
            out.write(data)
    return "sha256:" + total.hexdigest()


def _plain(file: Readable) -> Iterator[bytes]:
    # gzip (RFC 1952) and zstd (RFC 8878) begin with their magic numbers; an engine's archive says
    # nowhere which of its layers are compressed.
    head = file.read(4)
    rest = _Joined(head, file)
    if head[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=cast(BinaryIO, rest)) as unpacked:
            yield from iter(lambda: unpacked.read(_CHUNK), b"")
    elif head == b"\x28\xb5\x2f\xfd":
        yield from _unzstd(rest)
    else:
        yield from iter(lambda: rest.read(_CHUNK), b"")


def _unzstd(file: Readable) -> Iterator[bytes]:
    try:
        decoder = codec.Decompressor("zstd")
    except codec.Missing as error:
        raise RemoteError(
            "HostError",
            "the host does not have libzstd",
            str(error),
            "Install libzstd1 on the host.",
        ) from error
    for data in iter(lambda: file.read(_CHUNK), b""):
        yield from decoder.feed(data)


class _Joined:
    """The bytes that were looked at, then the rest of the stream."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head = head
        self._file = file

    def read(self, count: int = _CHUNK) -> bytes:
        if self._head:
            part, self._head = self._head[:count], self._head[count:]
            return part
        return bytes(self._file.read(count))
