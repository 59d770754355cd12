"""Containers that run beside those of an App, and have to do with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from portkit.engines.docker_source import Beside
from portkit.errors import AppError
from portkit.model import Finding, Severity

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container
    from portkit.engines.described.project import Seen

_CONTAINER = "container:"  # of a mode, before the id or the name of the other one


def left_alone(containers: Sequence[Container], beside: Sequence[Beside]) -> Iterator[Finding]:
    """Warnings for those that need a container of the App, which moves away without them."""
    for one in containers:
        own = {f"{_CONTAINER}{each}" for each in (one.Id, one.name)}
        for other in beside:
            shares, needs = bool(own & other.modes), one.service in other.needs
            if not (shares or needs):
                continue
            how = "shares a namespace of" if shares else "depends on"
            lost = ", and cannot do without it" if shares else ""
            remedy = (
                f"Move the whole project instead: project:{one.project}."
                if one.project
                else f"Change {other.name} before the Move, or move both as one compose project."
            )
            yield Finding(
                "source-needed",
                Severity.WARNING,
                f"{other.name}, which stays, {how} {one.name}{lost}",
                (other.name,),
                remedy,
                (one.service,),
            )


def require_own(seen: Seen) -> None:
    """AppError where a container shares a namespace of one that is not part of the App."""
    known = {f"{_CONTAINER}{each}" for one in seen.containers for each in (one.Id, one.name)}
    for one in seen.containers:
        host = one.HostConfig
        for mode in (host.NetworkMode, host.PidMode, host.IpcMode):
            if not mode.startswith(_CONTAINER) or mode in known:
                continue
            other = mode.removeprefix(_CONTAINER)
            name = seen.others.get(other, other[:12])
            raise AppError(
                "the container shares a namespace of another one, which would stay behind",
                details=f"{one.name} is in the network, or with the processes, of {name}",
                resolution=f"Move the whole project: project:{one.project}."
                if one.project
                else "Run both as one compose project, in which one has `network_mode: "
                "service:NAME` (portkit show writes what each has), and move that.",
            )
