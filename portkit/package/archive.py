"""What `docker save` writes, read with suspicion: found by content, names are never paths.

Three layouts are met: docker-archive (before Docker 25), the OCI layout with a manifest.json
(25 and newer), and the OCI layout alone. In all of them a layer is a member whose uncompressed
sha256 is a diffID of the configuration, so that is how layers are found.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from portkit.errors import SpaceError, VerifyError
from portkit.model import CONFIG_LIMIT, Blob, ImageConfig, check_digest
from portkit.package import tarball
from portkit.package.tarball import Member
from portkit.store import Store
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 20
_MEMBERS = 10_000  # an image has at most some hundred layers, with three members each
_DESCRIPTORS = 1_000  # of all indexes together
_NAME_LIMIT = 1_000  # characters
# BuildKit's annotations of a manifest in an index that says something of another one (its
# docs/attestations/attestation-storage.md).
_REFERENCE = "vnd.docker.reference."
# Docker's type and the OCI's for the same thing: an engine saves an image as it was pulled.
_MANIFESTS = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}


def read(path: Path, store: Store, progress: Callable[[int], None]) -> tuple[ImageConfig, Blob]:
    """Put the one image of the archive into the Store: its configuration and that blob.

    Every layer is then in the Store, uncompressed, under its diffID.
    Raises VerifyError when the archive is damaged, ambiguous or incomplete, SpaceError when its
    layers have no room.
    """
    from portkit.image_config import parse_image_config  # pydantic: not for an import

    try:
        with path.open("rb") as file:
            archive = _Archive(file)
            data = archive.config()
            config = parse_image_config(data)
            _layers(archive, config, store, progress)
    # What the decompressors raise for damaged data; anything else is a bug of ours.
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise _malformed(f"it cannot be read: {error}"[:500]) from None
    return replace(config, attestations=archive.attestations), store.put_bytes(data)


class _Archive:
    """The members by name, and the JSON that says which of them are the image."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.members = _members(file)
        self.attestations = 0  # that `config` met, of images that are here

    def content(self, member: Member) -> Iterator[bytes]:
        return tarball.content(self._file, member)

    def config(self) -> bytes:
        """The bytes of the image's configuration. Where a manifest.json and an index are there,
        they have to name the same one."""
        # Docker since 25 writes both: manifest.json as before, and an OCI layout around it. Two
        # answers could name two images, and other tools might read the other one.
        found = self._indexed() if "index.json" in self.members else {}
        if "manifest.json" not in self.members:
            if len(found) != 1:
                raise _malformed(f"its index leads to {len(found)} images, not to one")
            return next(iter(found.values()))
        rows = _parse(self._small("manifest.json"))
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
            raise _malformed("its manifest.json does not name exactly one image")
        if "manifests" in rows[0]:
            raise _malformed("its manifest.json is an index as well")
        data = self._named_config(rows[0].get("Config"))
        if found and data not in found.values():
            raise _malformed("its index has no entry for the image of its manifest.json")
        return data

    def _indexed(self) -> dict[str, bytes]:
        """Digest and bytes of the configurations that the index leads to and that are here, without
        attestations, which say that their platform is unknown."""
        found: dict[str, bytes] = {}
        # Indexes may name indexes (images for several platforms), so this is a walk.
        pending = _descriptors(_object(_parse(self._small("index.json"))))
        seen: set[str] = set()
        while pending:
            row = pending.pop()
            kind, digest = row.get("mediaType"), str(row["digest"])
            unknown = _object(row.get("platform") or {}).get("os") == "unknown"
            self.attestations += self._attests(row)
            if unknown or kind not in _MANIFESTS | _INDEXES or digest in seen:
                continue
            seen.add(digest)
            if _blob_name(row) not in self.members:  # of another platform, which was not saved
                continue
            document = _object(_parse(self._blob(row)))
            if kind in _INDEXES:
                pending += _descriptors(document)
                if len(seen) + len(pending) > _DESCRIPTORS:
                    raise _malformed(f"its indexes have more than {_DESCRIPTORS} entries")
                continue
            if "manifests" in document:
                raise _malformed("a manifest of it is an index as well")
            self._check_layers(document.get("layers"))
            config = _descriptor(document.get("config"))
            found[str(config["digest"])] = self._blob(config)
        return found

    def _attests(self, row: JsonObject) -> bool:
        """Whether a descriptor is of an attestation, of an image that is here."""
        notes = _object(row.get("annotations") or {})
        about = str(notes.get(f"{_REFERENCE}digest")).replace(":", "/", 1)
        named = notes.get(f"{_REFERENCE}type") == "attestation-manifest"
        return named and f"blobs/{about}" in self.members

    def _small(self, name: str) -> bytes:
        member = self.members.get(name)
        if member is None:
            raise _malformed(f"{name[:200]!a} is not in it")
        if member.size > CONFIG_LIMIT:
            raise _malformed(f"{name[:200]!a} has {member.size} bytes, at most {CONFIG_LIMIT}")
        return b"".join(self.content(member))

    def _named_config(self, name: object) -> bytes:
        """The configuration; engines name it by its digest, then it has to match."""
        if not isinstance(name, str):
            raise _malformed("its manifest.json names no configuration")
        data = self._small(name)
        stem = name.rpartition("/")[2].removesuffix(".json")
        if re.fullmatch("[0-9a-f]{64}", stem) and hashlib.sha256(data).hexdigest() != stem:
            raise _malformed(f"{name[:200]!a} does not match its digest")
        return data

    def _check_layers(self, rows: object) -> None:
        """Every layer that is here has the size that its descriptor says; `urls` are never read."""
        if not isinstance(rows, list):
            raise _malformed("its manifest has no layers")
        for row in map(_descriptor, rows):
            self._check_size(row)

    def _check_size(self, descriptor: JsonObject) -> None:
        member = self.members.get(_blob_name(descriptor))
        size = descriptor.get("size")
        if member is not None and (type(size) is not int or member.size != size):
            raise _malformed(
                f"{descriptor['digest']} has {member.size} bytes, its descriptor says "
                f"{str(size)[:40]!a}"
            )

    def _blob(self, descriptor: JsonObject) -> bytes:
        """A small blob; its size is held against the descriptor first, then its digest."""
        self._check_size(descriptor)
        data = self._small(_blob_name(descriptor))
        if "sha256:" + hashlib.sha256(data).hexdigest() != descriptor["digest"]:
            raise _malformed(f"{descriptor['digest']} does not match its digest")
        return data


