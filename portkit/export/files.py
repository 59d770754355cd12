"""Which files an App becomes, and writing them into a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from portkit import app as apps
from portkit import files, yaml_text
from portkit.errors import AppError
from portkit.export import disks, kubevirt, ova
from portkit.export.disks import FORMATS, DiskFormat
from portkit.export.kubernetes import ImageName, manifests
from portkit.export.kubernetes_names import label
from portkit.model import AppSpec, Artifact, Finding, Form, PackedApp
from portkit.package.save import placed, require_absent, save, tag_of
from portkit.progress import Observer
from portkit.store import Store
from portkit.wire.json_types import JsonObject

_OVA = DiskFormat("ova", ".ova", "VMware, VirtualBox", disks.STREAM.words, disks.STREAM.drivers)
_DISKS = {**FORMATS, _OVA.name: _OVA, kubevirt.CONTAINER_DISK.name: kubevirt.CONTAINER_DISK}
DISK_FORMATS = tuple(_DISKS)
# Of Docker's reference grammar (distribution/reference): a host with a port, and paths.
_PREFIX = re.compile(r"[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


@dataclass(frozen=True)
class Wanted:
    """What was asked for. disk_format: of `DISK_FORMATS`. registry: what names of images begin
    with; "" where they are loaded into the nodes."""

    forms: tuple[Form, ...]
    disk_format: str = "qcow2"
    kubernetes: bool = False
    registry: str = ""

    @property
    def kind(self) -> DiskFormat:
        """The format of the disk."""
        return _DISKS[self.disk_format]

    @property
    def other(self) -> bool:
        """Whether it is something for a host that portkit does not reach."""
        return self.disk_format != "qcow2" or self.kubernetes

    @property
    def packed(self) -> tuple[Form, ...]:
        """The Forms to pack: a disk with the kit of a format is made later, from the image."""
        return self.forms if self.disk_format == "qcow2" else (Form.IMAGE,)


@dataclass(frozen=True)
class Written:
    """A file. digest: of the image or the disk in it; "" for a manifest."""

    path: Path
    digest: str = ""
    findings: tuple[Finding, ...] = ()


def check(wanted: Wanted) -> None:
    """AppError where what is asked for does not fit together."""
    if wanted.registry and not _PREFIX.fullmatch(wanted.registry):
        raise AppError(
            "the prefix of image names is not valid",
            details=repr(wanted.registry[:100]),
            resolution="Use a registry and a path, such as registry.example/team.",
        )
    if wanted.kubernetes and Form.IMAGE not in wanted.forms:
        raise AppError(
            "a Kubernetes manifest needs the image",
            details="--kubernetes with --form disk",
            resolution="Use --form image or --form both; for a VM in Kubernetes "
            "--disk-format containerdisk.",
        )


def write(
    folder: Path, made: PackedApp, wanted: Wanted, store: Store, observer: Observer
) -> Iterator[Written]:
    """Write the files of an App into a folder, one after the other.

    Raises what `portkit.package.save.save` and `portkit.package.disk.build` raise.
    """
    for form in wanted.forms:
        if form is Form.DISK:
            yield from _disk(folder, made, wanted, store, observer)
        else:
            yield from _images(folder, made, wanted, store, observer)


def _images(
    folder: Path, made: PackedApp, wanted: Wanted, store: Store, observer: Observer
) -> Iterator[Written]:
    name, artifact = made.app.name, made.artifacts[Form.IMAGE]
    if not wanted.kubernetes:
        yield _saved(artifact, name, folder / f"{name}.tar", store, observer)
        return
    single = len(artifact.images) == 1
    archives: dict[str, tuple[str, Artifact]] = {}
    names: dict[str, ImageName] = {}
    for service, image in zip(made.app.services, made.images, strict=True):
        own = name if single else f"{name}-{label(service.name)}"
        one = replace(artifact, digest=image.digest, images=(image,))
        title, one = archives.setdefault(image.digest, (own, one))
        names[service.name] = _named(tag_of(title, one), wanted.registry)
    spec = apps.resolve_all(made.app, made.images)
    images = {each.name: image for each, image in zip(made.app.services, made.images, strict=True)}
    # What is refused is told before anything is written.
    told = manifests(spec, images, names)
    path, hidden = folder / f"{name}.kubernetes.yaml", folder / f"{name}.secrets.yaml"
    for each in (path, hidden) if told.secrets else (path,):
        require_absent(each)
    for title, one in archives.values():
        yield _saved(one, title, folder / f"{title}.tar", store, observer)
    yield replace(_manifest(path, told.documents, store), findings=told.findings)
    if told.secrets:
        yield _manifest(hidden, told.secrets, store)


def _saved(artifact: Artifact, name: str, path: Path, store: Store, observer: Observer) -> Written:
    observer.phase(f"write {path}")
    save(artifact, store, path, name)
    return Written(path, artifact.digest)


def _named(tag: str, registry: str) -> ImageName:
    """Without a registry of one's own nothing is pulled: on the public one, the name may be
    anybody's."""
    if not registry:
        return ImageName(tag, "Never")
    return ImageName(f"{registry}/{tag.removeprefix('portkit/')}", "IfNotPresent")


