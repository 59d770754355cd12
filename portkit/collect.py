"""What Moves left in a host's Store, told and removed; see portkit/remote/gc.py."""

from __future__ import annotations

from dataclasses import dataclass

from portkit import boot
from portkit.host import Host
from portkit.model import REMAINS, Form


@dataclass(frozen=True)
class Garbage:
    """kind: blob, base (of Instances' disks), part (of a cut transfer), tmp; of killed Moves:
    instance (a folder with disks), volume (an empty one), image (a name). bytes: on disk."""

    kind: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Collected:
    """removed: at most the first 1000; count and bytes are of all. kept_bytes: of the blobs that
    stay. busy: other connections at work, for whose sake only what is a day old was removed."""

    host: str
    dry_run: bool
    removed: tuple[Garbage, ...]
    count: int
    bytes: int
    kept_bytes: int
    busy: int


def collect(host: Host, *, dry_run: bool = False, everything: bool = False) -> Collected:
    """Remove from a host's Store what no Instance and no held image on that host needs.

    dry_run: only list it. everything: include what is younger than an hour.
    """
    args = {"dry_run": dry_run, "all": everything, "domains": _domains(host)}
    row = host.remote.call("store.gc", args)
    removed = tuple(Garbage(each["kind"], each["name"], each["bytes"]) for each in row["removed"])
    # The host counts what is there; in a dry run that is still with what would go.
    kept = row["kept_bytes"] - sum(
        each.bytes for each in removed if dry_run and each.kind == "blob"
    )
    return Collected(
        host.name, dry_run, removed, row["count"], row["bytes"], max(0, kept), row["busy"]
    )


def _domains(host: Host) -> list[str] | None:
    """The Instances that libvirt has there; None where it cannot be asked, so that none of their
    folders is taken for one that nothing needs."""
    if host.facts().libvirt_version is None:
        return None
    with boot.runner(host, Form.DISK) as domains:
        return [row.id for row in domains.instances() if row.status != REMAINS]
