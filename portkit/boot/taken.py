"""Volumes of the target that an App takes: what they had, and how they get it back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from portkit.host import Host
from portkit.wire.json_types import JsonObject


@dataclass(frozen=True)
class SetAside:
    """What a volume had before a Move. place: where the host has it now. bytes: on its disk."""

    move: str
    volume: str
    place: str
    bytes: int


def places(host: Host, replaced: Sequence[str], kept: Sequence[str]) -> dict[str, str]:
    """As `DockerVolumes.places`."""
    # Imported here because the SDK may be absent where no engine is used.
    from portkit.engines.docker_volumes import DockerVolumes

    with closing(DockerVolumes(host.docker_socket(), host.name)) as engine:
        return engine.places(replaced, kept)


def present(host: Host, names: Sequence[str]) -> frozenset[str]:
    """Those of these volumes that the engine has."""
    from portkit.engines.docker_volumes import DockerVolumes

    with closing(DockerVolumes(host.docker_socket(), host.name)) as engine:
        return engine.present(names)


def set_aside(
    host: Host, identity: str, replaced: dict[str, str], kept: dict[str, str]
) -> Sequence[str]:
    """Those to be replaced, by their names and places, are empty; what they had is beside them.
    ConflictError where another Move that has not ended has taken one of them, or one that is to be
    kept. Returns the records of other Moves there that cannot be read."""
    found = host.remote.call(
        "volume.aside", {"id": identity, "volumes": _rows(replaced), "keeps": _rows(kept)}
    )
    return [str(path) for path in found["unreadable"]]


def _rows(found: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "path": path} for name, path in found.items()]


def left(host: Host, identity: str) -> tuple[SetAside, ...]:
    """What a Move has set aside on a host, and is still there."""
    return _set_aside(host.remote.call("volume.kept", {"id": identity, "sizes": True})["volumes"])


def beside(host: Host, found: dict[str, str]) -> tuple[SetAside, ...]:
    """What any Move has set aside beside these volumes, by name and place; without sizes."""
    return _set_aside(host.remote.call("volume.beside", {"volumes": _rows(found)})["volumes"])


def _set_aside(rows: Sequence[JsonObject]) -> tuple[SetAside, ...]:
    return tuple(SetAside(row["id"], row["name"], row["path"], row["bytes"]) for row in rows)


def put_back(host: Host, identity: str) -> None:
    """Every volume has what it had before the Move; what it has now is removed. Nothing where the
    Move has set nothing aside. ConflictError while a container that runs uses one of them."""
    from portkit.engines.docker_volumes import DockerVolumes

    rows = host.remote.call("volume.kept", {"id": identity, "sizes": False})["volumes"]
    names = [row["name"] for row in rows]
    if names:
        with closing(DockerVolumes(host.docker_socket(), host.name)) as engine:
            engine.require_unused(names)
    host.remote.call("volume.back", {"id": identity})


def drop(host: Host, identity: str) -> None:
    """Remove what a Move has set aside."""
    host.remote.call("volume.drop", {"id": identity})
