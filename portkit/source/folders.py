"""The folders of a host that hold the data of a running App, and who else has to do with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from portkit.engines.docker_source import Held
from portkit.model import Finding, Severity
from portkit.text import listed

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container
    from portkit.engines.described.project import Volume

# Of volumes of the driver `local`: the engine mounts something else there while it is in use.
_MOUNTED = ("type", "device")


def data_folders(containers: Iterable[Container], bound: Collection[str]) -> dict[str, str]:
    """The volume, or "", that is in each folder of the host with data of the App, by its path.
    bound: the folders that travel in place of bind mounts."""
    volumes = {
        mount.Source.rstrip("/"): mount.Name
        for one in containers
        for mount in one.Mounts
        if mount.Type == "volume" and mount.Source
    }
    return {**{path.rstrip("/"): "" for path in bound}, **volumes}


def not_local(volumes: Iterable[Volume]) -> Iterator[Finding]:
    """Errors for volumes whose data is not in a folder of the host."""
    for volume in volumes:
        told = [f"{key}={volume.Options[key]}" for key in _MOUNTED if volume.Options.get(key)]
        if volume.Driver not in ("", "local") or told:
            what, name = ", ".join(told) or f"driver {volume.Driver[:80]}", volume.Name[:80]
            yield _error(
                "volume-not-local",
                f"the data of the volume {name} is not stored on the host ({what[:200]})",
                "Create a volume of that name on the target that has the same storage, and move "
                f"with --volumes {name}=keep. Or copy the data into a plain volume first.",
            )


def mounted_below(folders: Mapping[str, str], mounts: Sequence[str]) -> Iterator[Finding]:
    """Errors for what is mounted in them, which is not copied. mounts: all mount points there."""
    for path, volume in sorted(folders.items()):
        if inside := [each for each in mounts if _is_below(each, path) and each != path]:
            yield _error(
                "mounted-below",
                f"what is mounted below {_called(path, volume)} would stay behind: "
                f"{listed(inside)}",
                "Mount it at another place of the host and into the container as a mount of its "
                "own, or copy its content into the folder and unmount it.",
            )


def shared(folders: Mapping[str, str], others: Sequence[Held]) -> Iterator[Finding]:
    """What other running containers could go on writing after the App has moved. others: what
    these have mounted of the host."""
    for path, volume in sorted(folders.items()):
        for severity in (Severity.ERROR, Severity.WARNING):
            found = [each for each in others if _use(each, path, volume) is severity]
            if found:
                users = sorted({_user(each, volume) for each in found})
                yield Finding(
                    "volume-shared",
                    severity,
                    f"other running containers use {_called(path, volume)} too: {listed(users)}",
                    (),
                    "Stop them first. Containers that share data move together only as one "
                    "compose project (project:NAME).",
                )


def _use(other: Held, path: str, volume: str) -> Severity | None:
    """How much it matters that another container has something mounted; None where that is not
    the App's data, or a folder that it only reads."""
    if volume and other.volume == volume:
        return Severity.ERROR
    if not other.path or not other.writes:
        return None
    if _is_below(other.path, path):
        return Severity.ERROR
    if not _is_below(path, other.path):
        return None
    # A whole host, or all that the engine has: that is mounted for tools, which look after it.
    return Severity.WARNING if volume or other.path == "/" else Severity.ERROR


def _user(other: Held, volume: str) -> str:
    name = other.container[:12]
    return name if volume and other.volume == volume else f"{name} ({other.path[:200]})"


def _called(path: str, volume: str) -> str:
    return f"the volume {volume[:80]}" if volume else f"the folder {path[:200]}"


def _is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or in it."""
    return (path.rstrip("/") + "/").startswith(folder.rstrip("/") + "/")


def _error(rule: str, message: str, remedy: str) -> Finding:
    return Finding(rule, Severity.ERROR, message, (), remedy)
