"""What a packed disk weighs: `portkit pack --form disk` against what it is made of.

Ours is the qcow2 (version 3, zstd clusters of 256 KiB) that people take away. Peer is `zstd -3` of
the image's layers, each once, and of the GuestKit's kernel and initrd: what had to be carried
anyway. Sizes are bytes of the files; nothing here depends on the machine's speed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench import apps, harness
from portkit import process
from portkit.guest.kit import GuestKit, build_kit
from portkit.model import Artifact
from portkit.package.save import save

NAME = "pack"
LIMIT = 1.07
APPS = ("radicale", "registry")
_MB = 1e6


def packed_mb(made: Artifact, name: str, folder: Path) -> float:
    """The packed disk's size in MB."""
    path = folder / f"{name}.qcow2"
    save(made, apps.store(), path, name)
    try:
        return path.stat().st_size / _MB
    finally:
        path.unlink()


def parts_mb(picture: Artifact, kit: GuestKit, folder: Path) -> float:
    """The layers and the kit, compressed each by itself, in MB."""
    layers = [apps.store().path(digest) for digest in dict.fromkeys(picture.config.diff_ids)]
    path = folder / "parts.zst"
    with path.open("wb") as out:
        process.run(["zstd", "-3", "-q", "-c", *layers, kit.kernel, kit.initrd], stdout=out)
    try:
        return path.stat().st_size / _MB
    finally:
        path.unlink()


def row(name: str, kit: GuestKit, folder: Path) -> harness.Row:
    picture = apps.image_of(name)
    made = apps.disk_of(picture, kit)
    return harness.compare(
        f"{name}, packed disk",
        ours=lambda: packed_mb(made, name, folder),
        peer=lambda: parts_mb(picture, kit, folder),
        unit="MB",
        limit=LIMIT,
    )


def main() -> int:
    kit = build_kit()
    # Beside the Store: a disk may be larger than /tmp.
    apps.store().root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=apps.store().root.parent) as folder:
        rows = [row(name, kit, Path(folder)) for name in APPS]
    return harness.finish(NAME, rows)


if __name__ == "__main__":
    sys.exit(main())
