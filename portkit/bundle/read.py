"""One file -> App and Artifacts. Everything in it is taken for somebody else's.

Sizes are known before content is read, every byte is held against a digest, and nothing that no
manifest names may be in it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from portkit import files, runtime
from portkit.bundle import described, parts, tar
from portkit.bundle.tar import malformed
from portkit.bundle.unpack import plain, unpack
from portkit.bundle.write import BUNDLE_TYPE, EMPTY
from portkit.errors import AppError, HostError
from portkit.model import App, Artifact, Blob, Facts, Form, check_digest
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.transfer.forward import Parcel
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from portkit.bundle.document import Content, Document
    from portkit.host import Counters

_NAME = re.compile(r".+\.portkit(\.001)?")
# Bytes of a manifest or a configuration, as for images.
_SMALL = 4 << 20
_MIB = 1 << 20  # a disk's size is rounded up to one
_LEAST_DISK_BYTES = 64 << 20  # a smaller one is asked for in vain: it has to hold the kernel
# portkit makes a disk a quarter larger than what is in it; files with holes may be more than that.
_DISK_RATIO = 4
_DISK_SPARE_BYTES = 64 << 30


def is_bundle(path: str | Path) -> bool:
    """Whether an App's name is the name of a bundle, or of its first part, that is there."""
    try:
        return bool(_NAME.fullmatch(Path(path).name)) and Path(path).is_file()
    except (OSError, ValueError):
        return False


