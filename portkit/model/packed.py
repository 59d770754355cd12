"""An App with all that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portkit.model.artifact import Artifact, Form
from portkit.model.image import ImageConfig
from portkit.model.service import App


@dataclass(frozen=True)
class PackedApp:
    """An App with its Artifacts.

    app: with the content of its files. images: the image of each service, in the order of the App's
    services. artifacts: one for each Form.
    """

    app: App
    images: tuple[ImageConfig, ...]
    artifacts: Mapping[Form, Artifact]
