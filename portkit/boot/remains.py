"""What killed Moves left on a host and no engine shows as an Instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portkit.host import Host
from portkit.model import REMAINS, Form, Instance


@dataclass(frozen=True)
class Remain:
    """One thing that was left.

    kind: instance (a folder with disks), volume, network, or image (a name that holds one). id,
    app: of the Move that left it, "" where nothing says so. name: its own.
    """

    kind: str
    id: str
    app: str
    name: str


def found(host: Host, domains: Sequence[str] | None = None) -> tuple[Remain, ...]:
    """Everything that was left on a host.

    domains: the Instances that libvirt has. Without it (None), no folder can be called left.
    """
    asked = None if domains is None else list(domains)
    rows = host.remote.call("instance.remains", {"domains": asked})["remains"]
    return tuple(Remain(row["kind"], row["id"], row["app"], row["name"]) for row in rows)


def remains(host: Host, form: Form, domains: Sequence[str] | None = None) -> tuple[Instance, ...]:
    """What was left as Instances, one for each Move, so that `portkit rm` can remove it."""
    kinds = ("instance",) if form is Form.DISK else ("volume", "network", "image")
    rows: dict[str, Instance] = {}
    for each in found(host, domains):
        if each.kind in kinds and each.id:
            before = rows.get(each.id)
            # A name that holds an image says nothing of its App; a volume or a network does.
            app = each.app or (before.app if before else "")
            rows[each.id] = Instance(each.id, app, form, host.name, REMAINS)
    return tuple(rows.values())
