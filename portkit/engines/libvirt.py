"""libvirt through libvirt-python: domains that carry portkit's mark, and no other."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import TypeVar

from portkit.architecture import Architecture
from portkit.engines.domain_xml import MARK, Domain, domain_xml, instance_of, plain_mark
from portkit.engines.libvirt_guests import guests
from portkit.engines.patience import CALL_S, Late, Patient, within
from portkit.errors import ConflictError, EngineError
from portkit.model import Form, Guests, Instance

T = TypeVar("T")

_AGAIN_S = 2.0  # a guest that is still booting does not hear the power button
_GRACE_S = 10.0  # compose's own stop_grace_period
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_CLOSE_S = 5.0
# Seconds. libvirt learns of QEMU's end from its monitor, a moment after it.
_NOTICED_S = 5.0
# What QEMU says when it cannot bind a port for `hostfwd`, through libvirt's message.
_TAKEN = ("Could not set up host forwarding rule", "address already in use", "Address already")


_STARTED = "started"  # in the mark of a domain, from right before its first start


class Power(Enum):
    """Whether a domain's QEMU runs. ENDED: it ran before, as far as libvirt remembers. STUCK: it
    has stopped the guest, which wrote to a disk that had no room."""

    OFF = "off"
    ENDED = "ended"
    ON = "on"
    STUCK = "stuck"

    @property
    def active(self) -> bool:
        """Whether QEMU runs."""
        return self in (Power.ON, Power.STUCK)


class Libvirt:
    """One system daemon behind a URI. `close` when done."""

    def __init__(self, uri: str, host: str) -> None:
        try:
            import libvirt
        except ImportError as error:
            raise EngineError(
                "libvirt-python is not installed",
                details=str(error),
                resolution="Run: pip install 'portkit[disk]'. `portkit doctor` lists what it "
                "needs first.",
            ) from error
        self._libvirt = libvirt
        self._host = host
        # Errors are raised; libvirt need not print them as well.
        libvirt.registerErrorHandler(lambda *_: None, None)
        with self._errors("reach libvirt"):
            self._opened = within(CALL_S, lambda: libvirt.open(uri))
        self._connection = Patient(self._opened, (libvirt.virDomain,))

    def close(self) -> None:
        """Close the connection."""
        # A call that was given up holds the connection until ssh ends it.
        with contextlib.suppress(Late, self._libvirt.libvirtError):
            within(_CLOSE_S, self._connection.close)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._libvirt.libvirtError as error:
            said = str(error)
            taken = any(mark in said for mark in _TAKEN)
            raise (ConflictError if taken else EngineError)(
                f"libvirt could not {what}",
                details=f"{self._host}: {said[:2000]}",
                resolution="Free the port, or publish another one."
                if taken
                else "Read libvirt's message above; /var/log/libvirt on the host has more.",
            ) from error
        except Late as error:
            raise EngineError(
                f"libvirt could not {what} in time",
                details=f"{self._host}: no answer within {CALL_S:g} s",
                resolution="Check that libvirt answers there: virsh -c qemu:///system list.",
            ) from error

    def guests(self, architecture: Architecture) -> Guests:
        """What guests of an architecture can be here."""
        with self._errors("list what it offers to guests"):
            whole = self._connection.getCapabilities()
            args = (None, architecture.machine, architecture.chipset or None, None)
            domain = self._connection.getDomainCapabilities(*args)
        return guests(whole, domain, machine=architecture.machine)

    def create(self, domain: Domain) -> None:
        """Define it; it is not started, and does not start by itself."""
        with self._errors("define the domain"):
            # A domain that is defined is kept over restarts of the host; one that is only created
            # is gone with its end.
            self._connection.defineXML(domain_xml(domain))

    def start(self, identity: str) -> None:
        """Start it, and let it come up with the host again where its policy says so."""
        found = self._find(identity)
        with self._errors("start the domain"):
            # Before it runs: libvirt forgets with its daemon why a domain is off, and where the
            # disk of its host is full, its logs are empty.
            self._mark(found, {**self._about(found), _STARTED: "yes"})
            found.create()
            self._autostart(found, start=True)

    def stop(self, identity: str, grace_s: float | None, firmware_s: float = 0.0) -> bool:
        """Press the power button; False when it had to be cut off after `grace_s` (None: what its
        App asks for) and `firmware_s` seconds."""
        found = self._find(identity)
        if grace_s is None:
            with self._errors("look at the domain"):
                grace_s = self._grace_s(found)
        with self._errors("stop the domain"):
            self._autostart(found, start=False)
            if self._powered_off(found, grace_s + firmware_s):
                return True
            self._destroy(found)
        return False

    def _powered_off(self, found: Patient, within_s: float) -> bool:
        """Press the power button until the guest has ended; False when the time is over first."""
        end, pressed = time.monotonic() + within_s, 0.0
        while (power := self._power(found)).active:
            now = time.monotonic()
            if now > end or power is Power.STUCK:  # a guest that stands still hears nothing
                return False
            # A guest that is still booting has no driver for the button yet, and the press is lost.
            if now - pressed > _AGAIN_S:
                self._tolerant(found, found.shutdown)
                pressed = now
            time.sleep(0.05)
        return True

    def _grace_s(self, found: Patient) -> float:
        """Seconds that its App takes to stop, as its mark says."""
        told = self._about(found).get("grace", "")
        return float(told) if _SECONDS.fullmatch(told) else _GRACE_S

    def commit(self, identity: str, restart: str) -> None:
        """Keep compose's `restart`; always and unless-stopped start it with the host."""
        found = self._find(identity)
        with self._errors("set the restart policy"):
            self._mark(found, {**self._about(found), "restart": restart})
            self._autostart(found, start=bool(found.isActive()))

    def withdraw(self, identity: str) -> None:
        """The host starts it no more by itself; no error where there is none."""
        with self._errors("turn autostart off"):
            for found, about in self._ours():
                if about["id"] == identity:
                    self._mark(found, {**about, "restart": "no"})
                    self._autostart(found, start=False)

    def about(self, identity: str) -> dict[str, str]:
        """What portkit's mark in its domain says."""
        found = self._find(identity)
        with self._errors("look at the domain"):
            return self._about(found)

    def _about(self, found: Patient) -> dict[str, str]:
        """What portkit's mark in the domain says."""
        return instance_of(found.XMLDesc(self._libvirt.VIR_DOMAIN_XML_INACTIVE)) or {}

    def _mark(self, found: Patient, about: dict[str, str]) -> None:
        flags = self._libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if found.isActive():
            flags |= self._libvirt.VIR_DOMAIN_AFFECT_LIVE
        kind = self._libvirt.VIR_DOMAIN_METADATA_ELEMENT
        # libvirt puts the element into the namespace itself.
        found.setMetadata(kind, plain_mark(about), "portkit", MARK, flags)

    def _autostart(self, found: Patient, *, start: bool) -> None:
        """As Docker's daemon: `always` comes back even when it was stopped by hand."""
        policy = self._about(found).get("restart", "no")
        wanted = policy == "always" or (policy == "unless-stopped" and start)
        # libvirt starts such a domain when its daemon starts, which is how a host brings it up.
        found.setAutostart(int(wanted))

    def remove(self, identity: str) -> None:
        """Cut it off and forget it, with its firmware's variables; fine when it is gone."""
        for found, about in self._ours():
            if about["id"] != identity:
                continue
            with self._errors("remove the domain"):
                if found.isActive():
                    self._destroy(found)
                # libvirt refuses to forget a UEFI domain while its file of variables is there,
                # unless it is told to remove that too.
                found.undefineFlags(self._libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)

    def _destroy(self, found: Patient) -> None:
        self._tolerant(found, found.destroy)

    def _tolerant(self, found: Patient, act: Callable[[], object]) -> None:
        """A domain may end by itself in between, or while libvirt talks to its monitor."""
        try:
            act()
        except self._libvirt.libvirtError as error:
            invalid = error.get_error_code() == self._libvirt.VIR_ERR_OPERATION_INVALID
            if not invalid and not self._ends(found):
                raise

    def _ends(self, found: Patient) -> bool:
        """Whether a domain is gone within the time in which libvirt notices that QEMU has ended."""
        end = time.monotonic() + _NOTICED_S
        while found.isActive():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def power(self, identity: str) -> Power:
        """How it is; EngineError when the domain is gone."""
        found = self._find(identity)
        with self._errors("look at the domain"):
            return self._power(found)

    def _power(self, found: Patient) -> Power:
        libvirt, (state, reason) = self._libvirt, found.state()
        if state == libvirt.VIR_DOMAIN_CRASHED:
            return Power.ENDED
        if state == libvirt.VIR_DOMAIN_SHUTOFF:
            ended = "SHUTDOWN", "DESTROYED", "CRASHED", "DAEMON"
            ran = reason in [getattr(libvirt, f"VIR_DOMAIN_SHUTOFF_{each}") for each in ended]
            return Power.ENDED if ran else Power.OFF
        # QEMU's default, werror=enospc: other errors are the guest's to see.
        full = libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR
        return Power.STUCK if (state, reason) == full else Power.ON

    def instances(self) -> tuple[Instance, ...]:
        """Every domain that portkit made here; the exit code is not libvirt's to know. exited: it
        was started before, and may have run."""
        found = []
        for domain, about in self._ours():
            with self._errors("look at the domain"):
                power = self._unless_gone(partial(self._power, domain))
            if power is None:
                continue
            off = "exited" if power is Power.ENDED or _STARTED in about else "created"
            status = "running" if power.active else off
            url = about.get("ports", "")
            row = (about["id"], about["app"], Form.DISK, self._host, status, None, url)
            found.append(Instance(*row))
        return tuple(found)

    def _ours(self) -> list[tuple[Patient, dict[str, str]]]:
        found: list[tuple[Patient, dict[str, str]]] = []
        with self._errors("list domains"):
            flags = self._libvirt.VIR_DOMAIN_XML_INACTIVE
            for row in self._connection.listAllDomains():
                xml = self._unless_gone(partial(row.XMLDesc, flags))
                about = None if xml is None else instance_of(xml)
                if about is not None:
                    found.append((row, about))
        return found

    def _unless_gone(self, ask: Callable[[], T]) -> T | None:
        """The answer; None when somebody removed the domain after it was listed."""
        try:
            return ask()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:
                raise
        return None

    def _find(self, identity: str) -> Patient:
        for row, about in self._ours():
            if about["id"] == identity:
                return row
        raise EngineError(
            "the domain no longer exists",
            details=f"{identity} on {self._host}",
            resolution="`portkit ps` lists what exists.",
        )
