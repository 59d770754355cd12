"""A VM is fenced, stopped and started again, by libvirt's own driver for tests."""

from collections.abc import Iterator

import pytest

from portkit.engines.libvirt import Power
from portkit.engines.libvirt_source import LibvirtSource
from portkit.errors import AppError, ConflictError, EngineError, SpaceError
from portkit.model import LiveDomain

libvirt = pytest.importorskip("libvirt")

ID = "pk-0123456789ab"
XML = f"""<domain type="test"><name>portkit-shop-0123456789ab</name>
<uuid>3369b901-8f98-4d91-bd6c-735afe455b60</uuid>
<metadata><p:instance xmlns:p="urn:portkit:instance:1" id="{ID}" app="shop" restart="always"
grace="1.5" ports=":80"/></metadata>
<memory unit="MiB">8</memory><os><type>hvm</type></os></domain>"""
BEFORE = LiveDomain(ID, "always", autostart=True, running=True)


@pytest.fixture
def engine() -> Iterator[LibvirtSource]:
    """The VM runs, and starts with its host."""
    opened = LibvirtSource("test:///default", "old")
    found = opened._connection.defineXML(XML)
    found.create()
    found.setAutostart(1)
    yield opened
    if found.isActive():
        found.destroy()
    found.undefine()
    opened.close()


def test_a_fenced_one_is_started_by_nothing_and_says_that_it_moves(engine: LibvirtSource) -> None:
    assert engine.seen(ID) == BEFORE
    assert not engine.moved_away(ID)
    for _ in range(2):
        engine.fence(ID)
        assert engine.seen(ID) == LiveDomain(ID, "no", autostart=False, running=True)
        assert engine.moved_away(ID)
    assert engine.about(ID)["grace"] == "1.5", "the rest of its mark stays"
    with pytest.raises(ConflictError, match="started at its source again"):
        engine.require_stopped(ID)
    for _ in range(2):
        engine.power_off(ID)
        engine.require_stopped(ID)
    for _ in range(2):
        engine.start_again(ID)
        assert engine.seen(ID).running
    engine.unfence(BEFORE)
    assert engine.seen(ID) == BEFORE
    assert not engine.moved_away(ID)


def test_one_whose_host_has_no_room_does_not_power_off(
    engine: LibvirtSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_power", lambda _: Power.STUCK)
    with pytest.raises(SpaceError, match="the disk of its host is full") as caught:
        engine.power_off(ID)
    assert "Make room on old" in caught.value.resolution
    monkeypatch.undo()
    assert engine.seen(ID).running, "nobody has pressed the button"


def test_one_whose_autostart_somebody_has_turned_off_stays_like_that(
    engine: LibvirtSource,
) -> None:
    before = LiveDomain(ID, "always", autostart=False, running=True)
    engine.fence(ID)
    engine.power_off(ID)
    engine.start_again(ID)
    engine.unfence(before)
    assert engine.seen(ID) == before


def test_one_that_was_started_is_known_also_when_libvirt_has_forgotten_it(
    engine: LibvirtSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its daemon was restarted, and nothing is in the guest's logs, or its start has failed."""
    engine.power_off(ID)
    monkeypatch.setattr(engine, "_power", lambda _: Power.OFF)
    assert [each.status for each in engine.instances()] == ["created"]
    engine.start(ID)
    assert [each.status for each in engine.instances()] == ["exited"]
    assert engine.about(ID)["grace"] == "1.5", "the rest of its mark stays"


def test_where_its_disks_are(engine: LibvirtSource) -> None:
    # After a snapshot, what stands below is no disk of the guest's own.
    disks = """<devices><disk type="file"><driver type="qcow2"/><source file="/i/disk.snap"/>
    <backingStore type="file"><format type="qcow2"/><source file="/i/disk.qcow2"/></backingStore>
    <target dev="vda"/></disk><disk type="block"><source dev="/dev/sdb"/><target dev="vdb"/></disk>
    </devices></domain>"""
    engine._connection.defineXML(XML.replace("</domain>", disks))
    engine.power_off(ID)
    assert engine.disks(ID) == ("/i/disk.snap", "a disk that is not a file: ['dev']")
    engine.require_disks(ID, ["a disk that is not a file: ['dev']", "/i/disk.snap"])
    with pytest.raises(AppError, match="other disks") as caught:
        engine.require_disks(ID, ["/i/disk.qcow2", "a disk that is not a file: ['dev']"])
    assert caught.value.details.endswith(": /i/disk.qcow2, /i/disk.snap")


def test_one_that_does_not_power_off_is_not_cut_off(
    engine: LibvirtSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(
        engine, "_powered_off", lambda found, within_s: bool(asked.append(within_s))
    )
    with pytest.raises(EngineError, match="does not power off"):
        engine.power_off(ID)
    assert asked == [61.5], "what its App takes to stop, and a minute"
    assert not engine.ended(ID)
    assert engine.seen(ID).running
