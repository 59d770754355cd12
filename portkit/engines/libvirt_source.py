"""What a Move does to a VM of portkit's where it comes from. Everything can be done again."""

from __future__ import annotations

from collections.abc import Collection

from portkit.engines.domain_xml import disks_of
from portkit.engines.libvirt import Libvirt, Power
from portkit.errors import AppError, ConflictError, EngineError, SpaceError
from portkit.model import LiveDomain

_MOVED = "moved"  # in the mark of a VM that is fenced; it stays on one that has moved away
# Seconds beside what its App takes to stop: an emulated guest on a busy host has taken ten.
_POWER_OFF_S = 60.0


class LibvirtSource(Libvirt):
    """The same connection, for a VM that moves away."""

    def seen(self, identity: str) -> LiveDomain:
        """How it is now; EngineError when it is not there."""
        found = self._find(identity)
        with self._errors("look at the domain"):
            return LiveDomain(
                id=identity,
                restart=self._about(found).get("restart", "no"),
                autostart=bool(found.autostart()),
                running=bool(found.isActive()),
            )

    def is_there(self, identity: str) -> bool:
        """Whether libvirt still knows it."""
        return any(about["id"] == identity for _, about in self._ours())

    def disks(self, identity: str) -> tuple[str, ...]:
        """Where what its guest sees as disks is now: paths, and words for what is no file."""
        found = self._find(identity)
        with self._errors("look at the domain"):
            return disks_of(found.XMLDesc(0))

    def require_disks(self, identity: str, given: Collection[str]) -> None:
        """AppError when what its guest sees as disks is not what portkit has given it: paths."""
        if odd := set(self.disks(identity)) ^ set(given):
            raise AppError(
                "the VM has other disks than those that portkit gave it",
                details=f"{identity} on {self._host}: {', '.join(sorted(odd))[:500]}",
                resolution="A disk that you attached would be left behind: detach it. After a "
                "snapshot, merge what was written since while the VM runs: virsh "
                "blockcommit NAME vda --active --pivot.",
            )

    def moved_away(self, identity: str) -> bool:
        """Whether a Move has fenced it, so that its App is, or may be, elsewhere."""
        return _MOVED in self.about(identity)

    def fence(self, identity: str) -> None:
        """Nothing starts it by itself any more, also after its host was restarted."""
        found = self._find(identity)
        with self._errors("turn autostart off"):
            found.setAutostart(0)
            self._mark(found, {**self._about(found), "restart": "no", _MOVED: "yes"})

    def unfence(self, before: LiveDomain) -> None:
        """As it was before the Move."""
        found = self._find(before.id)
        with self._errors("set autostart as it was"):
            about = {key: text for key, text in self._about(found).items() if key != _MOVED}
            self._mark(found, {**about, "restart": before.restart})
            found.setAutostart(int(before.autostart))

    def power_off(self, identity: str) -> None:
        """Press its power button and wait until it has ended.

        EngineError when it does not end: it is never cut off, since what a guest has not written to
        its disks by then would be lost. SpaceError when its host's disk is full, so that it stands
        still.
        """
        if not self.ended(identity):
            stuck = self.power(identity) is Power.STUCK
            raise self._no_room(identity) if stuck else self._does_not_end(identity)

    def ended(self, identity: str) -> bool:
        """Press its power button and wait until it has ended; False when it still runs by then."""
        found = self._find(identity)
        with self._errors("stop the domain"):
            return self._powered_off(found, self._grace_s(found) + _POWER_OFF_S)

    def _no_room(self, identity: str) -> SpaceError:
        return SpaceError(
            "the VM does not power off: it stands still, as the disk of its host is full",
            details=f"{identity} on {self._host}",
            resolution=f"Make room on {self._host}: df -h /var/lib/portkit. Then let the VM go on "
            "(virsh resume), and try again.",
        )

    def _does_not_end(self, identity: str) -> EngineError:
        return EngineError(
            "the VM does not power off",
            details=f"{identity} on {self._host}: portkit asked it to, but it still runs",
            resolution=f"To see what it is doing: portkit console {identity} --on {self._host}. "
            f"If you can lose what it has not written yet: portkit stop {identity} "
            f"--on {self._host}",
        )

    def require_stopped(self, identity: str) -> None:
        """ConflictError when somebody has started it since, or something would."""
        now = self.seen(identity)
        if now.running or now.autostart or now.restart != "no":
            raise ConflictError(
                "the VM was started at its source again, or is set to start",
                details=f"{identity} on {self._host}: "
                f"{'runs' if now.running else 'stopped'}, autostart "
                f"{'on' if now.autostart else 'off'}, restart {now.restart}",
                resolution="Find out who did that. Then roll the Move back, or stop the VM again "
                "and continue the Move.",
            )

    def stands_still(self, identity: str) -> bool:
        """Whether a migration that was cut off has left it paused."""
        found = self._find(identity)
        with self._errors("look at the domain"):
            state, reason = found.state()
        paused = self._libvirt.VIR_DOMAIN_PAUSED, self._libvirt.VIR_DOMAIN_PAUSED_MIGRATION
        return bool((state, reason) == paused)

    def start_again(self, identity: str) -> None:
        """Start it, where it does not run; whether its host does so by itself stays as it is."""
        found = self._find(identity)
        with self._errors("start the domain"):
            if not found.isActive():
                found.create()
            elif self.stands_still(identity):
                found.resume()
