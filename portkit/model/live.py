"""What of a running App a Move stops at its source, and the data that it takes along."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LiveContainer:
    """A container of the source. restart: its restart policy before the Move, in compose's words.
    running: whether it ran when the Move was planned. changed: whether it had changed files of its
    image by then."""

    id: str
    service: str
    restart: str
    running: bool
    changed: bool = False


@dataclass(frozen=True)
class LiveVolume:
    """A volume of the source. number: as `AppSpec.volume_numbers` counts. name: what the engine
    calls it; "" for a folder of the host. path: where the source host has its content. created:
    when, as the engine says it."""

    number: int
    name: str
    path: str
    created: str = ""


@dataclass(frozen=True)
class Live:
    """A running App at its source.

    containers: each after those that it needs. volumes: by number, each once. clone: on the target
    they get new names, and not those that they have here.
    """

    containers: tuple[LiveContainer, ...]
    volumes: tuple[LiveVolume, ...]
    clone: bool = False
