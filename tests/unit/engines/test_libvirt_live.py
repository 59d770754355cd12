"""How a VM that moves live looks to whoever asks, by libvirt's own driver for tests."""

from collections.abc import Iterator

import pytest

from portkit.engines.libvirt_live import ARRIVED, Condition, LibvirtLive
from portkit.errors import ConflictError

libvirt = pytest.importorskip("libvirt")

ID, UUID = "pk-0123456789ac", "3369b901-8f98-4d91-bd6c-735afe455b61"
XML = f"""<domain type="test"><name>portkit-shop-0123456789ac</name><uuid>{UUID}</uuid>
<metadata><p:instance xmlns:p="urn:portkit:instance:1" id="{ID}" app="shop"/></metadata>
<memory unit="MiB">8</memory><os><type>hvm</type></os></domain>"""


@pytest.fixture
def engine() -> Iterator[LibvirtLive]:
    opened = LibvirtLive("test:///default", "old")
    opened.raw_connection.defineXML(XML).create()
    yield opened
    found = opened.raw(ID)
    if found.isActive():
        found.destroy()
    found.undefine()
    opened.close()


def test_what_it_looks_like(engine: LibvirtLive) -> None:
    assert engine.condition(ID) == Condition(there=True, on=True, runs=True)
    engine.raw(ID).suspend()
    # By hand, and not by a migration.
    assert engine.condition(ID) == Condition(there=True, on=True)
    # On its target it is as a migration leaves it there.
    assert engine.condition(ID, came=True) == Condition(there=True, on=True, paused=True)
    engine.proceed(ID)
    assert engine.condition(ID).runs
    for _ in range(2):
        engine.cut(ID)
        assert engine.condition(ID) == Condition(there=True)
    engine.raw_connection.defineXML(XML.replace('app="shop"', f'app="shop" {ARRIVED}="yes"'))
    assert engine.condition(ID) == Condition(there=True, arrived=True)
    assert engine.condition("pk-000000000000") == Condition(there=False)


def test_what_is_written_down_of_a_guest_that_came(engine: LibvirtLive) -> None:
    raw = engine.raw(ID)
    raw.suspend()
    for _ in range(2):
        engine.mark_arrived(ID)
        assert engine.condition(ID).arrived
    for _ in range(2):
        engine.forget_arrived(ID)
        assert engine.condition(ID, came=True) == Condition(there=True, on=True, paused=True)
    engine.begin(raw, engine.about(ID))
    assert engine.condition(ID) == Condition(there=True, on=True, runs=True, arrived=True)
    engine.forget_arrived(ID)
    assert engine.about(ID) == {"id": ID, "app": "shop"}


def test_it_is_there_when_portkit_is_killed_while_it_is_defined_anew(
    engine: LibvirtLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.cut(ID)

    def killed(identity: str) -> None:
        raise AssertionError("it was removed")

    monkeypatch.setattr(engine, "remove", killed)
    engine.redefine(ID, XML.replace('app="shop"', 'app="shop" grace="9"'))
    assert engine.about(ID)["grace"] == "9"


def test_nothing_is_at_work(engine: LibvirtLive) -> None:
    engine.cut(ID)  # the driver for tests knows of no jobs
    engine.await_sent(ID)
    engine.await_received(ID)
    engine.await_received("pk-000000000000")


class Incoming:
    """What libvirt says on the host to which a guest is on its way."""

    def jobInfo(self) -> list[int]:
        error = libvirt.libvirtError("x")
        error.err = (libvirt.VIR_ERR_OPERATION_UNSUPPORTED, 10, "only on the source host")
        raise error


def test_one_that_is_on_its_way_here_is_at_work(engine: LibvirtLive) -> None:
    assert engine._has_job(Incoming())  # type: ignore[arg-type]


def test_the_same_vm_is_there(engine: LibvirtLive) -> None:
    engine.refuse_same("11111111-8f98-4d91-bd6c-735afe455b61")
    engine.refuse_same(UUID, ID)
    with pytest.raises(ConflictError, match="the same VM") as caught:
        engine.refuse_same(UUID)
    assert "without --live" in caught.value.resolution


def test_all_of_a_guest_is_here_once_its_last_phase_has_ended(engine: LibvirtLive) -> None:
    raw = engine.raw(ID)
    assert not engine.complete(raw)  # it runs
    raw.suspend()
    assert engine.complete(raw)
    raw.destroy()
    assert not engine.complete(raw)
