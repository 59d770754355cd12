"""An App in one Form, as content that can travel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portkit.model.digest import Blob
from portkit.model.image import ImageConfig


class Form(StrEnum):
    """What an App is made into."""

    IMAGE = "image"
    DISK = "disk"


@dataclass(frozen=True)
class Artifact:
    """One App in one Form.

    digest: of its config (image) or of the disk's raw content (disk).
    config: the configuration of the image, also where the Form is the disk made from it.
    blobs: everything that has to be in the target's Store or engine, in order
    (image: config, then layers bottom first; disk: kernel, initrd and boot partition of its kit,
    then the raw disk).
    logical_bytes: what the content is to its reader. stored_bytes: what it takes on a file system,
    which for a disk is less, because its holes take nothing.
    """

    form: Form
    digest: str
    config: ImageConfig
    blobs: tuple[Blob, ...]
    logical_bytes: int
    stored_bytes: int
    kit: str | None = None  # digest of the GuestKit inside a disk
