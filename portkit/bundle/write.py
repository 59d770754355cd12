"""An App and its Artifacts -> one file: a tar of an OCI image layout.

Layers are tar+zstd, as any tool reads them. The disk is a recipe against the layers, or against
what the target is known to have; both are artifacts beside the image in the index.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from portkit import files
from portkit.bundle import contents, described, tar
from portkit.bundle.parts import split
from portkit.errors import ConflictError
from portkit.model import CONFIG_LIMIT, Artifact, Facts, Form, ImageConfig, PackedApp
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.transfer import recipe
from portkit.transfer.bases import LEAST_BASE, Base, Bases, likeliest
from portkit.transfer.price import Packing
from portkit.transfer.stream import Packer, packer
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from portkit.bundle.document import Content, Disk, Document

BUNDLE_TYPE = "application/vnd.portkit.bundle.v2"
EMPTY = b"{}"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_DISK_TYPE = "application/vnd.portkit.disk.v1"
_MEDIA = {
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "absent": "application/vnd.oci.image.layer.v1.tar",
    "recipe": "application/vnd.portkit.recipe.v1+zstd",
}
_CHUNK = 1 << 20
_ALL = 1 << 30  # blobs of the Store: nobody is asked about them
_LEVEL, _WINDOW = 9, 27  # read on hosts with 128 MiB for it; packed once, carried by hand


def write(
    path: Path,
    packed: PackedApp,
    store: Store,
    facts: Facts,
    observer: Observer | None = None,
    *,
    have: Collection[str] = (),
    made_for: str = "",
    part_bytes: int | None = None,
) -> list[Path]:
    """Write a bundle of an App, and return the files that were written.

    packed: as `pack` returns it, with its Artifacts in the Store. The bundle contains the App's
    environment and files, so its files have mode 0600. facts: of the host where the App was packed.
    have: digests of what the target has, which is left out. part_bytes: the largest size of a part,
    for a bundle in parts. Raises ConflictError if the file exists already, and AppError if the App
    cannot be described.
    """
    if path.exists():
        raise ConflictError(
            "the file already exists",
            details=str(path),
            resolution="Remove it, or choose another place with -o.",
        )
    # The parts need the digest of the whole, so that is written first, on the Store's file system.
    whole = path if part_bytes is None else store.temporary()
    try:
        with store.space():
            told = observer or NullObserver()
            _write(whole, packed, store, facts, told, frozenset(have), made_for)
            return [path] if part_bytes is None else split(whole, path, part_bytes)
    finally:
        if whole != path:
            whole.unlink(missing_ok=True)


def _write(
    path: Path,
    packed: PackedApp,
    store: Store,
    facts: Facts,
    observer: Observer,
    have: Collection[str],
    made_for: str,
) -> None:
    from portkit.bundle import document

    app, artifacts = packed.app, packed.artifacts
    told = described.render(app, [image.digest for image in packed.images])
    any_form = next(iter(artifacts.values()))
    disk = artifacts.get(Form.DISK)
    with files.whole(path) as file, Bases(store, _both_have(any_form, store, have)) as bases:
        packer = _Packer(file, store, observer, have, bases)
        # First, so that a reader sees at once what this is.
        packer.small(b'{"imageLayoutVersion":"1.0.0"}', "oci-layout")
        row = document.made(
            app=told.text,
            cas=list(told.cas),
            carried=packer.carried(told.contents) if told.contents else None,
            source=app.source[:4096],
            findings=[document.Noted.of(finding).model_dump() for finding in app.findings],
            facts=json.loads(json.dumps(asdict(facts))),
            images=_by_service(packed),
            layers=packer.layers(any_form) if Form.IMAGE in artifacts else [],
            forms=[form.value for form in artifacts],
            disk=None if disk is None else packer.disk(disk),
            made_for=made_for,
        )
        packer.finish(packed, row)


def _by_service(packed: PackedApp) -> dict[str, str]:
    names = [service.name for service in packed.app.services]
    return {name: image.digest for name, image in zip(names, packed.images, strict=True)}


def _both_have(artifact: Artifact, store: Store, have: Collection[str]) -> list[Base]:
    """What a recipe may be made against at first, as it is chosen for a transfer."""
    own = [digest for digest in artifact.diff_ids if digest in have and store.has(digest)]
    newest = store.newest(_ALL, LEAST_BASE) if have else []
    more = (each for each in newest if each.digest in have and each.digest not in own)
    rows = [Base(digest, store.size(digest)) for digest in own]
    return likeliest([*rows, *(Base(each.digest, each.size) for each in more)], own)


class _Packer:
    """Writes members one after the other; a header is filled in when its blob's digest is known."""

    def __init__(
        self,
        file: BinaryIO,
        store: Store,
        observer: Observer,
        have: Collection[str],
        bases: Bases,
    ) -> None:
        self._file = file
        self._store = store
        self._observer = observer
        self._have = have
        self._names: set[str] = set()
        self._bases = bases

    def layers(self, image: Artifact) -> list[Content]:
        """The layers of all images, each once, bottom first."""
        against = bool(self._have)
        return [self._content(digest, against=against) for digest in image.diff_ids]

    def carried(self, rows: Sequence[contents.Files]) -> Content:
        """The files that travel with the App, which no Store holds: they may be secrets."""
        from portkit.bundle import document

        try:
            data = contents.encode(rows)
        except ValueError as error:
            raise document.too_large(str(error)) from None
        row = self._stream([data])
        return document.Content(
            digest=document.digest_of(data),
            size=len(data),
            encoding="zstd",
            packed=row["digest"],
            packed_size=row["size"],
        )

    def disk(self, disk: Artifact) -> Disk:
        from portkit.bundle.document import Disk

        kit = [blob.digest for blob in disk.blobs if blob.digest != disk.digest]
        files = [self._content(digest, against=False) for digest in dict.fromkeys(kit)]
        content = self._content(disk.digest, against=True)
        return Disk(content=content, files=files, kit=disk.kit, data_bytes=disk.stored_bytes)

    def _content(self, digest: str, *, against: bool) -> Content:
        from portkit.bundle import document

        size = self._store.size(digest)
        if digest in self._have:
            return document.Content(digest=digest, size=size, encoding="absent")
        self._observer.phase(f"pack {digest[7:19]}")
        with ExitStack() as stack:
            target = stack.enter_context(self._store.content(digest).open("rb"))
            used: list[Base] = []
            pieces: Iterable[bytes] = iter(lambda: target.read(_CHUNK), b"")
            if against:
                folder = self._store.scratch()
                script = stack.enter_context(self._bases.scan(target.fileno(), folder))
                used = [self._bases.rows[number] for number in script.used()]
                pieces = recipe.render(script, target.fileno())
            row = self._stream(self._told(pieces, size))
        # A layer may be described against the ones before it, which the reader has unpacked by
        # then.
        if size >= LEAST_BASE:
            self._bases.add(Base(digest, size))
        return document.Content(
            digest=digest,
            size=size,
            encoding="recipe" if against else "zstd",
            packed=row["digest"],
            packed_size=row["size"],
            bases=[document.Base(digest=base.digest, size=base.size) for base in used],
        )

    def _told(self, pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
        done = 0
        for piece in pieces:
            yield piece
            done = min(size, done + len(piece))
            self._observer.bytes("pack", done, size)

    def _stream(self, pieces: Iterable[bytes]) -> JsonObject:
        """A member of the pieces in zstd; its digest and size."""
        # More threads make jobs that are too small for long matches, and hold hundreds of
        # megabytes.
        threads = min(4, len(os.sched_getaffinity(0)))
        compress = packer(Packing("zstd", _LEVEL, _WINDOW, threads if threads > 1 else 0))
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(tar.header("index.json", 0))  # its place
        total, size = hashlib.sha256(), 0
        for data in _chain(compress, pieces):
            total.update(data)
            size += self._file.write(data)
        name = f"blobs/sha256/{total.hexdigest()}"
        if name in self._names:  # two contents that pack to the same: one member
            self._file.truncate(start)
        else:
            self._file.write(tar.padding(size))
            # The header again, now that name and size are known.
            self._file.seek(start)
            self._file.write(tar.header(name, size))
            self._names.add(name)
        return {"digest": f"sha256:{total.hexdigest()}", "size": size}

    def small(self, data: bytes, name: str = "") -> JsonObject:
        """A member as it is; blobs are named by their digest."""
        digest = hashlib.sha256(data).hexdigest()
        name = name or f"blobs/sha256/{digest}"
        if name not in self._names:
            self._file.seek(0, os.SEEK_END)
            self._file.write(tar.header(name, len(data)) + data + tar.padding(len(data)))
            self._names.add(name)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def finish(self, packed: PackedApp, row: Document) -> None:
        """The manifests, the index and the end."""
        from portkit.bundle import document

        empty = {"mediaType": "application/vnd.oci.empty.v1+json", **self.small(EMPTY)}
        manifests = self._images(packed, row)
        if row.disk is not None:
            disk = (*row.disk.files, row.disk.content)
            told = {"config": empty, "layers": [_descriptor(each) for each in disk]}
            manifests.append(self._manifest({"artifactType": _DISK_TYPE, **told}))
        mine = {"mediaType": f"{BUNDLE_TYPE}+json", **self.small(document.encode(row))}
        carried = empty if row.carried is None else _descriptor(row.carried)
        told = {"artifactType": BUNDLE_TYPE, "config": mine, "layers": [carried]}
        manifests.append(self._manifest(told))
        document.check_small(each["size"] for each in manifests)
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}
        self.small(_json({**index, "manifests": manifests}), "index.json")
        self._file.seek(0, os.SEEK_END)
        self._file.write(tar.end())

    def _images(self, packed: PackedApp, row: Document) -> list[JsonObject]:
        """The configuration of each image, and where the images are in it their manifests."""
        from portkit.bundle import document

        known = {content.digest: _descriptor(content) for content in row.layers}
        found = []
        document.check_small(self._store.size(digest) for digest in set(row.images.values()))
        for name, image in _named(packed).items():
            config = self.small(self._store.read_bytes(image.digest, CONFIG_LIMIT))
            if "image" not in row.forms:
                continue
            told = {
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
                "layers": [known[digest] for digest in image.diff_ids],
            }
            about = {
                "platform": {"architecture": image.architecture, "os": image.os},
                "annotations": {"org.opencontainers.image.ref.name": name},
            }
            found.append({**self._manifest(told), **about})
        return found

    def _manifest(self, told: JsonObject) -> JsonObject:
        row = self.small(_json({"schemaVersion": 2, "mediaType": _MANIFEST, **told}))
        kind = {"artifactType": told["artifactType"]} if "artifactType" in told else {}
        return {"mediaType": _MANIFEST, **kind, **row}


def _named(packed: PackedApp) -> dict[str, ImageConfig]:
    """Each image once, under the App's name; of several with that of the first service too."""
    found: dict[str, tuple[str, ImageConfig]] = {}
    for service, image in zip(packed.app.services, packed.images, strict=True):
        found.setdefault(image.digest, (f"{packed.app.name}-{service.name}", image))
    if len(found) == 1:
        return {packed.app.name: packed.images[0]}
    return dict(found.values())


def _chain(compress: Packer, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield compress.compress(piece)
    yield compress.flush()


def _descriptor(content: Content) -> JsonObject:
    packed = content.packed is not None
    return {
        "mediaType": _MEDIA[content.encoding],
        "digest": content.packed if packed else content.digest,
        "size": content.packed_size if packed else content.size,
        "annotations": {"dev.portkit.digest": content.digest},
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
