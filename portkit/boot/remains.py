"""What a killed Move left on a host that no engine shows as an Instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portkit.host import Host
from portkit.model import REMAINS, Form, Instance


@dataclass(frozen=True)
class Remain:
    """kind: instance (a folder with disks), volume, image (a name that holds one). id: of the Move,
    app: its App, "" where nothing says it. name: the thing's own."""

    kind: str
    id: str
    app: str
    name: str


def found(host: Host, domains: Sequence[str] | None = None) -> tuple[Remain, ...]:
    """All of it on a host. domains: the Instances that libvirt has; None judges no folder."""
    asked = None if domains is None else list(domains)
    rows = host.remote.call("instance.remains", {"domains": asked})["remains"]
    return tuple(Remain(row["kind"], row["id"], row["app"], row["name"]) for row in rows)


def remains(host: Host, form: Form, domains: Sequence[str] | None = None) -> tuple[Instance, ...]:
    """The same as Instances of a Form, one for each Move: `rm` removes them."""
    kinds = ("instance",) if form is Form.DISK else ("volume", "image")
    rows: dict[str, Instance] = {}
    for each in found(host, domains):
        if each.kind in kinds and each.id:
            before = rows.get(each.id)
            # A name that holds an image says nothing of its App; a volume of the same Move does.
            app = each.app or (before.app if before else "")
            rows[each.id] = Instance(each.id, app, form, host.name, REMAINS)
    return tuple(rows.values())
