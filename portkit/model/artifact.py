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

    digest: of the image's config, or of the disk's raw content; of several images that of their
    digests. images: the configurations of its images, each once, also where the Form is the disk
    made from them. blobs: everything that has to be in the target's Store or engine, in order
    (image: config, then layers bottom first, of each image; disk: kernel, initrd and boot partition
    of its kit, then the raw disk).
    logical_bytes: what the content is to its reader. stored_bytes: what it takes on a file system,
    which for a disk is less, because its holes take nothing.
    """

    form: Form
    digest: str
    images: tuple[ImageConfig, ...]
    blobs: tuple[Blob, ...]
    logical_bytes: int
    stored_bytes: int
    kit: str | None = None  # digest of the GuestKit inside a disk

    @property
    def config(self) -> ImageConfig:
        """The configuration of its first image."""
        return self.images[0]

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The layers of all its images, each once."""
        return tuple(dict.fromkeys(layer for image in self.images for layer in image.diff_ids))
