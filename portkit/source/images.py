"""What a source gives of an App: its images, and which service runs which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portkit.model import Artifact, ImageConfig
from portkit.package.image import joined


@dataclass(frozen=True)
class Images:
    """artifact: the images of all services, each once. services: that of each service, in their
    order in the App."""

    artifact: Artifact
    services: tuple[ImageConfig, ...]

    @classmethod
    def of(cls, images: Sequence[Artifact]) -> Images:
        """From the image of each service."""
        return cls(joined(images), tuple(image.config for image in images))
