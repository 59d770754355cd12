"""What `docker load` reads: a docker-archive (overlay2) or an OCI layout (containerd store).

Seen to work: engines on overlay2 accept a docker-archive that names every layer and lacks the
files of the lowest ones that they have; the containerd store wants every blob of an OCI layout.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union
from urllib.parse import quote

from portkit.host.remote import codec, engine, sources, store
from portkit.host.remote.frames import RemoteError

_CHUNK = 1 << 20
Member = Tuple[str, Union[bytes, sources.Source]]


def shared_prefix(layers: Sequence[str], known: Iterable[Sequence[str]]) -> int:
    """How many of the lowest layers some image of the engine has, in the same order."""
    best = 0
    for diff_ids in known:
        count = 0
        for ours, theirs in zip(layers, diff_ids):  # noqa: B905 - `strict` is 3.10's
            if ours != theirs:
                break
            count += 1
        best = max(best, count)
    return best


def gather(layers: Sequence[str]) -> Dict[str, sources.Source]:
    """What each layer is read from, to be closed: the Store, else the engine's own files, else
    an image of the engine that has it (kept as long as this connection: others need it as well)."""
    found: Dict[str, sources.Source] = {}
    try:
        _gather(layers, found)
    except BaseException:
        for source in found.values():
            source.close()
        raise
    return found


def _gather(layers: Sequence[str], found: Dict[str, sources.Source]) -> None:
    places: Optional[Dict[str, Path]] = None
    for digest in dict.fromkeys(layers):
        path = store.find(digest)
        source: Optional[sources.Source] = None if path is None else sources.Plain(path)
        if source is None:
            places = sources.places(engine.get("/info")) if places is None else places
            source = sources.of_engine(digest, places)
        if source is not None:
            found[digest] = source
    missing = {digest for digest in layers if digest not in found}
    for image in _images() if missing else ():
        if missing & set(image[1]):
            extracted = _extract(image[0], missing)
            store.RETIRED.update(extracted)
            found.update({digest: sources.Plain(path) for digest, path in extracted.items()})
            missing -= set(extracted)
    if missing:
        raise RemoteError(
            "TransferError",
            "layers of the image are neither in the Store nor in the engine",
            ", ".join(sorted(missing)),
            "Try again; what was there may have been removed meanwhile.",
        )


def _images() -> Iterator[Tuple[str, List[str]]]:
    """Id and layers of each image of the engine."""
    for name in sorted({row["Id"] for row in engine.get("/images/json?all=1")}):
        row = engine.get("/images/%s/json" % quote(name, safe=":"))
        yield name, (row.get("RootFS") or {}).get("Layers") or []


def _extract(image: str, wanted: "set[str]") -> Dict[str, Path]:
    """Those members of `docker save` whose uncompressed sha256 is wanted."""
    found: Dict[str, Path] = {}
    path = "/images/%s/get" % quote(image, safe=":")
    with engine.request("GET", path) as bulk, tarfile.open(fileobj=bulk, mode="r|") as bundle:
        for member in bundle:
            file = bundle.extractfile(member) if member.isreg() else None
            if file is None or member.size < 1024:
                continue
            out = store.temporary()
            digest = _unpack(file, out)
            if digest in wanted:
                found[digest] = out
            else:
                out.unlink()
    return found


def _unpack(file: Any, path: Path) -> str:
    """Write `file` without its gzip or zstd to `path`; the digest of what was written."""
    total = hashlib.sha256()
    with path.open("wb") as out:
        for data in _plain(file):
            total.update(data)
            out.write(data)
    return "sha256:" + total.hexdigest()


def _plain(file: Any) -> Iterator[bytes]:
    head = file.read(4)
    rest: Any = _Joined(head, file)
    if head[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=rest) as unpacked:
            yield from iter(lambda: unpacked.read(_CHUNK), b"")
    elif head == b"\x28\xb5\x2f\xfd":
        decoder = codec.Decompressor("zstd")
        for data in iter(lambda: rest.read(_CHUNK), b""):
            yield from decoder.feed(data)
    else:
        yield from iter(lambda: rest.read(_CHUNK), b"")


class _Joined:
    """The bytes that were looked at, then the rest of the stream."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file

    def read(self, count: int = _CHUNK) -> bytes:
        if self._head:
            part, self._head = self._head[:count], self._head[count:]
            return part
        return bytes(self._file.read(count))


def docker_archive(
    config: Path, layers: Sequence[str], files: Dict[str, sources.Source], hold: str
) -> Tuple[Iterator[bytes], str]:
    """The stream of an archive as `docker save` made it before 25, and the id to expect."""
    digest = "sha256:" + config.name
    names = [layer[7:] + "/layer.tar" for layer in layers]
    rows = [{"Config": config.name + ".json", "RepoTags": [hold], "Layers": names}]
    members: List[Member] = [(config.name + ".json", config.read_bytes())]
    for layer in dict.fromkeys(layers):
        if layer in files:
            members.append((layer[7:] + "/layer.tar", files[layer]))
    members.append(("manifest.json", json.dumps(rows).encode()))
    return _tar(members), digest


def oci_layout(
    config: Path, layers: Sequence[str], files: Dict[str, sources.Source], hold: str
) -> Tuple[Iterator[bytes], str]:
    """The stream of an OCI image layout (image-spec 1.1), and the manifest digest to expect."""
    descriptors = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer,
            "size": files[layer].size,
        }
        for layer in layers
    ]
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": "sha256:" + config.name,
                "size": config.stat().st_size,
            },
            "layers": descriptors,
        }
    )
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    row = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": len(manifest),
        "annotations": {
            "io.containerd.image.name": "docker.io/" + hold,
            "org.opencontainers.image.ref.name": hold.rpartition(":")[2],
        },
    }
    index = _json({"schemaVersion": 2, "manifests": [row]})
    members: List[Member] = [
        ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        ("index.json", index),
        ("blobs/sha256/" + digest[7:], manifest),
        ("blobs/sha256/" + config.name, config.read_bytes()),
    ]
    members += [("blobs/sha256/" + each[7:], files[each]) for each in dict.fromkeys(layers)]
    return _tar(members), digest


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _tar(members: Sequence[Member]) -> Iterator[bytes]:
    """A tar of the members, made while it is read."""
    for name, content in members:
        info = tarfile.TarInfo(name)
        if isinstance(content, bytes):
            info.size = len(content)
            yield info.tobuf(tarfile.PAX_FORMAT) + content
        else:
            info.size = content.size
            yield info.tobuf(tarfile.PAX_FORMAT)
            yield from sources.pieces(content)
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