class Bundle:
    """A bundle that is open for reading; it is checked as a whole before anything is unpacked.

    app: what to run. forms: what it holds. Raises VerifyError when it is damaged, AppError when
    what it describes is no App.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            if parts.FIRST.fullmatch(path.name):
                self._file = parts.joined(path, self._stack)
            else:
                self._file = self._stack.enter_context(_opened(path))
            self._members = tar.members(self._file)
            self.document = self._document()
            self._facts = self._read_facts()
            self.app = self._app()
            self._announced()
        except BaseException:
            self._stack.close()
            raise
        self.forms = tuple(Form(name) for name in self.document.forms)

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---------------------------------------------------------------- as a Move's source

    def facts(self) -> Facts:
        """Of the host where it was packed, as it was then."""
        return self._facts

    def _read_facts(self) -> Facts:
        from portkit.host.facts import parse_facts

        try:
            return parse_facts(self.document.facts)
        except HostError as error:
            raise malformed(f"its facts cannot be right: {error.details}"[:500]) from None

    def counters(self) -> Counters:
        """Nothing travels from a source host."""
        from portkit.host import Counters

        return Counters(0, 0, "bundle")

    def artifact(self, form: Form, store: Store, observer: Observer | None = None) -> Artifact:
        """An Artifact whose blobs are in the Store afterwards, every one verified.

        VerifyError when content is damaged or is not what was declared, SpaceError when there is
        no room, AppError when the bundle does not have that form.
        """
        self.require((form,))
        observer = observer or NullObserver()
        store.put_bytes(self._small(self.document.config, _SMALL))
        wanted = self.document.contents() if form is Form.DISK else self.document.layers
        disk = self.document.disk
        holes = {disk.content.digest: disk.content.size - disk.data_bytes} if disk else {}
        unpack(wanted, self._file, self._members, store, observer, holes)
        return self.described(form)

    def require(self, forms: Sequence[Form]) -> None:
        """AppError when one of the forms is not in it."""
        for form in forms:
            if form not in self.forms:
                raise AppError(
                    f"the bundle has no {form.value}",
                    details=f"{self.path} has: {', '.join(self.forms)}",
                    resolution=f"Ask for --form {self.forms[0].value}, or pack the App again.",
                )

    def described(self, form: Form) -> Artifact:
        """The Artifact; nothing of it is unpacked."""
        row = self.document
        if form is Form.DISK:
            assert row.disk is not None
            kit = tuple(Blob(each.digest, each.size) for each in row.disk.files)
            blob = Blob(row.disk.content.digest, row.disk.content.size)
            data = row.disk.data_bytes
            images, blobs = (self._config,), (*kit, blob)
            return Artifact(form, blob.digest, images, blobs, blob.size, data, row.disk.kit)
        sizes = {content.digest: content.size for content in row.layers}
        config = Blob(row.config, self._size(row.config))
        layers = tuple(Blob(d, sizes[d]) for d in self._config.diff_ids if d in sizes)
        total = config.size + sum(sizes.values())
        if not layers and row.disk is not None:  # of a bundle with the disk alone
            total += row.disk.data_bytes
        return Artifact(form, config.digest, (self._config,), (config, *layers), total, total)

    # ---------------------------------------------------------------- checks

    def _size(self, digest: str) -> int:
        place = self._members.get("blobs/sha256/" + check_digest(digest)[7:])
        if place is None:
            raise malformed(f"{digest} is not in it")
        return place[1]

    def _small(self, digest: str, limit: int) -> bytes:
        return self._read("blobs/sha256/" + check_digest(digest)[7:], limit, digest)

    def _read(self, name: str, limit: int, digest: str = "") -> bytes:
        from portkit.bundle.document import digest_of

        place = self._members.get(name)
        if place is None:
            raise malformed(f"{name} is not in it")
        if place[1] > limit:
            raise malformed(f"{name} has {place[1]} bytes, at most {limit}")
        data = b"".join(tar.content(self._file, place))
        if digest and digest_of(data) != digest:
            raise malformed(f"{name} does not match its digest")
        return data

    def _document(self) -> Document:
        """The document, everything that it names held against what is there."""
        from portkit.bundle import document
        from portkit.image_config import parse_image_config

        if _object(self._read("oci-layout", 1000)).get("imageLayoutVersion") != "1.0.0":
            raise malformed("it is of another version of the image layout")
        index = _object(self._read("index.json", _SMALL))
        rows = [_described(row) for row in _list(index.get("manifests"))]
        named = {"oci-layout", "index.json", _blob_name(document.digest_of(EMPTY))}
        mine = []
        for row in rows:
            named.add(_blob_name(row["digest"]))
            if self._size(row["digest"]) != row.get("size"):
                raise malformed(f"{row['digest']} does not have the size that its descriptor says")
            manifest = _object(self._small(row["digest"], _SMALL))
            if "manifests" in manifest:
                raise malformed("a manifest in it is an index")
            if row.get("artifactType") == BUNDLE_TYPE:
                mine.append(manifest)
        if len(mine) != 1:
            raise malformed(f"its index names {len(mine)} documents of portkit")
        # portkit's document is the config of an artifact manifest (OCI image-spec 1.1, "Guidelines
        # for artifact usage"), so that registries' tools can carry a bundle.
        told = _described(mine[0].get("config"))["digest"]
        found = document.parse(self._small(told, document.LIMIT))
        self._config = parse_image_config(self._small(found.config, _SMALL))
        named |= {_blob_name(told), _blob_name(found.config)}
        named |= {_blob_name(each.packed) for each in found.contents() if each.packed}
        # Content that nothing names would travel unseen, and be unpacked by other tools.
        if strange := set(self._members) - named:
            raise malformed(f"nothing in it names {min(strange)}")
        self._fits(found)
        return found

    def _fits(self, found: Document) -> None:
        layers = {content.digest for content in found.layers}
        wanted = set(self._config.diff_ids) if "image" in found.forms else set()
        if layers != wanted:
            raise malformed("its layers are not those of the image's configuration")
        for content in found.contents():
            if content.packed and self._size(content.packed) != content.packed_size:
                raise malformed(f"{content.packed} does not have the size that is declared")

    def _announced(self) -> None:
        """The disk is about as large as the App asks for, or as what it holds: zeros take no room
        in a bundle, but hashing terabytes of them takes hours."""
        disk = self.document.disk
        if disk is None:
            return
        told = self.app.service.machine.disk_bytes
        held = disk.data_bytes + sum(content.size for content in self.document.layers)
        most = told + _MIB if told else held * _DISK_RATIO + _DISK_SPARE_BYTES
        size = disk.content.size
        if disk.data_bytes > size or size > max(most, _LEAST_DISK_BYTES):
            raise malformed(
                f"its disk has {size} bytes and {disk.data_bytes} of them are no holes: what the "
                f"App and its image ask for has at most {most}"
            )

    def _app(self) -> App:
        row = self.document
        app = described.read(row.app, row.ca, row.source)
        told = tuple(noted.finding() for noted in row.findings)
        known = {(finding.rule, finding.message) for finding in told}
        # What the reader finds wrong in it stands, whatever the bundle says about itself.
        found = tuple(f for f in app.findings if (f.rule, f.message) not in known)
        app = replace(app, findings=told + found)
        if app.service.health.ca_file is None:
            return app
        folder = runtime.subfolder()
        self._stack.callback(shutil.rmtree, folder)
        path = folder / "ca.pem"
        files.write(path, row.ca.encode())
        health = replace(app.service.health, ca_file=path)
        return replace(app, services=(replace(app.service, health=health),))

    # ---------------------------------------------------------------- what the target has to have

    def needs(self, store: Store) -> dict[str, int]:
        """Digests and sizes of what is neither in it nor in the Store here."""
        rows = self.document.contents()
        packed = {content.digest for content in rows if content.packed}
        wanted = {content.digest: content.size for content in rows if not content.packed}
        for content in rows:
            if not store.has(content.digest):
                wanted |= {base.digest: base.size for base in content.bases}
        return {
            digest: size
            for digest, size in wanted.items()
            if digest not in packed and not store.has(digest)
        }

    def parcels(self, store: Store) -> dict[str, Parcel]:
        """What can be made on the target alone, by digest: recipes whose bases are not here. Each
        comes after those that it is made from."""
        found = {}
        disk = self.document.disk
        for content in self.document.contents():
            if content.encoding == "recipe" and not store.has(content.digest):
                found[content.digest] = Parcel(
                    Blob(content.digest, content.size),
                    tuple(Blob(base.digest, base.size) for base in content.bases),
                    content.packed_size,
                    partial(self._pieces, content),
                    disk.data_bytes if disk and content is disk.content else None,
                )
        return found

    def _pieces(self, content: Content) -> Iterator[bytes]:
        try:
            yield from plain(content, self._file, self._members)
        except ValueError as error:
            raise malformed(f"{content.digest}: {error}"[:500]) from error


def _opened(path: Path) -> BinaryIO:
    try:
        # A FIFO of that name would block here until somebody writes to it; O_NONBLOCK does nothing
        # to a regular file.
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise AppError(
            "the bundle cannot be read",
            details=f"{path}: {error.strerror}",
            resolution="Check the path and its permissions.",
        ) from error


def _blob_name(digest: str) -> str:
    return "blobs/sha256/" + check_digest(digest)[7:]


def _object(data: bytes) -> JsonObject:
    try:
        row = strict_json.loads(data)
    except ValueError as error:
        raise malformed(f"a part of it that should be JSON is none: {error}") from None
    if not isinstance(row, dict):
        raise malformed("a part of it that should be a JSON object is none")
    return row


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > 16:
        raise malformed("its index has no manifests, or too many")
    return value


def _described(row: object) -> JsonObject:
    if not isinstance(row, dict):
        raise malformed("a descriptor in it is none")
    check_digest(str(row.get("digest")))
    return row
