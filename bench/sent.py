"""The artifacts for the transfer benchmark, and sending them with portkit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import apps
from bench.harness import tell
from bench.hosts import SHAPED, SOURCE, Cost, clear, cost, target
from portkit import host as hosts
from portkit import process, transfer
from portkit.guest.kit import GuestKit
from portkit.model import Artifact, Blob, Build, Form
from portkit.package import image
from portkit.package.build import build
from portkit.store import Store

CONTEXT = Path(__file__).parent / "context"
# Each holds its images under names of its own: what was known before stays when a run is undone.
_KNOWN, _MEASURED = "pk-000000000000", "pk-000000000001"


@dataclass(frozen=True)
class Pair:
    """An app in both forms. reference: the image's id on the source host."""

    reference: str
    image: Artifact
    disk: Artifact

    @property
    def both(self) -> tuple[Artifact, Artifact]:
        return self.image, self.disk

    @property
    def kit(self) -> Artifact:
        """Kernel and initrd alone, as a host has them that got another disk before."""
        return kit_of(self.disk)


def kit_of(disk: Artifact) -> Artifact:
    """What every disk brings and a host needs once: the blobs before the disk's own."""
    return replace(disk, blobs=disk.blobs[:-1])


@contextmanager
def context() -> Iterator[Path]:
    """bench/context with the fixtures' files in it, to be changed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        shutil.copytree(CONTEXT, folder, dirs_exist_ok=True)
        shutil.copy(apps.FIXTURES / "radicale/config", folder / "radicale.config")
        shutil.copy(apps.FIXTURES / "probe/probe.py", folder / "probe.py")
        yield folder


def picture(
    store: Store, stage: str, edit: Callable[[Path], None] = lambda _: None, **args: str
) -> tuple[str, Artifact]:
    """A stage of bench/context/Dockerfile, built on the source host; its id, and what is in the
    Store. edit: changes the context first."""
    with context() as folder, hosts.connect(f"lab:{SOURCE}") as source:
        edit(folder)
        what = Build(folder, target=stage, args=args, network="host")
        reference = build(source, what, apps.Teller())
        return reference, image.fetch(source, reference, store, apps.Teller())


def pair(
    store: Store,
    kit: GuestKit,
    stage: str,
    edit: Callable[[Path], None] = lambda _: None,
    **args: str,
) -> Pair:
    """A stage as `picture` makes it, and its disk."""
    reference, made = picture(store, stage, edit, **args)
    tell(f"{stage} {args or ''}: {made.logical_bytes / 1e6:.0f} MB in {len(made.blobs) - 1} layers")
    return Pair(reference, made, apps.disk_of(made, kit, store))


def send(store: Store, artifacts: Sequence[Artifact], move: str) -> None:
    """As `portkit move` does it after packaging: one connection, until all is verified there."""
    with target() as host:
        for artifact in artifacts:
            transfer.send(artifact, store, host, move=move)


def sending(store: Store, *artifacts: Artifact, rate: str | None = SHAPED) -> Cost:
    """What it costs to send them; what was there stays, what they brought is taken away again."""
    with target() as host:
        before = {artifact.digest: transfer.missing(artifact, host) for artifact in artifacts}
    found = cost(lambda: send(store, artifacts, _MEASURED), rate)
    with target() as host:
        for artifact in reversed(artifacts):
            brought = [blob.digest for blob in before[artifact.digest]]
            images = artifact.images if artifact.form is Form.IMAGE else ()
            holds = [transfer.held_name(image.digest, _MEASURED) for image in images]
            transfer.release(holds, host, brought, move=_MEASURED)
    return found


def prepare(store: Store, *known: Artifact) -> None:
    """A target that has these and nothing else."""
    clear()
    send(store, known, _KNOWN)


def packed(blobs: Sequence[Blob], store: Store) -> int:
    """Bytes of their `zstd -3`, each by itself."""
    with tempfile.TemporaryFile(dir=store.root) as out:
        for blob in blobs:
            process.run(["zstd", "-3", "-q", "-c", store.path(blob.digest)], stdout=out)
        return out.tell()
