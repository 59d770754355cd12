"""Apps that run on a host as a VM that portkit made, moved with all that is on its disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import PurePosixPath

from portkit import boot, runtime
from portkit.app import with_health
from portkit.boot import disks, vm_disks
from portkit.bundle import described
from portkit.clock import Clock
from portkit.engines.libvirt_source import LibvirtSource
from portkit.errors import AppError, ConflictError, EngineError, HostError, PortkitError
from portkit.host import Counters, Host
from portkit.model import (
    App,
    AppSpec,
    Artifact,
    DataFolder,
    Facts,
    Finding,
    Form,
    ImageConfig,
    Live,
    LiveDomain,
    LiveVolume,
    Service,
    Severity,
)
from portkit.package import image
from portkit.package.image import joined
from portkit.source import live
from portkit.source.fetched import fetch
from portkit.source.hindrances import rests
from portkit.source.images import Images
from portkit.source.vm_description import Description, decode
from portkit.store import Store
from portkit.text import counted
from portkit.transfer.forward import Parcel
from portkit.volumes import Folder

KIND = "vm"


def is_vm(name: str) -> bool:
    """Whether an App is named as a VM: vm:NAME."""
    return name.partition(":")[0] == KIND and ":" in name


class RunningVM:
    """A Source: a VM that portkit made on a host, with its disks. `app()` is the App to move.

    As a disk it goes as what it is: its system disk is what its image was made into, with what the
    VM has written since, and its volumes are disks. As an image it becomes containers of the images
    that its disk was made of, and what is in the file systems of its volumes' disks becomes the
    engine's volumes.

    what: vm:NAME, the name of the App or the id of the VM. moving: the id of the VM where a Move of
    it has begun before, which has fenced it. form: as `require` is told. keeps_running: it is to go
    on running while it moves. health: as `portkit.app.with_health` is told.
    """

    forms: tuple[Form, ...] = (Form.DISK,)

    def __init__(
        self,
        host: Host,
        what: str,
        *,
        moving: str = "",
        form: Form = Form.DISK,
        keeps_running: bool = False,
        health: Mapping[str, str] | None = None,
    ) -> None:
        self.host, self.name = host, host.name
        self._keeps_running, self._health = keeps_running, dict(health or {})
        self._what, self._moving, self._form = what, moving, form
        self._disks: dict[int, str] = {}
        self._seen: LiveDomain | None = None
        self._told: Description | None = None
        self._blobs = ""

    def app(self) -> App:
        """The App as it runs there. AppError when there is no such VM, or nothing says what it was
        made of; ConflictError when it has moved away."""
        with _engine(self.host) as engine:
            identity = self._identity(engine)
            self._seen = engine.seen(identity)
            if engine.moved_away(identity) and not (self._moving or self._seen.running):
                raise _moved(identity, self.name)
            self._refuse_beside(identity)
            row = self.host.remote.call("instance.described", {"id": identity})
            self._blobs = row["blobs"]
            self._disks = disks.of_volumes(row["disks"])
            self._seen = replace(self._seen, resting=tuple(row["resting"]))
            if not row["text"]:
                raise _undescribed(identity, self.name)
            engine.require_disks(identity, row["disks"])
        told = self._told = decode(row["text"], f"{KIND}:{identity}")
        app = told.app
        if told.cas:
            app = described.trusting(app, told.cas, runtime.subfolder())
        app = replace(
            app,
            running=True,
            seen_up=self._domain.running,
            findings=(*app.findings, *self._findings()),
        )
        return with_health(app, self._health)

    def _identity(self, engine: LibvirtSource) -> str:
        if self._moving:
            return self._moving
        name = self._what.partition(":")[2]
        rows = engine.instances()
        named = [each for each in rows if name in (each.id, each.app)]
        # One that has moved away may still be there beside the one that came back.
        running = [each for each in named if each.running]
        return boot.find(running if len(running) == 1 else rows, name, Form.DISK).id

    def _refuse_beside(self, identity: str) -> None:
        """ConflictError where the same Move has brought containers as well, and these run: the data
        is theirs."""
        for each in () if self._domain.running else boot.instances(self.host):
            if each.id == identity and each.form is not Form.DISK and each.running:
                raise ConflictError(
                    f"{each.app} runs there as {each.form}, and its VM does not",
                    details=f"{identity} on {self.name}",
                    resolution="Move what is running: portkit move container:NAME, or "
                    "project:NAME for several services.",
                )

    def _findings(self) -> Iterator[Finding]:
        if not self._domain.running:
            message = "the VM is not running at its source, and will be started on the target"
            yield Finding("source-stopped", Severity.WARNING, message)
        for service in self._domain.resting:
            yield rests(service)

    @property
    def _domain(self) -> LiveDomain:
        assert self._seen is not None, "the App was read before"
        return self._seen

    @property
    def _description(self) -> Description:
        assert self._told is not None, "the App was read before"
        return self._told

    def facts(self) -> Facts:
        """What the source host is and has."""
        return self.host.facts()

    def counters(self) -> Counters:
        """Bytes of the connection to the source host."""
        return self.host.counters()

    def require(self, forms: Sequence[Form]) -> None:
        """AppError for both forms at once: one of them takes the data over. From now on the source
        gives what that form needs."""
        if len(forms) != 1:
            raise AppError(
                "a VM can be moved in only one form",
                details=f"{self._what}: requested {', '.join(forms)}",
                resolution="Leave out --form to move its disks, or use --form image to turn it "
                "into containers.",
            )
        (self._form,) = forms
        if self._keeps_running and self._form is not Form.DISK:
            raise AppError(
                "a VM that keeps running can only be moved as a disk",
                details=f"{self._what}: requested {self._form}, without a stop",
                resolution="Leave out --live or --form.",
            )

    def lacking(self, target: Host | None, store: Store) -> tuple[Finding, ...]:
        """The VM has what it was made of. Of one that is to go on running, what `live.refuse` says
        or raises."""
        if self._keeps_running and target is not None:
            return live.refuse(self.host, self._domain.id, target)
        return ()

    def running(self, app: App, facts: Facts) -> tuple[Finding, ...]:
        """That its disks travel, or what is in them; and what of the VM stays behind."""
        quiesced = map(_not_quiesced, (each for each in app.services if each.quiesce))
        if self._form is Form.IMAGE:
            return (*self._carried(), _LEFT_BEHIND, *quiesced)
        if self._keeps_running:
            message = (
                "the VM keeps running while its disks and memory are copied; a prediction does "
                "not include them"
            )
            return (Finding("data-carried", Severity.INFO, message, (self._domain.id,)),)
        message = (
            "what the VM has written to its disks is copied while it runs, and what changes "
            "meanwhile after it was stopped"
        )
        carried = Finding("data-carried", Severity.INFO, message, (self._domain.id,))
        return (carried, *quiesced)

    def _carried(self) -> Iterator[Finding]:
        if self._disks:
            message = (
                f"the data of {counted(len(self._disks), 'volume')} is read from disks after the "
                "VM was stopped, all of it while the App is down; a prediction does not include it"
            )
            yield Finding("data-carried", Severity.INFO, message, (self._domain.id,))

    def images(self, app: App, store: Store, clock: Clock) -> Images:
        """Of a disk, what the images of its services say: their content is in the disk alone. As an
        image, they are in the Store here, or in the source's engine."""
        told = self._description
        if self._form is Form.IMAGE:
            with clock.phase("package image"):
                return Images.of([self._image(each, store, clock) for each in told.images])
        rows = [Artifact(Form.IMAGE, each.digest, (each,), (), 0, 0) for each in told.images]
        size = told.disk.stored_bytes
        return Images(replace(joined(rows), logical_bytes=size, stored_bytes=size), told.images)

    def _image(self, config: ImageConfig, store: Store, clock: Clock) -> Artifact:
        """AppError where neither has it."""
        if (known := image.stored(config, store)) is not None:
            return known
        try:
            found = image.fetch(self.host, config.digest, store, clock.observer)
        except (AppError, EngineError) as error:
            raise _no_image(config.digest, self.name, error) from error
        if found.digest != config.digest:
            raise _no_image(config.digest, self.name, None)
        return found

    def again(self, app: App, store: Store, clock: Clock) -> Images | None:
        """None: what the VM has changed is on its disks, and travels with these."""
        return None

    def disk(self, image: Artifact, spec: AppSpec, store: Store, clock: Clock) -> Artifact:
        """What the VM was booted from first; out of the source's Store where it is not here."""
        disk = self._description.disk
        with clock.phase("package disk"):
            for blob in disk.blobs:
                if not store.has(blob.digest):
                    fetch(blob, Folder(self.host, self._blobs), store, clock.observer)
        return disk

    def live(self, spec: AppSpec) -> Live | None:
        """What the Move has to stop there, and the folder of its disks; for containers, the disks
        of its volumes."""
        if self._keeps_running:
            return Live((), (), domain=replace(self._domain, keeps_running=True))
        if self._form is Form.IMAGE:
            return Live((), tuple(self._volumes(spec)), domain=self._domain)
        path = vm_disks.folder_at_source(self.host, self._domain.id)
        return Live((), (LiveVolume(0, "disks of the VM", path),), domain=self._domain)

    def data(self, spec: AppSpec) -> tuple[DataFolder, ...] | None:
        """Its disks where they are. `live` gives them second names, for the Move alone. None where
        it goes on running: that is not predicted; nor is what is in its disks, for containers, as
        that is known only when these are not in use any more."""
        if self._keeps_running or self._form is Form.IMAGE:
            return None
        *kept, _ = disks.made_with(self.host, self._domain.id)
        paths = [PurePosixPath(path) for path in kept]
        return (DataFolder(str(paths[0].parent), tuple(each.name for each in paths)),)

    def _volumes(self, spec: AppSpec) -> Iterator[LiveVolume]:
        names: dict[int, str] = {}
        for service, numbers in zip(spec.services, spec.volume_numbers(), strict=True):
            for mount, number in zip(service.mounts, numbers, strict=True):
                if number is not None:
                    names[number] = mount.source or mount.target
        if set(names) != set(self._disks):
            raise HostError(
                "the VM has other disks than its App has volumes",
                details=f"{self._domain.id} on {self.name}: disks {sorted(self._disks)}, volumes "
                f"{sorted(names)}",
                resolution="Move it as a disk, or move its App again from its compose file.",
            )
        for number, name in sorted(names.items()):
            yield LiveVolume(number, name, self._disks[number], way=spec.way(number), image=True)

    def parcels(self, store: Store) -> Mapping[str, Parcel]:
        """None: everything is in the Store here."""
        return {}


