"""Apps that run on a host as a VM that portkit made, moved with all that is on its disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import PurePosixPath

from portkit import boot, runtime
from portkit.boot import vm_disks
from portkit.bundle import described
from portkit.clock import Clock
from portkit.engines.libvirt_source import LibvirtSource
from portkit.errors import AppError, ConflictError
from portkit.host import Counters, Host
from portkit.model import (
    App,
    AppSpec,
    Artifact,
    DataFolder,
    Facts,
    Finding,
    Form,
    Live,
    LiveDomain,
    LiveVolume,
    Service,
    Severity,
)
from portkit.package.image import joined
from portkit.source import live
from portkit.source.fetched import fetch
from portkit.source.images import Images
from portkit.source.vm_description import Description, decode
from portkit.store import Store
from portkit.transfer.forward import Parcel
from portkit.volumes import Folder

KIND = "vm"


def is_vm(name: str) -> bool:
    """Whether an App is named as a VM: vm:NAME."""
    return name.partition(":")[0] == KIND and ":" in name


class RunningVM:
    """A Source: a VM that portkit made on a host, with its disks. `app()` is the App to move.

    It goes as what it is: its system disk is what its image was made into, with what the VM has
    written since, and its volumes are disks.

    what: vm:NAME, the name of the App or the id of the VM. moving: whether a Move of it has begun
    before, which has fenced it. keeps_running: it is to go on running while it moves.
    """

    forms: tuple[Form, ...] = (Form.DISK,)

    def __init__(
        self, host: Host, what: str, *, moving: bool = False, keeps_running: bool = False
    ) -> None:
        self.host, self.name = host, host.name
        self._keeps_running = keeps_running
        self._what, self._moving = what, moving
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
            if not row["text"]:
                raise _undescribed(identity, self.name)
            engine.require_disks(identity, row["disks"])
        told = self._told = decode(row["text"], f"{KIND}:{identity}")
        app = told.app
        if told.cas:
            app = described.trusting(app, told.cas, runtime.subfolder())
        return replace(app, running=True, findings=(*app.findings, *self._findings()))

    def _identity(self, engine: LibvirtSource) -> str:
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
                    resolution="Move what runs: portkit move container:NAME, or project:NAME for "
                    "several services.",
                )

    def _findings(self) -> Iterator[Finding]:
        if not self._domain.running:
            message = "the VM does not run at its source; on the target it is started"
            yield Finding("source-stopped", Severity.WARNING, message)

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
        """AppError for any form but the disk."""
        if tuple(forms) != self.forms:
            raise AppError(
                "a VM is moved as a disk",
                details=f"{self._what}: asked for {', '.join(forms)}",
                resolution="Leave --form out. To make a container of its App, move that anew from "
                "its compose file.",
            )

    def lacking(self, target: Host | None, store: Store) -> tuple[Finding, ...]:
        """Nothing: the VM has what it was made of. Raises what `live.refuse` does where it is to
        go on running."""
        if self._keeps_running and target is not None:
            live.refuse(self.host, self._domain.id, target)
        return ()

    def running(self, app: App, facts: Facts) -> tuple[Finding, ...]:
        """That its disks travel."""
        if self._keeps_running:
            message = (
                "the VM goes on running while its disks and its memory travel; a prediction does "
                "not count them"
            )
            return (Finding("data-carried", Severity.INFO, message, (self._domain.id,)),)
        message = (
            "what the VM has written to its disks travels while it runs, and what changes "
            "meanwhile after it was stopped"
        )
        carried = Finding("data-carried", Severity.INFO, message, (self._domain.id,))
        return (carried, *map(_not_quiesced, (each for each in app.services if each.quiesce)))

    def images(self, app: App, store: Store, clock: Clock) -> Images:
        """What the images of its services say; their content is in the disk alone."""
        told = self._description
        rows = [Artifact(Form.IMAGE, each.digest, (each,), (), 0, 0) for each in told.images]
        size = told.disk.stored_bytes
        return Images(replace(joined(rows), logical_bytes=size, stored_bytes=size), told.images)

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
        """What the Move has to stop there, and the folder of its disks."""
        if self._keeps_running:
            return Live((), (), domain=replace(self._domain, keeps_running=True))
        path = vm_disks.folder_at_source(self.host, self._domain.id)
        return Live((), (LiveVolume(0, "disks of the VM", path),), domain=self._domain)

    def data(self, spec: AppSpec) -> tuple[DataFolder, ...] | None:
        """Its disks where they are. `live` gives them second names, for the Move alone. None where
        it goes on running: that is not predicted."""
        if self._keeps_running:
            return None
        row = self.host.remote.call("instance.described", {"id": self._domain.id})
        # The last is its configuration, which the target makes anew.
        disks = [PurePosixPath(path) for path in row["disks"]][:-1]
        return (DataFolder(str(disks[0].parent), tuple(each.name for each in disks)),)

    def parcels(self, store: Store) -> Mapping[str, Parcel]:
        """None: everything is in the Store here."""
        return {}


def _engine(host: Host) -> closing[LibvirtSource]:
    return closing(LibvirtSource(host.libvirt_uri(), host.name))


def _not_quiesced(service: Service) -> Finding:
    message = (
        f"{service.name}: its commands of x-portkit.quiesce run in containers only; the VM is "
        "powered off without them"
    )
    return Finding("not-quiesced", Severity.WARNING, message, (), "", (service.name,))


def _moved(identity: str, host: str) -> ConflictError:
    return ConflictError(
        "the VM has moved away before: its data is old",
        details=f"{identity} on {host} is stopped since",
        resolution="Move it from where it runs now; portkit moves says where that is. To use the "
        f"old data all the same: portkit start {identity} --on {host}",
    )


def _undescribed(identity: str, host: str) -> AppError:
    return AppError(
        "nothing says what the VM was made of",
        details=f"{identity} on {host}: an earlier portkit has made it, or its App could not be "
        "described, which was told then",
        resolution="Move its App anew from its compose file, without its data.",
    )
