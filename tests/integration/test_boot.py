"""Guests that go wrong on their way up, on a real libvirt."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit import app as apps
from portkit import move as moves
from portkit import process
from portkit.clock import Clock
from portkit.errors import BootError
from portkit.host import connect
from portkit.lab import Lab
from portkit.model import Artifact, Blob, Form
from portkit.move.carry import carry_out
from portkit.move.prepare import Job, Links, Packed, Turn
from portkit.progress import NullObserver
from portkit.source import OnHost
from portkit.store import Store
from portkit.wire.sparse import copy_sparse

CPIO = b"070701"
pytestmark = pytest.mark.lab


def on(lab: Lab, name: str, command: str) -> str:
    return process.run(["ssh", "-F", lab.ssh_config, f"lab-{name}", command]).text


def write_app(folder: Path) -> Path:
    (folder / "compose.yaml").write_text(
        "services:\n  bad:\n    image: debian:bookworm-slim\n    command: [sleep, '99']\n"
        "    ports: ['8099:80']\n    x-portkit: {health: {timeout: 40s}}\n"
    )
    return folder


@pytest.fixture
def disk(lab: Lab, store: Path, tmp_path: Path) -> Iterator[tuple[Store, Artifact, Path]]:
    """The base image's disk, and a copy of it that may be damaged."""
    kept = Store(store)
    app = apps.load(write_app(tmp_path))
    with connect("lab:alpha") as source:
        packed = moves.pack(app, source=OnHost(source), forms=[Form.DISK], store=kept)
    artifact = packed.artifacts[Form.DISK]
    copy = tmp_path / "copy.raw"
    copy_sparse(kept.path(artifact.digest), copy)
    yield Store(tmp_path / "store"), artifact, copy


def boot(store: Store, artifact: Artifact, raw: Path, folder: Path) -> None:
    """Send that content as the disk and start it on beta; all of it is taken back."""
    blob: Blob = store.add_file(raw)
    bad = Artifact(Form.DISK, blob.digest, artifact.images, (blob,), blob.size, blob.size)
    app = apps.load(folder)
    with connect("lab:alpha") as origin, connect("lab:beta") as target:
        source, observer = OnHost(origin), NullObserver()
        packed = Packed(
            move=moves.new_id(),
            app=app,
            spec=apps.resolve_all(app, [artifact.config]),
            image=bad,
            artifacts={Form.DISK: bad},
            source=source.facts(),
            target=target.facts(),
            findings={Form.DISK: ()},
            turn=Turn(Clock(observer), Links(source, target)),
        )
        job = Job((app,), source, (Form.DISK,), store, observer, target)
        carry_out(packed, job, moves.Journal(), None, 1)


def test_a_guest_that_panics_is_shown(
    lab: Lab, disk: tuple[Store, Artifact, Path], tmp_path: Path
) -> None:
    """Hostile input 49: without its initrd the kernel finds no root; the console says so."""
    store, artifact, raw = disk
    with raw.open("r+b") as file:
        boot_partition = file.read(48 << 20)
        archives = [at for at in range(0, 48 << 20, 512) if boot_partition[at : at + 6] == CPIO]
        # A file in one of them may begin at such a place, too.
        assert len(archives) >= 2, "the kit's and the image's own"
        for at in archives:
            file.seek(at)
            file.write(bytes(512))
    with pytest.raises(BootError, match="the guest ended before it answered") as caught:
        boot(store, artifact, raw, tmp_path)
    assert "panic" in caught.value.details
    assert f"portkit-{apps.load(tmp_path).name}-" not in on(lab, "beta", "virsh list --all --name")


def test_a_guest_without_a_loader_is_given_up(
    lab: Lab, disk: tuple[Store, Artifact, Path], tmp_path: Path
) -> None:
    """Hostile input 49: firmware that finds nothing to boot waits for ever; we do not."""
    store, artifact, raw = disk
    (tmp_path / "compose.yaml").write_text(
        (tmp_path / "compose.yaml").read_text().replace("timeout: 40s", "timeout: 5s")
    )
    with raw.open("r+b") as file:
        file.write(os.urandom(512))
    with pytest.raises(BootError, match="did not answer within 5 s"):
        boot(store, artifact, raw, tmp_path)
    assert f"portkit-{apps.load(tmp_path).name}-" not in on(lab, "beta", "virsh list --all --name")