def _members(file: BinaryIO) -> dict[str, Member]:
    """Regular members by name; links between members resolved; VerifyError for a name twice."""
    found: dict[str, Member] = {}
    links: dict[str, str] = {}
    for count, member in enumerate(tarball.members(file)):
        if count >= _MEMBERS:
            raise _malformed(f"it has more than {_MEMBERS} members")
        name = member.name
        _check_name(name)
        if name in found or name in links:
            raise _malformed(f"{name[:200]!a} is in it twice")
        if member.pieces is not None:
            raise _malformed(f"{name[:200]!a} is a sparse file")
        if member.xattrs:  # nothing asks for them, and those of 10,000 members can be gigabytes
            member = replace(member, xattrs={})
        if member.kind == tarball.FILE:
            found[name] = member
        elif member.kind in (tarball.SYMLINK, tarball.HARDLINK):
            _check_length(member.link)
            links[name] = member.link
    # Older engines link a layer that occurs twice: HEX/layer.tar -> ../HEX/layer.tar
    for name, target in links.items():
        pointed = found.get(target.removeprefix("../"))
        if pointed is None:
            raise _malformed(f"{name[:200]!a} links to {target[:200]!a}, which is not in it")
        found[name] = pointed
    return found


def _check_length(name: str) -> None:
    if len(name) > _NAME_LIMIT:
        raise _malformed(f"{name[:200]!a}... is longer than a name in it can be")


def _check_name(name: str) -> None:
    _check_length(name)
    if name.startswith("/") or ".." in name.split("/"):
        raise _malformed(f"{name[:200]!a} leads out of the archive")
    algorithm, _, value = name.removeprefix("blobs/").rstrip("/").partition("/")
    if name.startswith("blobs/") and value:
        check_digest(f"{algorithm}:{value}")


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise _malformed("a part of it should be a JSON object but is not")
    return value


def _descriptors(index: JsonObject) -> list[JsonObject]:
    rows = index.get("manifests")
    if not isinstance(rows, list):
        raise _malformed("its index has no manifests")
    if "layers" in index or "config" in index:
        raise _malformed("its index is a manifest as well")
    return [_descriptor(row) for row in rows]


def _descriptor(value: object) -> JsonObject:
    row = _object(value)
    check_digest(row.get("digest", ""))
    return row


def _blob_name(descriptor: JsonObject) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/", 1)


def _parse(data: bytes) -> object:
    try:
        return strict_json.loads(data)
    except ValueError as error:
        raise _malformed(f"a part of it should be JSON but is not: {error}") from None


def _layers(
    archive: _Archive, config: ImageConfig, store: Store, progress: Callable[[int], None]
) -> None:
    missing = {digest for digest in config.diff_ids if not store.has(digest)}
    unique = {member.header: member for member in archive.members.values()}
    # In the order of the file: reading it once from start to end is what a disk does best.
    for _, member in sorted(unique.items()):
        if not missing:
            return
        if member.name.endswith(".json") or member.size == 0:
            continue
        with store.writer() as writer:
            # A layer of a few megabytes may unpack to terabytes.
            room = shutil.disk_usage(store.root).free
            for data in plain(archive.content(member)):
                if writer.size + len(data) > room:
                    raise _bomb(room)
                writer.write(data)
                progress(len(data))
            found = writer.digest
            if found in missing:
                writer.commit(found)
                missing.discard(found)
    if missing:
        raise _malformed("layers of its configuration are not in it: " + ", ".join(sorted(missing)))


def plain(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content without its gzip or zstd, in chunks that are made as they are taken."""
    source = io.BufferedReader(_Stream(pieces), _CHUNK)
    head = source.peek(4)[:4]
    stream: Any = source
    if head[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=source)
    elif head == b"\x28\xb5\x2f\xfd":
        import zstandard

        decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        stream = decoder.stream_reader(source, read_across_frames=True)
        try:
            yield from iter(lambda: stream.read(_CHUNK), b"")
        except zstandard.ZstdError as error:
            raise ValueError(f"zstd: {error}") from None
        return
    yield from iter(lambda: stream.read(_CHUNK), b"")


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file that is read from the start to the end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _bomb(room: int) -> SpaceError:
    return SpaceError(
        "the Store does not have enough space to unpack a layer",
        details=f"more than {room} bytes",
        resolution="Free some space there. If the image should not be that large, it may be a "
        "decompression bomb.",
    )


def _malformed(why: str) -> VerifyError:
    return VerifyError(
        "the engine's archive of the image is malformed",
        details=why,
        resolution="Try again. If the error persists, build or pull the image again.",
    )
