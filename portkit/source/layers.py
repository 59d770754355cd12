"""What running containers have changed in their images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from portkit.clock import Clock
from portkit.host import Host
from portkit.model import Artifact, Finding, Severity
from portkit.package.changes import Changed, changed
from portkit.store import Store

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container


def changed_in(host: Host, one: Container, image: Artifact, store: Store, clock: Clock) -> Changed:
    """What a container has changed in its image, and the image with that."""
    mounts = [mount.Destination for mount in one.Mounts]
    mounts += [*one.HostConfig.Tmpfs, *(each.Target for each in one.HostConfig.Mounts)]
    return changed(
        host, one.Id, image, store, name=one.name, mounts=mounts, observer=clock.observer
    )


def layer_findings(service: str, made: Changed) -> Iterator[Finding]:
    """What of that travels, and what stays behind."""
    if made.digest:
        message = (
            f"{service}: {made.paths} files and folders that it has changed in its image are "
            f"moved as a layer of {made.size_bytes} bytes"
        )
        yield Finding("container-changed", Severity.INFO, message, (), "", (service,))
    if not made.exact:
        message = (
            f"{service}: it is not known whether everything was found that it has changed "
            "in its image"
        )
        yield Finding("container-changed", Severity.WARNING, message, (), "", (service,))
    if made.missing:
        more = f" and {made.untold} more" if made.untold else ""
        message = f"{service}: changed in its image but not moved: {len(made.missing)}{more}"
        yield Finding("container-changed", Severity.WARNING, message, made.missing, "", (service,))
