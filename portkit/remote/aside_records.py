"""The records of what Moves have set aside on a host: one for each Move, ROOT/aside/pk-ID.json.

One that cannot be read holds up its own Move, and what takes a volume beside which that Move has
something; no other.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Dict, List, Optional, TypedDict

from portkit.remote import leases, store
from portkit.wire import strict_json
from portkit.wire.frames import RemoteError


class Row(TypedDict):
    """A volume whose content was, or is being, set aside. inode: of the folder that is its
    content. new: inode of the folder that took its place; both are on the file system of their
    parent, whose number is another after a boot. lost: that it is not there any more was told."""

    name: str
    path: str
    inode: int
    new: int
    lost: bool


def path_of(identity: object) -> Path:
    """Where the record of a Move is or would be."""
    return leases.ROOT / "aside" / leases.path_of(identity).name


def recorded() -> List[str]:
    """The Moves that have a record on this host."""
    found = [path.stem for path in sorted((leases.ROOT / "aside").glob("pk-*.json"))]
    return [each for each in found if leases.is_id(each)]


def read(identity: object) -> Optional[List[Row]]:
    """What a Move has set aside, or None where it has nothing; HostError when it cannot be read."""
    path = path_of(identity)
    try:
        document = strict_json.loads(path.read_bytes())
        return [
            {
                "name": str(row["name"]),
                "path": str(row["path"]),
                "inode": int(row["inode"]),
                "new": int(row["new"]),
                "lost": bool(row["lost"]),
            }
            for row in document["volumes"]
        ]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise damaged(path, type(error).__name__) from error


def damaged(path: Path, why: str) -> RemoteError:
    """The error of whatever needs such a record."""
    return RemoteError(
        "HostError",
        "the record of what a Move has set aside on the host cannot be read",
        "%s: %s" % (path, why),
        "See what is in that file: what it set aside is beside each volume, as portkit-was-%s."
        % path.stem,
    )


def unreadable() -> List[str]:
    """The records on this host that cannot be read."""
    found = []
    for identity in recorded():
        try:
            read(identity)
        except RemoteError:
            found.append(str(path_of(identity)))
    return found


def write(identity: object, rows: List[Row]) -> None:
    """A record, as a whole or as it was before."""
    path = path_of(identity)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with open(str(fresh), "wb") as file:
        file.write(json.dumps({"volumes": rows}, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    store.sync_folder(path.parent)


def others(identity: str) -> "Dict[str, Optional[List[Row]]]":
    """What other Moves have set aside on this host; None where that cannot be read."""
    found: Dict[str, Optional[List[Row]]] = {}
    for each in recorded():
        if each != identity:
            try:
                found[each] = read(each) or []
            except RemoteError:
                found[each] = None
    return found


def forget(identity: str) -> None:
    """The Move has nothing aside any more."""
    try:
        path_of(identity).unlink()
    except FileNotFoundError:
        return
