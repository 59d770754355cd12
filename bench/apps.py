"""The fixture apps as portkit packages them: built on a practice host, fetched, put on disks."""

from __future__ import annotations

from pathlib import Path

from bench.harness import tell
from portkit import app as apps
from portkit import host as hosts
from portkit import lab
from portkit.guest.kit import GuestKit
from portkit.model import Artifact
from portkit.package import disk, image
from portkit.package.build import build
from portkit.store import Store, default_root

FIXTURES = Path(__file__).parents[1] / "fixtures/apps"
HOST = "alpha"
KEY = "bench"


class Teller:
    """An Observer that tells messages and nothing else."""

    def phase(self, name: str) -> None: ...

    def message(self, text: str) -> None:
        tell(text)

    def bytes(self, name: str, done: int, total: int | None) -> None: ...


def store() -> Store:
    return Store(default_root())


def image_of(name: str) -> Artifact:
    """The app's image, in the Store; the practice host that builds it is raised first."""
    observer = Teller()
    lab.up((HOST,), observer)
    lab.load_base(HOST, observer=observer)
    app = apps.load(FIXTURES / name)
    with hosts.connect(f"lab:{HOST}") as source:
        assert app.services[0].build is not None, f"{name} has a Dockerfile"
        reference = build(source, app.services[0].build, observer)
        return image.fetch(source, reference, store(), observer)


def put(picture: Artifact, where: Store) -> None:
    """The image, by the key KEY, in a Store that has nothing else."""
    for blob in picture.blobs:
        where.add_file(store().path(blob.digest))
    where.save(picture, KEY)


def disk_of(picture: Artifact, kit: GuestKit, where: Store | None = None) -> Artifact:
    """The disk of an image, in the Store (`where`). It boots on the image's own defaults."""
    defaults = apps.defaults(picture.config)
    return disk.build(picture, defaults, kit, where or store(), observer=Teller())
