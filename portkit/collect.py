"""What Moves left in a host's Store, told and removed; see portkit/remote/gc.py."""

from __future__ import annotations

from dataclasses import dataclass

from portkit.host import Host


@dataclass(frozen=True)
class Garbage:
    """kind: blob, base (of Instances' disks), part (of a cut transfer), tmp. bytes: on disk."""

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
    """Remove from a host's Store what no Instance and no held image there needs.

    dry_run: only list it. everything: include what is younger than an hour.
    """
    row = host.remote.call("store.gc", {"dry_run": dry_run, "all": everything})
    removed = tuple(Garbage(each["kind"], each["name"], each["bytes"]) for each in row["removed"])
    kept = row["kept_bytes"] - sum(
        each.bytes for each in removed if dry_run and each.kind == "blob"
    )
    return Collected(
        host.name, dry_run, removed, row["count"], row["bytes"], max(0, kept), row["busy"]
    )
