"""A domain that ends while libvirt talks to it is stopped, whatever libvirt says of its monitor."""

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
