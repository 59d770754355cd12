"""A domain that ends while libvirt talks to it is stopped, whatever libvirt says of its monitor.
One that stands still is not waited for."""

from typing import Any

import pytest

from portkit.engines import libvirt as engine

libvirt = pytest.importorskip("libvirt")


class Domain:
    """active: what `isActive` answers, in order; the last one stays."""

    def __init__(self, *active: bool) -> None:
        self._active = list(active)

    def isActive(self) -> bool:
        return self._active.pop(0) if len(self._active) > 1 else self._active[0]


def reset() -> None:
    error = libvirt.libvirtError("Unable to read from monitor: Connection reset by peer")
    error.err = (libvirt.VIR_ERR_SYSTEM_ERROR, 10, str(error), 2, "", None, None, 104, -1)
    raise error


def tolerant(domain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_NOTICED_S", 0.2)
    one = engine.Libvirt.__new__(engine.Libvirt)
    one._libvirt = libvirt
    one._tolerant(domain, reset)


def test_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    tolerant(Domain(True, True, False), monkeypatch)


def test_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(libvirt.libvirtError, match="Unable to read"):
        tolerant(Domain(True), monkeypatch)


class Guest:
    """It has a state, and hears no power button."""

    def __init__(self, state: int, reason: int) -> None:
        self._state, self.pressed = [state, reason], 0

    def state(self) -> list[int]:
        return self._state

    def isActive(self) -> bool:
        return True

    def shutdown(self) -> None:
        self.pressed += 1


FULL = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


@pytest.mark.parametrize(
    ("found", "power"),
    [
        (FULL, engine.Power.STUCK),
        ((libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER), engine.Power.ON),
        ((libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED), engine.Power.ON),
        ((libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN), engine.Power.OFF),
        ((libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN), engine.Power.ENDED),
        ((libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED), engine.Power.ENDED),
        ((libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DAEMON), engine.Power.ENDED),
        ((libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED), engine.Power.ENDED),
    ],
)
def test_how_it_is(found: tuple[int, int], power: engine.Power) -> None:
    one = engine.Libvirt.__new__(engine.Libvirt)
    one._libvirt = libvirt
    guest: Any = Guest(*found)
    assert one._power(guest) is power


def test_a_guest_that_stands_still_is_not_asked_to_power_off() -> None:
    one = engine.Libvirt.__new__(engine.Libvirt)
    one._libvirt = libvirt
    guest: Any = Guest(*FULL)
    assert not one._powered_off(guest, 3600.0)
    assert guest.pressed == 0
