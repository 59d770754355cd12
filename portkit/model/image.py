"""The configuration of an OCI image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portkit.model.health import Healthcheck

# Bytes of an image configuration. The distribution spec advises registries to take manifests of so
# many, and no configuration comes near it.
CONFIG_LIMIT = 4 << 20


@dataclass(frozen=True)
class ImageConfig:
    """The parts of an OCI image configuration that portkit acts on.

    Source: OCI image-spec v1.1, config.md; Healthcheck is Docker's extension of it.
    digest: of the configuration's own bytes, which is the image's id.
    diff_ids: sha256 of each uncompressed layer, bottom first.
    variant: of the architecture, such as "v7" of arm; "" is untold.
    env: "NAME=value" each; it may hold passwords, so no repr shows it.
    attestations: how many the index has that the image came in; they are no part of the image.
    """

    digest: str
    architecture: str
    os: str
    diff_ids: tuple[str, ...]
    env: tuple[str, ...] = field(default=(), repr=False)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    healthcheck: Healthcheck | None = None
    variant: str = ""
    attestations: int = field(default=0, compare=False)
