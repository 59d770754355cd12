"""Debian's packages for an architecture that is not this machine's.

apt is given lists of its own for it, so that neither dpkg nor the machine's lists learn of another
architecture, and no root is needed.
"""

from __future__ import annotations

from pathlib import Path

from portkit import process

_LISTS = Path("/var/lib/apt/lists")
_STRICT = ("-o", "APT::Update::Error-Mode=any")


def options(cache: Path, architecture: str) -> list[str]:
    """What apt-get and apt-cache need to see packages of that architecture: nothing for the
    machine's own. ToolError when its lists cannot be fetched.

    They are fetched the first time, and after each `apt-get update` of the machine.
    """
    told = process.run(["dpkg", "--print-architecture"], timeout=30).text.strip()
    if architecture == told:
        return []
    folder = cache / f"apt-{architecture}"
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(mode=0o755, parents=True, exist_ok=True)
    status, done = folder / "status", folder / "updated"
    status.touch()
    chosen = [
        f"APT::Architecture={architecture}",
        f"APT::Architectures={architecture}",
        f"Dir::State={folder}",
        f"Dir::State::status={status}",
        f"Dir::Cache={folder / 'cache'}",
        "Acquire::Languages=none",
    ]
    words = [word for row in chosen for word in ("-o", row)]
    if not done.exists() or _changed(_LISTS) > done.stat().st_mtime:
        # Else it says 0 also where it could not fetch a list, and goes on without that one.
        process.run(["apt-get", *words, *_STRICT, "-q", "update"], timeout=300)
        done.touch()
    return words


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
