"""What `docker save` writes, read with suspicion: found by content, names are never paths.

Three layouts are met: docker-archive (before Docker 25), the OCI layout with a manifest.json
(25 and newer), and the OCI layout alone. In all of them a layer is a member whose uncompressed
sha256 is a diffID of the configuration, so that is how layers are found.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from portkit.errors import SpaceError, VerifyError
from portkit.model import CONFIG_LIMIT, Blob, ImageConfig, check_digest
from portkit.store import Store

_CHUNK = 1 << 20
_MEMBERS = 100_000
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
    Raises VerifyError when the archive is damaged, ambiguous or incomplete.
    """
    try:
        with tarfile.open(path, mode="r:") as bundle:
            members = _members(bundle)
            data = _config(bundle, members)
            from portkit.image_config import parse_image_config  # pydantic: not for an import

            config = parse_image_config(data)
            _layers(bundle, members, config, store, progress)
    except (
        tarfile.TarError,
        EOFError,
        zlib.error,
        gzip.BadGzipFile,
        ValueError,
        OverflowError,  # a size that no file has
        MemoryError,  # a header that claims gigabytes
    ) as error:
        raise _malformed(f"it cannot be read: {error}") from error
    return config, store.put_bytes(data)


def _members(bundle: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Regular members by name; links between members resolved; VerifyError for a name twice."""
    found: dict[str, tarfile.TarInfo] = {}
    links: dict[str, str] = {}
    for count, member in enumerate(bundle):
        if count > _MEMBERS:
            raise _malformed(f"it has more than {_MEMBERS} members")
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise _malformed(f"{member.name[:200]!r} leads out of it")
        if member.name in found or member.name in links:
            raise _malformed(f"{member.name[:200]!r} is in it twice")
        if member.isreg():
            found[member.name] = member
        elif member.issym() or member.islnk():
            links[member.name] = member.linkname
    # Older engines link a layer that occurs twice: HEX/layer.tar -> ../HEX/layer.tar
    for name, target in links.items():
        pointed = found.get(target.removeprefix("../"))
        if pointed is None:
            raise _malformed(f"{name[:200]!r} links to {target[:200]!r}, which is not in it")
        found[name] = pointed
    return found


def _small(bundle: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    member = members.get(name)
    if member is None:
        raise _malformed(f"{name[:200]!r} is not in it")
    if member.size > CONFIG_LIMIT:
        raise _malformed(f"{name[:200]!r} has {member.size} bytes, at most {CONFIG_LIMIT}")
    file = bundle.extractfile(member)
    assert file is not None
    return file.read()


def _config(bundle: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> bytes:
    """The bytes of the image's configuration."""
    if "manifest.json" in members:
        rows = _parse(_small(bundle, members, "manifest.json"))
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
            raise _malformed("its manifest.json does not name exactly one image")
        return _named_config(bundle, members, str(rows[0].get("Config")))
    row = _parse(_small(bundle, members, "index.json"))
    for _ in range(4):  # an index may point to an index
        row = _pick(row)
        kind = row.get("mediaType")
        row = _object(_parse(_blob(bundle, members, row)))
        if kind in _MANIFESTS:
            _layer_sizes(members, row.get("layers"))
            return _blob(bundle, members, _object(row.get("config")))
    raise _malformed("its index leads to no image")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed("a part of it that should be a JSON object is none")
    return value


def _named_config(bundle: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    """The configuration; engines name it by its digest, then it has to match."""
    data = _small(bundle, members, name)
    stem = name.rpartition("/")[2].removesuffix(".json")
    if re.fullmatch("[0-9a-f]{64}", stem) and hashlib.sha256(data).hexdigest() != stem:
        raise _malformed(f"{name[:200]!r} does not match its digest")
    return data


def _layer_sizes(members: dict[str, tarfile.TarInfo], rows: Any) -> None:
    """Every layer that is here has the size that its descriptor says; `urls` are never read."""
    if not isinstance(rows, list):
        raise _malformed("its manifest has no layers")
    for row in map(_object, rows):
        member = members.get(_blob_name(row))
        if member is not None and member.size != row.get("size"):
            raise _malformed(
                f"a layer has {member.size} bytes, its descriptor says {row.get('size')!r}"[:300]
            )


def _pick(index: Any) -> dict[str, Any]:
    """The one image of an index; attestations, which say platform unknown, do not count."""
    rows = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(rows, list):
        raise _malformed("its index has no manifests")
    kinds = _MANIFESTS | _INDEXES
    images = [
        row
        for row in rows
        if isinstance(row, dict)
        and row.get("mediaType") in kinds
        and _object(row.get("platform") or {}).get("os") != "unknown"
    ]
    if len({str(row.get("digest")) for row in images}) != 1:
        raise _malformed("its index does not name exactly one image")
    return images[0]


def _blob_name(descriptor: dict[str, Any]) -> str:
    return "blobs/" + check_digest(str(descriptor.get("digest"))).replace(":", "/", 1)


def _blob(
    bundle: tarfile.TarFile, members: dict[str, tarfile.TarInfo], descriptor: dict[str, Any]
) -> bytes:
    """A small blob; its size is held against the descriptor first, then its digest."""
    name, digest = _blob_name(descriptor), str(descriptor.get("digest"))
    member = members.get(name)
    if member is not None and member.size != descriptor.get("size"):
        raise _malformed(
            f"{digest} has {member.size} bytes, its descriptor says {descriptor.get('size')!r}"[
                :300
            ]
        )
    data = _small(bundle, members, name)
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
        raise _malformed(f"{digest} does not match its digest")
    return data


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("a part of it that should be JSON is none") from error


def _layers(
    bundle: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    config: ImageConfig,
    store: Store,
    progress: Callable[[int], None],
) -> None:
    missing = {digest for digest in config.diff_ids if not store.has(digest)}
    for member in sorted({id(m): m for m in members.values()}.values(), key=lambda m: m.offset):
        if not missing:
            return
        if member.name.endswith(".json") or member.size == 0:
            continue
        file = bundle.extractfile(member)
        assert file is not None
        with store.writer() as writer:
            for data in plain(file):
                writer.write(data)
                progress(len(data))
            found = writer.digest
            if found in missing:
                writer.commit(found)
                missing.discard(found)
    if missing:
        raise _malformed("layers of its configuration are not in it: " + ", ".join(sorted(missing)))


def plain(file: IO[bytes]) -> Iterator[bytes]:
    """The content without its gzip or zstd, in chunks; a bomb ends in SpaceError, not in memory."""
    import shutil
    import tempfile

    head = file.read(4)
    file.seek(0)
    stream: Any = file
    if head[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=file)
    elif head == b"\x28\xb5\x2f\xfd":
        import zstandard

        decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        stream = decoder.stream_reader(file, read_across_frames=True)
    room = shutil.disk_usage(tempfile.gettempdir()).free
    done = 0
    for data in iter(lambda: stream.read(_CHUNK), b""):
        done += len(data)
        if stream is not file and done > room:
            raise SpaceError(
                "a layer unpacks to more than there is room for",
                details=f"over {room} bytes",
                resolution="Check the image: it may be a decompression bomb.",
            )
        yield data


def _malformed(why: str) -> VerifyError:
    return VerifyError(
        "the engine's archive of the image is malformed",
        details=why,
        resolution="Try again; if it stays, build or pull the image again.",
    )
