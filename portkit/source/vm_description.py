"""What a VM was made of, as text, and back.

What comes back is a host's word. The App goes through the reader of compose files, as one from a
bundle does; the disk is known by its digest, which is what a target verifies.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from portkit.bundle import contents, described
from portkit.errors import AppError, HostError, VerifyError
from portkit.model import App, Artifact, ImageConfig
from portkit.store.manifest import artifact_from, manifest_of
from portkit.wire import strict_json

_SCHEMA = "portkit.vm/1"
LIMIT = 3 << 19  # characters; portkit.remote.vm_disks has the same


@dataclass(frozen=True)
class Description:
    """app: with the files that travel with it. cas: PEM of each CA that it names. images: of each
    service. disk: what the VM boots from, and what that was made of."""

    app: App
    cas: tuple[str, ...]
    images: tuple[ImageConfig, ...]
    disk: Artifact


def encode(app: App, images: Sequence[str], disk: Artifact) -> str:
    """The text. images: the digest of each service's image, of those that the disk was made of.
    AppError where it cannot be said, or is too long."""
    if not set(images) <= {image.digest for image in disk.images}:
        raise ValueError(f"the disk was not made of all of {images}")
    told = described.render(app, images)
    try:
        files = contents.encode(told.contents)
    except ValueError as error:
        raise AppError("the App's files cannot be described", details=str(error)) from error
    text = json.dumps(
        {
            "schema": _SCHEMA,
            "app": told.text,
            "cas": list(told.cas),
            "contents": base64.b64encode(files).decode(),
            "images": list(images),
            "disk": manifest_of(disk),
        }
    )
    if len(text) > LIMIT:
        raise AppError(
            "the App is too large to be described",
            details=f"{len(text)} characters, at most {LIMIT}",
        )
    return text


def decode(text: str, source: str) -> Description:
    """HostError where it is no description; AppError where its App is none. source: by what name
    the App is read again."""
    try:
        row = strict_json.loads(text.encode(), most=strict_json.MAX_CHECKED)
        if not isinstance(row, dict) or row.get("schema") != _SCHEMA:
            raise ValueError("it has another version")
        files = contents.decode(base64.b64decode(_text(row, "contents"), validate=True))
        cas = tuple(_texts(row, "cas"))
        names = _texts(row, "images")
        disk = artifact_from(json.dumps(row.get("disk")).encode())
        known = {image.digest: image for image in disk.images}
        images = tuple(known[name] for name in names)
        told = described.Described(_text(row, "app"), cas, files)
    except (ValueError, KeyError, VerifyError) as error:
        why = error.brief if isinstance(error, VerifyError) else type(error).__name__
        raise HostError(
            "the host's record of what a VM was made of cannot be read",
            details=f"{source}: {why}",
            resolution="It was made by another version of portkit. Move its App again from its "
            "compose file.",
        ) from None
    app = described.read(told, source)
    if len(images) != len(app.services):
        raise HostError(
            "the host's record of what a VM was made of is inconsistent",
            details=f"{source}: {len(app.services)} services, {len(images)} images",
        )
    return Description(app, cas, images, disk)


def _text(row: dict[str, object], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value


def _texts(row: dict[str, object], name: str) -> list[str]:
    values = row.get(name)
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ValueError(f"{name} is not a list of texts")
    return list(values)
