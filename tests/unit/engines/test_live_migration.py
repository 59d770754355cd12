"""Who lets a guest run that moves live, and when; a libvirt in memory at each end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from portkit.engines.live_migration import Way, migrate
from portkit.engines.live_xml import LiveXml
from portkit.errors import EngineError

libvirt = pytest.importorskip("libvirt")

XML = """<domain><metadata>
<p:instance xmlns:p="urn:portkit:instance:1" id="pk-0123456789ac" app="shop"/>
</metadata></domain>"""
WAY = Way("/run/x", ("vda",), "shop", LiveXml(define="", moving="", kept=XML))
NO_LIMIT = 8796093022207


@dataclass
class Guest:
    """At its source. confirms: until then libvirt's own answer does not come."""

    error: Exception | None = None
    runs: bool = False
    confirms: threading.Event = field(default_factory=threading.Event)
    said: list[tuple[str, int]] = field(default_factory=list)

    def migrate3(self, connection: object, words: object, flags: int) -> str:
        assert self.confirms.wait(10)
        if self.error:
            raise self.error
        return "came"

    def state(self) -> tuple[int, int]:
        return (libvirt.VIR_DOMAIN_RUNNING if self.runs else libvirt.VIR_DOMAIN_SHUTOFF, 0)

    def jobStats(self, flags: int) -> dict[str, int]:
        row = {"memory_iteration": 2, "data_processed": 7}
        return {"downtime": 150, "memory_processed": 5, "disk_processed": 2} if flags else row

    def name(self) -> str:
        return "shop"

    def migrateGetMaxSpeed(self) -> int:
        return NO_LIMIT

    def migrateSetMaxSpeed(self, value: int) -> None:
        self.said.append(("speed", value))

    def migrateSetMaxDowntime(self, value: int) -> None:
        self.said.append(("downtime", value))


@dataclass
class End:
    """One host's libvirt. whole: whether all of the guest is here."""

    guest: Guest
    whole: bool = True
    begun: list[object] = field(default_factory=list)
    library: Any = libvirt
    raw_connection: str = "connection"

    def raw(self, identity: str) -> Guest:
        return self.guest

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except libvirt.libvirtError as error:
            raise EngineError(f"libvirt could not {what}", details=str(error)) from error

    def give_up(self, found: object) -> None:
        self.guest.error = libvirt.libvirtError("given up")
        self.guest.confirms.set()

    def complete(self, came: object) -> bool:
        return self.whole

    def begin(self, came: object, about: dict[str, str]) -> None:
        assert about == {"id": "pk-0123456789ac", "app": "shop"}
        self.begun.append(came)


def ends(**about: Any) -> tuple[End, End]:
    source = End(Guest(**about))
    return source, End(Guest())


def play(source: Any, target: Any, ended: Any, told: Any = lambda *_: None) -> Any:
    return migrate(source, target, "pk-a", WAY, told, ended)


def later(guest: Guest) -> None:
    """libvirt's answer comes half a second later."""
    threading.Timer(0.5, guest.confirms.set).start()


def test_it_runs_as_soon_as_the_sources_qemu_has_ended() -> None:
    source, target = ends()
    began, ran = time.monotonic(), list[bool]()

    def ended() -> bool:
        ran.append(True)
        later(source.guest)
        return True

    moved = play(source, target, ended)
    assert target.begun == [target.guest]  # and not once more when libvirt has answered
    assert time.monotonic() - began >= 0.5
    assert (moved.memory_bytes, moved.disk_bytes) == (5, 2)
    assert 0.15 <= moved.downtime_s < 0.5


def test_a_qemu_that_crashed_before_its_guest_was_sent_starts_nothing() -> None:
    source, target = ends(error=libvirt.libvirtError("QEMU has crashed"))
    target.whole = False
    later(source.guest)
    with pytest.raises(EngineError, match="move the VM live"):
        play(source, target, lambda: True)
    assert target.begun == []


def test_libvirts_answer_is_enough() -> None:
    source, target = ends()
    later(source.guest)

    def unknown() -> bool:
        time.sleep(0.05)
        return False

    play(source, target, unknown)
    assert target.begun == ["came"]
    source, target = ends()
    later(source.guest)

    def broken() -> bool:
        raise EngineError("the host does not answer")

    play(source, target, broken)
    assert target.begun == ["came"]


def test_an_answer_that_is_lost_when_it_runs_on_the_target_changes_nothing() -> None:
    source, target = ends(error=libvirt.libvirtError("connection reset"))

    def ended() -> bool:
        later(source.guest)
        return True

    play(source, target, ended)
    assert target.begun == [target.guest]


def test_one_that_runs_at_its_source_is_not_begun() -> None:
    source, target = ends(runs=True)
    source.guest.confirms.set()
    with pytest.raises(EngineError, match="runs at its source"):
        play(source, target, lambda: False)
    assert target.begun == []


def test_who_is_told_can_end_it_and_the_speed_is_as_before() -> None:
    source, target = ends()
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        raise KeyboardInterrupt

    def unknown() -> bool:
        time.sleep(0.05)
        return False

    with pytest.raises(KeyboardInterrupt):
        play(source, target, unknown, stop)
    assert told == [7]
    assert target.begun == []
    assert ("speed", NO_LIMIT) not in source.guest.said  # it was never another one
    assert source.guest.said == [("downtime", 75)]
