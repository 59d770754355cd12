"""Volumes of an engine that a Move did not make, and whose place or content an App is to take."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from portkit.engines.docker_errors import errors
from portkit.engines.docker_source import DockerSource
from portkit.errors import ConflictError, IncompatibleError

if TYPE_CHECKING:  # it loads the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Volume


# What does not write: not started yet, or over. Of any other state it may.
_ENDED = ("created", "exited", "dead", "configured", "initialized", "stopped")


class DockerVolumes(DockerSource):
    """The engine of a host that has volumes of the names that an App brings. It is only asked."""

    def places(self, replaced: Sequence[str], kept: Sequence[str]) -> dict[str, str]:
        """Where the host has the content of each of these volumes.

        ConflictError when one of these, or of those that are to be kept, is not there any more, or
        a container that runs uses it; IncompatibleError when one that is to be replaced is not
        simply a folder of the engine's.
        """
        names = [*replaced, *kept]
        known = {each.Name: each for each in self._volumes()}
        for name in names:
            if name not in known:
                raise ConflictError(
                    "a volume of the target no longer exists",
                    details=f"{name} on {self._host}, which existed when the Move was planned",
                    resolution="Roll the Move back, and move again.",
                )
        for name in replaced:
            self._require_plain(known[name])
        self.require_unused(names)
        return {name: known[name].Mountpoint for name in names}

    def present(self, names: Sequence[str]) -> frozenset[str]:
        """Those of these volumes that are there."""
        return frozenset(names).intersection(each.Name for each in self._volumes())

    def require_unused(self, names: Sequence[str], but: Collection[str] = ()) -> None:
        """ConflictError when a container that runs uses one of these volumes. but: ids of those
        that may."""
        for name in names:
            if users := [each for each in self._running_on(name) if each not in but]:
                raise ConflictError(
                    "a volume of the target is in use",
                    details=f"{name} on {self._host}, by container "
                    f"{', '.join(each[:12] for each in users)[:500]}",
                    resolution="Stop what uses it, and try again. Or put the data into a volume "
                    f"with a new name: --volumes {name}=clone.",
                )

    def _running_on(self, name: str) -> list[str]:
        # Not by a filter of states: Podman knows others than Docker.
        with errors(self._host, "list containers"):
            rows = self._listed({"volume": name}, all_=True)
        return [row.Id for row in rows if row.State not in _ENDED]

    def _require_plain(self, volume: Volume) -> None:
        if volume.Driver not in ("", "local") or volume.Options:
            raise IncompatibleError(
                "a volume of the target is not a plain folder of its engine",
                details=f"{volume.Name} on {self._host}: driver {volume.Driver}, options "
                f"{', '.join(sorted(volume.Options)) or 'none'}",
                resolution="Put the data into a volume with a new name: --volumes "
                f"{volume.Name}=clone.",
            )
