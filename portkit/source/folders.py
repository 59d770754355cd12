"""The folders of a host that hold the data of a running App, and what else is in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from portkit.host import Host
from portkit.model import Finding, Severity
from portkit.text import listed

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container


def data_folders(containers: Sequence[Container]) -> dict[str, str]:
    """By what people know each volume and each bound path, by its path on the host."""
    return {
        mount.Source.rstrip("/") or "/": mount.Name or mount.Source
        for one in containers
        for mount in one.Mounts
        if mount.Type in ("volume", "bind") and mount.Source
    }


def mounted_below(host: Host, folders: dict[str, str]) -> Iterator[Finding]:
    """Errors for what is mounted in them, which is not copied. folders: as `data_folders`."""
    mounts = host.remote.call("volume.mounted", {"paths": sorted(folders)})["mounts"]
    for path, name in sorted(folders.items()):
        if inside := [each for each in mounts if is_below(each, path) and each != path]:
            yield Finding(
                "mounted-below",
                Severity.ERROR,
                f"what is mounted below {name[:200]} would stay behind: {listed(inside)}",
                (),
                "Mount it at another place of the host and into the container as a mount of its "
                "own, or copy its content into the folder and unmount it.",
            )


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
