"""What an Instance is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portkit.model import AppSpec, Artifact, Facts


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """What an Instance is made from. identity: the id of its Move. held: the name that holds each
    image (by its digest) on the host; none for a disk. facts: of the host."""

    identity: str
    artifact: Artifact
    held: Mapping[str, str]
    spec: AppSpec
    facts: Facts
