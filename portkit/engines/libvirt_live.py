"""A VM of portkit's that changes its host while it runs: what libvirt does, and what it says."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from portkit.engines.libvirt import Libvirt
from portkit.engines.libvirt_guests import confined_by
from portkit.engines.live_xml import ARRIVED, uuid_of
from portkit.engines.patience import Late, Patient
from portkit.errors import ConflictError, EngineError

_LOOK_S = 0.25
# libvirt takes back what a client that is gone has left: the connections of both hosts have to end
# first, which takes ssh a moment.
_SETTLES_S = 30.0
_RECEIVES_S = 10.0  # the target ends, or begins to run the guest, within moments of the source


@dataclass(frozen=True)
class Condition:
    """A domain as libvirt says it is. paused: by a migration. left: off because it went away.
    arrived: portkit has written down that its guest may have run here, after it came."""

    there: bool
    on: bool = False
    runs: bool = False
    paused: bool = False
    left: bool = False
    arrived: bool = False


class LibvirtLive(Libvirt):
    """The same connection, for a VM that moves while it runs."""

    def description(self, identity: str) -> str:
        """Its XML, as a migration wants it."""
        found, libvirt = self._find(identity), self._libvirt
        with self._errors("look at the domain"):
            flags = 0
            if found.isActive():
                flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE
            return str(found.XMLDesc(flags | libvirt.VIR_DOMAIN_XML_SECURE))

    def condition(self, identity: str, *, came: bool = False) -> Condition:
        """How it is now. came: by a migration that leaves it paused until portkit lets it run,
        which libvirt says as if a user had paused it."""
        libvirt = self._libvirt
        for found, about in self._ours():
            if about["id"] != identity:
                continue
            with self._errors("look at the domain"):
                state, reason = found.state()
            off = state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
            still = {libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP}
            if came:
                still.add(libvirt.VIR_DOMAIN_PAUSED_USER)
            left = libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED
            return Condition(
                there=True,
                on=not off,
                runs=state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED),
                paused=state == libvirt.VIR_DOMAIN_PAUSED and reason in still,
                left=state == libvirt.VIR_DOMAIN_SHUTOFF and reason == left,
                arrived=ARRIVED in about,
            )
        return Condition(there=False)

    def confined(self) -> tuple[str, ...]:
        """What of the host's kernel keeps each guest to its own files."""
        with self._errors("report what confines its guests"):
            return confined_by(self._connection.getCapabilities())

    def refuse_same(self, uuid: str, but: str = "") -> None:
        """ConflictError where a domain of that UUID is there. but: the id of one that may be."""
        with self._errors("look for a domain"):
            try:
                found = self._connection.lookupByUUIDString(uuid)
            except self._libvirt.libvirtError as error:
                if error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN:
                    return
                raise
        about = self._about(found)
        if not but or about.get("id") != but:
            raise ConflictError(
                "the target already has the same VM, stopped or running",
                details=f"{found.name()} on {self._host}: an earlier Move has left it there",
                resolution="`portkit moves` lists that Move, and `portkit forget ID --delete` "
                "removes the old VM with its disks. Or move without --live.",
            )

    def await_sent(self, identity: str) -> None:
        """No migration away from here is at work; one that goes on, of whomever, is ended."""
        if self._quiet(identity, _SETTLES_S):
            return
        self.give_up(self.raw(identity))
        if not self._quiet(identity, _SETTLES_S):
            raise EngineError(
                "libvirt is still migrating the VM",
                details=f"{identity} on {self._host}",
                resolution="Wait until the migration has ended, or end it there: virsh "
                "domjobabort.",
            )

    def await_received(self, identity: str) -> None:
        """No migration to here is at work, or nobody sends any more: where the link was cut, this
        host may wait for hours for a client that is gone. The source is quiet by now."""
        self._quiet(identity, _RECEIVES_S)

    def _quiet(self, identity: str, within_s: float) -> bool:
        end = time.monotonic() + within_s
        while self._busy(identity):
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK_S)
        return True

    def _busy(self, identity: str) -> bool:
        for found, about in self._ours():
            if about["id"] == identity:
                with self._errors("look at the domain"):
                    return bool(found.isActive()) and self._has_job(found)
        return False

    def _has_job(self, found: Patient) -> bool:
        try:
            return bool(found.jobInfo()[0] != self._libvirt.VIR_DOMAIN_JOB_NONE)
        except self._libvirt.libvirtError as error:
            # Of one that is on its way here: "only on the source host" (qemu_driver.c).
            if error.get_error_code() != self._libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
                raise
            return True

    def redefine(self, identity: str, xml: str) -> None:
        """The domain of an Instance that does not run, anew."""
        with self._errors("look at the domain"):
            same = uuid_of(xml) == self._find(identity).UUIDString()
        if not same:  # else it is replaced in one act, and is there whenever portkit is killed
            self.remove(identity)
        with self._errors("define the domain"):
            self._connection.defineXML(xml)

    def mark_arrived(self, identity: str) -> None:
        """Write down that its guest may have run here."""
        found = self._find(identity)
        with self._errors("mark the domain"):
            self._mark(found, {**self._about(found), ARRIVED: "yes"})

    def forget_arrived(self, identity: str) -> None:
        """The guest goes on where it came from: what it did here does not count any more."""
        found = self._find(identity)
        with self._errors("mark the domain"):
            about = {key: text for key, text in self._about(found).items() if key != ARRIVED}
            self._mark(found, about)

    def complete(self, came: Any) -> bool:
        """Whether all of a guest is here that is on its way and is not to run by itself: its last
        phase has ended. came: what the library calls a domain."""
        libvirt = self._libvirt
        with self._errors("look at the domain"):
            state, reason = Patient(came).state()
        # Until then the reason is the migration (libvirt 9.0 and 11.3, qemuMigrationDstFinish).
        return bool(state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_USER)

    def begin(self, came: Any, about: dict[str, str]) -> None:
        """Let the guest run that has just come: as `mark_arrived` and `proceed`, in as few calls as
        can be, since nobody serves meanwhile. came: what the library calls a domain."""
        found = Patient(came)
        with self._errors("let the domain run"):
            self._mark(found, {**about, ARRIVED: "yes"})
            found.resume()

    def cut(self, identity: str) -> None:
        """End it at once, where it is on; its definition stays."""
        found = self._find(identity)
        with self._errors("end the domain"):
            if found.isActive():
                self._destroy(found)

    @property
    def library(self) -> Any:
        """The library's module."""
        return self._libvirt

    @property
    def raw_connection(self) -> Any:
        """What the library calls a connection."""
        return self._opened

    def raw(self, identity: str) -> Any:
        """What the library calls a domain; its calls have no deadline."""
        found = self._find(identity)
        with self._errors("look at the domain"):
            return self._opened.lookupByUUIDString(found.UUIDString())

    def explained(self, what: str) -> AbstractContextManager[None]:
        """The library's errors are raised as portkit's within."""
        return self._errors(what)

    def give_up(self, found: Any) -> None:
        """End the migration that is at work; fine where it has ended."""
        with suppress(self._libvirt.libvirtError, Late):
            Patient(found).abortJob()

    def proceed(self, identity: str) -> None:
        """Let its processors run."""
        found = self._find(identity)
        with self._errors("let the domain go on"):
            found.resume()
