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

    digest: of the image's config, or of the disk's raw content; for several images, the digest of
    their digests. images: the configurations of its images, each once, also if the Form is the disk
    made from them. blobs: everything that has to be in the target's Store or engine, in order
    (image: config, then layers from the bottom up, for each image; disk: kernel, initrd and boot
    partition of its kit, then the raw disk).

    logical_bytes: the size that a reader sees. stored_bytes: the space on a file system, which is
    less for a disk, because its holes take no space.
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