def _manifest(path: Path, documents: tuple[JsonObject, ...], store: Store) -> Written:
    with placed(path, store) as fresh:
        files.write(fresh, yaml_text.dump(*documents).encode())
    return Written(path)


def _disk(
    folder: Path, made: PackedApp, wanted: Wanted, store: Store, observer: Observer
) -> Iterator[Written]:
    name, kind = made.app.name, wanted.kind
    path = folder / f"{name}{kind.suffix}"
    if kind.name == "qcow2":
        yield _saved(made.artifacts[Form.DISK], name, path, store, observer)
        return
    (image,) = made.images
    notes = tuple(disks.findings(made.app, image))
    disk = disks.disk_for(made.app, made.artifacts[Form.IMAGE], kind, store, observer)
    observer.phase(f"write {path}")
    spec = apps.resolve_all(made.app, made.images)
    if kind is kubevirt.CONTAINER_DISK:
        yield from _container_disk(path, spec, disk, wanted, store, notes)
        return
    with placed(path, store) as fresh:
        if kind is _OVA:
            _appliance(spec, disk, store, fresh)
        else:
            raw, digest = store.content(disk.digest), disk.digest
            disks.convert(raw, kind, fresh, name=path.name, digest=digest)
    yield Written(path, disk.digest, notes)


def _appliance(spec: AppSpec, disk: Artifact, store: Store, path: Path) -> None:
    vmdk, raw = path.with_name(path.name + ".vmdk"), store.content(disk.digest)
    try:
        name = f"{spec.app}-disk1.vmdk"
        disks.convert(raw, disks.STREAM, vmdk, name=name, digest=disk.digest)
        size = vmdk.stat().st_size
        machine = ova.Appliance(spec.app, spec.machine, name, disk.logical_bytes, size)
        ova.write(machine, vmdk, path)
    finally:
        vmdk.unlink(missing_ok=True)


def _container_disk(
    path: Path,
    spec: AppSpec,
    disk: Artifact,
    wanted: Wanted,
    store: Store,
    notes: tuple[Finding, ...],
) -> Iterator[Written]:
    tag = tag_of(f"{spec.app}-disk", disk)
    machine = path.with_name(f"{spec.app}.virtualmachine.yaml")
    require_absent(machine)
    with placed(path, store) as fresh:
        raw, architecture = store.content(disk.digest), disk.config.architecture
        digest = kubevirt.write_image(raw, architecture, spec.app, tag, fresh)
    yield Written(path, digest, (*notes, *kubevirt.findings(spec)))
    yield _manifest(
        machine, kubevirt.machine(spec, _named(tag, wanted.registry), architecture), store
    )
