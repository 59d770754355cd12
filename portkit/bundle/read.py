"""One file -> App and Artifacts. Everything in it is taken for somebody else's.

Sizes are known before content is read, every byte is held against a digest, and nothing that no
manifest names may be in it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from portkit import runtime
from portkit.bundle import contents, described, parts, tar
from portkit.bundle.tar import malformed
from portkit.bundle.unpack import plain, unpack, whole
from portkit.bundle.write import BUNDLE_TYPE, EMPTY
from portkit.errors import AppError, HostError
from portkit.model import (
    CONFIG_LIMIT,
    App,
    Artifact,
    Blob,
    Facts,
    Form,
    ImageConfig,
    check_digest,
)
from portkit.package.image import joined
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
_MANIFESTS = 502  # of the image of each service, of the disk and of portkit's document
_KIND = re.compile(r"application/vnd\.portkit\.bundle\.v[0-9]{1,4}")
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

    app: what to run, with the content of its files. images: the image of each service, in the order
    of the App's services. forms: the forms that it contains. Raises VerifyError if it is damaged,
    and AppError if what it describes is not an App.
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
            self.images = self._by_service()
            # In the order in which an Artifact has them; the document's is that of names.
            self._configs = {image.digest: image for image in self.images}
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
        """The facts of the host where it was packed, as they were then."""
        return self._facts

    def _read_facts(self) -> Facts:
        from portkit.host.facts import parse_facts

        try:
            return parse_facts(self.document.facts)
        except HostError as error:
            raise malformed(
                f"the facts of its source host are not valid: {error.details}"[:500]
            ) from None

    def counters(self) -> Counters:
        """Nothing travels from a source host."""
        from portkit.host import Counters

        return Counters(0, 0, "bundle")

    def artifact(self, form: Form, store: Store, observer: Observer | None = None) -> Artifact:
        """An Artifact, with its blobs in the Store afterwards, every one verified.

        VerifyError if content is damaged or is not what was declared, SpaceError if there is not
        enough space, AppError if the bundle does not have that form.
        """
        self.require((form,))
        observer = observer or NullObserver()
        for digest in self._configs:
            store.put_bytes(self._small(digest, CONFIG_LIMIT))
        wanted = self.document.contents() if form is Form.DISK else self.document.layers
        disk = self.document.disk
        holes = {disk.content.digest: disk.content.size - disk.data_bytes} if disk else {}
        unpack(wanted, self._file, self._members, store, observer, holes)
        return self.described(form)

    def require(self, forms: Sequence[Form]) -> None:
        """Raise AppError if one of the forms is not in it."""
        for form in forms:
            if form not in self.forms:
                raise AppError(
                    f"the bundle does not contain the {form.value} form",
                    details=f"{self.path} contains: {', '.join(self.forms)}",
                    resolution=f"Use --form {self.forms[0].value}, or pack the App again.",
                )

    def described(self, form: Form) -> Artifact:
        """The Artifact, without unpacking any of it."""
        disk = self.document.disk
        if form is Form.DISK:
            assert disk is not None
            kit = tuple(Blob(each.digest, each.size) for each in disk.files)
            blob = Blob(disk.content.digest, disk.content.size)
            images, blobs = tuple(self._configs.values()), (*kit, blob)
            data = disk.data_bytes
            return Artifact(form, blob.digest, images, blobs, blob.size, data, disk.kit)
        image = joined([self._image(config) for config in self._configs.values()])
        if self.document.layers or disk is None:
            return image
        total = image.logical_bytes + disk.data_bytes  # of a bundle with the disk alone
        return replace(image, logical_bytes=total, stored_bytes=total)

    def _image(self, image: ImageConfig) -> Artifact:
        sizes = {content.digest: content.size for content in self.document.layers}
        config = Blob(image.digest, self._size(image.digest))
        layers = tuple(Blob(d, sizes[d]) for d in image.diff_ids if d in sizes)
        total = config.size + sum({layer.digest: layer.size for layer in layers}.values())
        return Artifact(Form.IMAGE, image.digest, (image,), (config, *layers), total, total)

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

        if _object(self._read("oci-layout", 1000)).get("imageLayoutVersion") != "1.0.0":
            raise malformed("it has another version of the OCI image layout")
        index = _object(self._read("index.json", _SMALL))
        rows = [_described(row) for row in _list(index.get("manifests"))]
        _check_total((self._size(row["digest"]) for row in rows), "manifests")
        named = {"oci-layout", "index.json", _blob_name(document.digest_of(EMPTY))}
        mine = []
        for row in rows:
            named.add(_blob_name(row["digest"]))
            if self._size(row["digest"]) != row.get("size"):
                raise malformed(f"{row['digest']} does not have the size that its descriptor says")
            manifest = _object(self._small(row["digest"], _SMALL))
            if "manifests" in manifest:
                raise malformed("one of its manifests is an index")
            if _KIND.fullmatch(kind := str(row.get("artifactType"))):
                _check_version(kind)
                mine.append(manifest)
        if len(mine) != 1:
            raise malformed(f"its index names {len(mine)} documents of portkit")
        # portkit's document is the config of an artifact manifest (OCI image-spec 1.1, "Guidelines
        # for artifact usage"), so that registries' tools can carry a bundle.
        told = _described(mine[0].get("config"))["digest"]
        found = document.parse(self._small(told, document.LIMIT))
        self._configs = self._read_configs(found)
        named |= {_blob_name(told), *map(_blob_name, self._configs)}
        named |= {_blob_name(each.packed) for each in found.members() if each.packed}
        # Content that nothing names would travel unseen, and be unpacked by other tools.
        if strange := set(self._members) - named:
            raise malformed(f"nothing in it refers to {min(strange)}")
        self._fits(found)
        return found

    def _read_configs(self, found: Document) -> dict[str, ImageConfig]:
        """Those of all images, by their digest."""
        from portkit.image_config import parse_image_config

        digests = dict.fromkeys(found.images.values())
        _check_total(map(self._size, digests), "configurations of images")
        return {each: parse_image_config(self._small(each, CONFIG_LIMIT)) for each in digests}

    def _fits(self, found: Document) -> None:
        layers = {content.digest for content in found.layers}
        every = {digest for image in self._configs.values() for digest in image.diff_ids}
        if layers != (every if "image" in found.forms else set()):
            raise malformed("its layers differ from those in the images' configurations")
        for content in found.members():
            if content.packed and self._size(content.packed) != content.packed_size:
                raise malformed(f"{content.packed} does not have the declared size")

    def _announced(self) -> None:
        """The disk is about as large as the App asks for, or as what it holds: zeros take no room
        in a bundle, but hashing terabytes of them takes hours."""
        disk = self.document.disk
        if disk is None:
            return
        told = self.app.machine.disk_bytes
        held = disk.data_bytes + sum(content.size for content in self.document.layers)
        most = told + _MIB if told else held * _DISK_RATIO + _DISK_SPARE_BYTES
        size = disk.content.size
        if disk.data_bytes > size or size > max(most, _LEAST_DISK_BYTES):
            raise malformed(
                f"its disk has {size} bytes, {disk.data_bytes} of them data; what the App and its "
                f"image ask for allows at most {most}"
            )

    def _app(self) -> App:
        row = self.document
        cas = tuple(row.cas)
        app = described.read(described.Described(row.app, cas, self._carried()), row.source)
        told = tuple(noted.finding() for noted in row.findings)
        known = {(finding.rule, finding.message) for finding in told}
        # What the reader finds wrong in it stands, whatever the bundle says about itself.
        found = tuple(f for f in app.findings if (f.rule, f.message) not in known)
        app = replace(app, findings=told + found)
        return self._with_cas(app, cas) if cas else app

    def _with_cas(self, app: App, cas: Sequence[str]) -> App:
        """The App with its CAs as files, as long as the bundle is open."""
        folder = runtime.subfolder()
        self._stack.callback(shutil.rmtree, folder)
        return described.trusting(app, cas, folder)

    def _carried(self) -> tuple[contents.Files, ...]:
        """The files that travel with the App."""
        row = self.document.carried
        if row is None:
            return ()
        try:
            data = whole(row, self._file, self._members)
            return contents.decode(data)
        except ValueError as error:
            raise malformed(f"the App's files: {error}"[:500]) from None

    def _by_service(self) -> tuple[ImageConfig, ...]:
        images, services = self.document.images, self.app.services
        if set(images) != {service.name for service in services}:
            raise malformed("the services of its App differ from those that it has images for")
        return tuple(self._configs[images[service.name]] for service in services)

    # ---------------------------------------------------------------- what the target has to have

    def needs(self, store: Store) -> dict[str, int]:
        """Digests and sizes of what is neither in it nor in this machine's Store."""
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
        """What can be made only on the target, by digest: recipes whose bases are not on this
        machine. Each comes after those that it is made from."""
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


def _check_version(kind: str) -> None:
    """AppError for a bundle of another version, which may be whole."""
    if kind != BUNDLE_TYPE:
        raise AppError(
            "the bundle was made by another version of portkit",
            details=f"it is a {kind}, and this version reads {BUNDLE_TYPE}",
            resolution="Pack the App again with this version, or move the bundle with the one that "
            "made it.",
        )


def _check_total(sizes: Iterable[int], what: str) -> None:
    """Each has a limit, but there may be hundreds of them."""
    from portkit.bundle import document

    if (total := sum(sizes)) > document.SMALL:
        raise malformed(f"its {what} have {total} bytes, at most {document.SMALL} are allowed")


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
        raise malformed(f"a part of it should be JSON but is not: {error}") from None
    if not isinstance(row, dict):
        raise malformed("a part of it should be a JSON object but is not")
    return row


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > _MANIFESTS:
        raise malformed("its index has no manifests or too many")
    return value


def _described(row: object) -> JsonObject:
    if not isinstance(row, dict):
        raise malformed("a descriptor in it is not valid")
    check_digest(str(row.get("digest")))
    return row
