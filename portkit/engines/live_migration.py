"""A VM's migration from one libvirt to another while it runs, and how it is begun on the target.

libvirt's client calls both daemons in turn: the target prepares, the source copies, the target
finishes, the source confirms. To confirm, the source's libvirt ends QEMU, which takes moments, and
looks two tenths of a second later whether it has ended. The guest need not stand still for so long:
once QEMU has ended at the source, nothing can let the guest run there again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portkit import process
from portkit.engines.domain_xml import instance_of
from portkit.engines.libvirt_live import LibvirtLive
from portkit.engines.live_pace import Pace
from portkit.engines.live_xml import LiveXml
from portkit.engines.patience import Late, Patient, begin
from portkit.errors import EngineError, PortkitError

MEMORY, DISKS = "m", "d"  # sockets
_SPEED, _DOWNTIME = "migrateSetMaxSpeed", "migrateSetMaxDowntime"  # MiB a second; milliseconds
_LOOK_S = 0.25
_ENDS_S = 60.0  # after it was told to; QEMU first answers what it is at

Told = Callable[[int, int], None]
# Waits a little; whether the source's QEMU has ended by then.
Ended = Callable[[], bool]


@dataclass(frozen=True)
class Way:
    """folder: of the sockets, on both hosts. disks: those that are copied. name: on the target."""

    folder: str
    disks: tuple[str, ...]
    name: str
    xml: LiveXml


@dataclass(frozen=True)
class Moved:
    """What a migration took. downtime_s: about how long the guest's processors stood still: as
    libvirt says it, and until portkit had let them run. memory_bytes, disk_bytes: that were
    sent."""

    seconds: float
    downtime_s: float
    memory_bytes: int
    disk_bytes: int


def migrate(
    source: LibvirtLive, target: LibvirtLive, identity: str, way: Way, told: Told, ended: Ended
) -> Moved:
    """Move it. When this returns it runs on the target, and is off or paused at the source.

    told: is called again and again with bytes sent, and with all that is known of. What it raises,
    and Ctrl-C, ends the migration, and the guest goes on where libvirt says. EngineError where it
    fails; which side runs is then to be asked.
    """
    return _Migration(source, target, identity, way, ended).made(told)


class _Migration:
    """One of them. Two threads are at work beside the caller's: one waits for libvirt, the other
    one for the end of the source's QEMU. Whoever is first lets the guest run on the target."""

    def __init__(
        self, source: LibvirtLive, target: LibvirtLive, identity: str, way: Way, ended: Ended
    ) -> None:
        self._source, self._target, self._way, self._ended = source, target, way, ended
        self._libvirt = source.library
        self._found = source.raw(identity)
        about = instance_of(way.xml.kept)
        assert about is not None, "the domain on the target has portkit's mark"
        self._about, self._coming = about, target.raw(about["id"])
        with source.explained("look at the domain"):
            self._speed = Patient(self._found).migrateGetMaxSpeed()  # MiB a second
        self._told = {_SPEED: self._speed}  # what QEMU was told last
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._came: Any = None
        self._beginning = threading.Lock()
        self._stood_s: float | None = None  # until it ran on the target; None: it does not yet

    def made(self, told: Told) -> Moved:
        """What it took; `migrate` says more."""
        began = time.monotonic()
        moving, ending = begin(self._move), begin(self._await_end)
        try:
            self._watch(told)
        except BaseException:
            self._source.give_up(self._found)
            raise
        finally:
            moving.join(_ENDS_S)
            # Also where it was to be ended, and that came too late: somebody has to serve.
            if self._came is not None:
                self._begin(self._came)
            ending.join(_ENDS_S)
            self._tell(_SPEED, self._speed)  # libvirt keeps it for the next time
        if self._error and self._stood_s is None:
            with self._source.explained("move the VM live"):
                raise self._error
        last = self._stats(completed=True)
        return Moved(
            seconds=round(time.monotonic() - began, 3),
            downtime_s=round(last.get("downtime", 0) / 1000 + (self._stood_s or 0.0), 3),
            memory_bytes=last.get("memory_processed", 0),
            disk_bytes=last.get("disk_processed", 0),
        )

    def _move(self) -> None:
        try:
            words = _parameters(self._libvirt, self._way)
            flags = _flags(self._libvirt)
            self._came = self._found.migrate3(self._target.raw_connection, words, flags)
        except BaseException as error:  # noqa: BLE001 - it is raised by `made`
            self._error = error
        self._over.set()

    def _await_end(self) -> None:
        """Let it run on the target once the source's QEMU has ended. Where that is not found out,
        libvirt says it later."""
        try:
            while not self._ended():
                if self._over.is_set():
                    return
            # It may as well have crashed, before all of the guest was sent.
            if not self._over.is_set() and self._target.complete(self._coming):
                self._begin(self._coming)
        except PortkitError:
            return

    def _begin(self, came: Any) -> None:
        """Let it run on the target, once."""
        with self._beginning, process.uninterrupted():
            if self._stood_s is not None:
                return
            began = time.monotonic()
            if came is self._came:
                self._refuse_both()
            self._target.begin(came, self._about)
            self._stood_s = time.monotonic() - began

    def _refuse_both(self) -> None:
        with self._source.explained("look at the domain"):
            (state, _) = Patient(self._found).state()
        if state in (self._libvirt.VIR_DOMAIN_RUNNING, self._libvirt.VIR_DOMAIN_BLOCKED):
            raise EngineError(
                "libvirt reports that the VM has moved, but the VM runs at its source",
                details=self._found.name(),
                resolution="Run the same command again.",
            )

    def _watch(self, told: Told) -> None:
        """Until the migration is over; EngineError where it gets nowhere."""
        pace, began = Pace(), time.monotonic()
        while not self._over.wait(_LOOK_S):
            stats = self._stats()
            pace = pace.after(time.monotonic() - began, stats)
            if why := pace.stalled():
                raise EngineError(
                    "the live migration of the VM does not finish",
                    details=f"{self._found.name()}: {why}",
                    resolution="The VM changes its memory or disks faster than the connection can "
                    "carry. Move it without --live: it is then stopped, and starts anew "
                    "on the target.",
                )
            self._tell(_SPEED, pace.speed_mib or self._speed)
            self._tell(_DOWNTIME, pace.allowed_ms)
            told(stats.get("data_processed", 0), stats.get("data_total", 0))

    def _tell(self, call: str, value: int) -> None:
        """Tell QEMU what it was not told already. Where libvirt takes it not yet, or no more, that
        is no error."""
        if self._told.get(call) == value:
            return
        with self._source.explained("move the VM live"):
            try:
                getattr(Patient(self._found), call)(value)
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != self._libvirt.VIR_ERR_OPERATION_INVALID:
                    raise
                return
        self._told[call] = value

    def _stats(self, *, completed: bool = False) -> dict[str, int]:
        """What libvirt says of the job; nothing while there is none, or it is over."""
        flags = self._libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED if completed else 0
        try:
            rows = Patient(self._found).jobStats(flags)
        except (self._libvirt.libvirtError, Late):
            return {}
        return {key: value for key, value in rows.items() if isinstance(value, int)}


def _flags(libvirt: Any) -> int:
    return int(
        libvirt.VIR_MIGRATE_LIVE
        # If the target let it run and its answer were lost, libvirt would let the source run, too.
        | libvirt.VIR_MIGRATE_PAUSED
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_NON_SHARED_INC
        # What the guest writes while the copy goes on is written to both: the copy ends.
        | libvirt.VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES
        | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        # A guest that changes its memory faster than the way takes it is slowed down.
        | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    )


def _parameters(libvirt: Any, way: Way) -> dict[str, object]:
    return {
        libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{way.folder}/{MEMORY}",
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"unix://{way.folder}/{DISKS}",
        libvirt.VIR_MIGRATE_PARAM_DEST_NAME: way.name,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: way.xml.moving,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: way.xml.kept,
        libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: list(way.disks),
    }
