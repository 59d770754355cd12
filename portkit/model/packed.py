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

    app: with the content of its files. images: that of each service, in their order in the App.
    artifacts: in each Form.
    """

    app: App
    images: tuple[ImageConfig, ...]
    artifacts: Mapping[Form, Artifact]