def _engine(host: Host) -> closing[LibvirtSource]:
    return closing(LibvirtSource(host.libvirt_uri(), host.name))


def _not_quiesced(service: Service) -> Finding:
    message = (
        f"{service.name}: its x-portkit.quiesce commands run in containers only; the VM is "
        "powered off without them"
    )
    return Finding("not-quiesced", Severity.WARNING, message, (), "", (service.name,))


_LEFT_BEHIND = Finding(
    "system-disk-left",
    Severity.WARNING,
    "what the VM has written outside of its volumes stays on its system disk: its containers "
    "start from their images",
)


def _no_image(digest: str, host: str, error: PortkitError | None) -> AppError:
    return AppError(
        "an image that the VM was made from cannot be found",
        details=f"{digest}: it is neither in the Store of this machine nor in an engine on {host}"
        + (f" ({error.brief})" if error else ""),
        resolution=f"Load it into {host}'s engine from a host that has it (docker save, docker "
        "load), and try again. Or leave out --form to move the VM as a disk.",
    )


def _moved(identity: str, host: str) -> ConflictError:
    return ConflictError(
        "the VM has moved away before, so its data is old",
        details=f"{identity} on {host} has been stopped since",
        resolution="Move it from where it runs now; `portkit moves` lists where that is. To use "
        f"the old data nevertheless: portkit start {identity} --on {host}",
    )


def _undescribed(identity: str, host: str) -> AppError:
    return AppError(
        "there is no record of what the VM was made of",
        details=f"{identity} on {host}: it was made by an earlier portkit, or its App could not "
        "be described, as a finding said then",
        resolution="Move its App again from its compose file, without its data.",
    )
