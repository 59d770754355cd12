"""Making a disk from an image: how long it takes, how much space, how large, and always the same.

a: `disk.build` of radicale's image against virt-make-fs of the same tree, from an existing tar.
b: the same against the packaging of an earlier commit of portkit, which booted an appliance.
c: the most space that it takes in the Store while it runs, as a share of the finished disk's data.
d: the qcow2 that `portkit pack` writes (version 3, zstd clusters of 256 KiB) against `zstd -3` of
   the layers, each once, and of the kit's kernel and initrd: the content that has to be carried
   anyway.
same: how many different disks result from one image and one kit in different circumstances
   (bench/same.py).
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import apps, earlier, harness, same
from portkit import process
from portkit.guest.kit import GuestKit, build_kit
from portkit.model import Artifact
from portkit.needs import appliance
from portkit.package.save import save
from portkit.store import Store
from tests.trees import flatten

NAME = "pack"
REPEAT = 5
LIMIT = 1.06
APPS = ("radicale", "registry")
_MB = 1e6
_TIMEOUT_S = 1200.0
# Run in the earlier commit's tree: the Store, the digest of the image's configuration. That commit
# cannot read what a Store of today says of an artifact, but it can read the image itself.
_EARLIER_BUILD = """
import time
from pathlib import Path
from bench import apps
from portkit.guest.kit import build_kit
from portkit.image_config import parse_image_config
from portkit.model import Artifact, Blob, Form
from portkit.store import Store
store, kit = Store(Path(sys.argv[1])), build_kit()
config = parse_image_config(store.path(sys.argv[2]).read_bytes())
blobs = tuple(Blob(each, store.size(each)) for each in (config.digest, *config.diff_ids))
total = sum(blob.size for blob in blobs)
image = Artifact(Form.IMAGE, config.digest, config, blobs, total, total)
start = time.monotonic()
apps.disk_of(image, kit, store)
print(time.monotonic() - start)
"""


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


def size(name: str, kit: GuestKit, folder: Path) -> harness.Row:
    picture = apps.image_of(name)
    made = apps.disk_of(picture, kit)
    return harness.compare(
        f"d: {name}, packed disk",
        ours=lambda: packed_mb(made, name, folder),
        peer=lambda: parts_mb(picture, kit, folder),
        unit="MB",
        limit=LIMIT,
    )


@contextmanager
def fresh(picture: Artifact, folder: Path) -> Iterator[Store]:
    """A Store that has the image and nothing else."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = Store(Path(name) / "store")
        apps.put(picture, store)
        yield store


def seconds(picture: Artifact, kit: GuestKit, folder: Path) -> float:
    with fresh(picture, folder) as store:
        start = time.monotonic()
        apps.disk_of(picture, kit, store)
        return time.monotonic() - start


def virt_make_fs(tree: Path, kit: GuestKit, folder: Path) -> float:
    out = folder / "peer.raw"
    env = {**appliance.environment(kit, folder), "LIBGUESTFS_MEMSIZE": "512"}
    argv = ["virt-make-fs", "--type=ext4", "--format=raw", tree, out]
    start = time.monotonic()
    process.run(argv, env=env, timeout=_TIMEOUT_S)
    taken = time.monotonic() - start
    out.unlink()
    return taken


def earlier_seconds(picture: Artifact, tree: Path, folder: Path) -> float:
    with fresh(picture, folder) as store:
        return float(earlier.run(tree, _EARLIER_BUILD, [store.root, picture.config.digest]))


def times(picture: Artifact, kit: GuestKit, folder: Path) -> list[harness.Row]:
    tree = folder / "tree.tar"
    with tree.open("wb") as out:
        flatten([apps.store().path(digest) for digest in picture.config.diff_ids], out)
    with earlier.tree(folder) as before:
        found = harness.turns(
            {
                "pack, ours": lambda: seconds(picture, kit, folder),
                "pack, virt-make-fs": lambda: virt_make_fs(tree, kit, folder),
                "pack, earlier": lambda: earlier_seconds(picture, before, folder),
            },
            REPEAT,
        )
    tree.unlink()
    ours, peer, old = found.values()
    return [
        harness.Row("a: radicale, disk of a ready image", "s", ours, peer, 0.20),
        harness.Row(f"b: radicale, disk of a ready image, {earlier.COMMIT}", "s", ours, old, 0.25),
    ]


def room(picture: Artifact, kit: GuestKit, folder: Path) -> float:
    """The most room while a disk is made, as a share of its data."""
    with fresh(picture, folder) as store:
        before, most, done = _used(store.root), 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.02):
                most = max(most, _used(store.root))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            made = apps.disk_of(picture, kit, store)
        finally:
            done.set()
            watching.join()
        return (most - before) / made.stored_bytes


def _used(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).stat().st_blocks * 512
            except FileNotFoundError:  # it has been renamed since it was listed
                continue
    return total


def main() -> int:
    kit = build_kit()
    # Beside the Store: a disk may be larger than /tmp.
    apps.store().root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=apps.store().root.parent) as name:
        folder = Path(name)
        rows = [size(each, kit, folder) for each in APPS]
        picture = apps.image_of("radicale")
        rows += times(picture, kit, folder)
        rows.append(
            harness.compare(
                "c: radicale, most room while its disk is made",
                ours=lambda: room(picture, kit, folder),
                peer=None,
                unit="times its data",
                limit=2.2,
                repeat=REPEAT,
            )
        )
        rows.append(same.row(picture, kit, folder))
    return harness.finish(NAME, rows)


if __name__ == "__main__":
    sys.exit(main())
