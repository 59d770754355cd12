"""What a source gives of an App: its images, and which service runs which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portkit.clock import Clock
from portkit.model import App, AppSpec, Artifact, DataFolder, ImageConfig, Live
from portkit.package.image import joined
from portkit.store import Store


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


class FromImages:
    """What every Source has in common whose Apps are made from images alone."""

    def again(self, app: App, store: Store, clock: Clock) -> Images | None:
        """None: an image stays what it is."""
        return None

    def live(self, spec: AppSpec) -> Live | None:
        """None: nothing of what runs is taken over."""
        return None

    def data(self, spec: AppSpec) -> tuple[DataFolder, ...]:
        """None: nothing is taken over."""
        return ()
