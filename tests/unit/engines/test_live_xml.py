"""A source's description of a VM at the places of its target; it is a host's word."""

from xml.etree import ElementTree as etree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.engines.domain_xml import Domain, Forward, Kernel, disks_of, domain_xml, instance_of
from portkit.engines.libvirt_guests import confined_by
from portkit.engines.live_xml import disks_of_guest, for_target, live_guest
from portkit.errors import EngineError
from portkit.model import Port

OLD, NEW = "pk-0000000000aa", "pk-0000000000bb"


def described(identity: str, folder: str, base: str, **more: object) -> str:
    values: dict[str, object] = {
        "identity": identity,
        "app": "shop",
        "overlay": f"{folder}/disk.qcow2",
        "base": base,
        "config": f"{folder}/config.raw",
        "serial": f"{folder}/serial.log",
        "state": f"{folder}/state.log",
        "memory_bytes": 512 << 20,
        "cpus": 1,
        "ports": (Forward(Port(80, 8080), "10.0.2.15"),),
        "volumes": (f"{folder}/pkv0.raw",),
        "kernel": Kernel(f"{folder}/kernel", f"{folder}/initrd", "quiet"),
        "owner": "qemu:qemu",
        "cpu_model": "Nehalem",
    }
    xml = domain_xml(Domain(**{**values, **more}))  # type: ignore[arg-type]
    # What libvirt adds.
    xml = xml.replace("<metadata>", f"<uuid>9b7d1cac-{identity[-4:]}</uuid><metadata>", 1)
    return xml.replace('machine="q35"', f'machine="pc-q35-{7 if identity == OLD else 10}.0"')


SOURCE = described(OLD, "/old/i", "/old/base.raw", owner="libvirt-qemu:kvm")
TARGET = described(NEW, "/new/i", "/new/base.raw")


def test_what_the_guest_sees_is_the_sources_and_the_places_are_the_targets() -> None:
    before = TARGET.replace(f'id="{NEW}"', f'id="{NEW}" arrived="yes"')
    assert "arrived" in (instance_of(before) or {})
    made = for_target(SOURCE, before)
    for xml in (made.define, made.moving, made.kept):
        guest = live_guest(xml)
        assert (guest.machine, guest.cpu, guest.uuid) == ("pc-q35-7.0", "Nehalem", "9b7d1cac-00aa")
        assert "/old" not in xml
        assert "libvirt-qemu" not in xml
        assert disks_of(xml) == disks_of(TARGET)
        assert (instance_of(xml) or {})["id"] == NEW
    assert live_guest(SOURCE) == live_guest(made.define)
    name = {each: etree.fromstring(getattr(made, each)).findtext("name") for each in vars(made)}
    assert name["define"] == "portkit-shop-0000000000bb"
    assert name["moving"] == name["kept"] == "portkit-shop-0000000000aa", "as libvirt wants it"
    for each in vars(made):
        assert "arrived" not in (instance_of(getattr(made, each)) or {}), "of a try before"
    assert made.moving.count('append="on"') == 2
    assert 'append="on"' not in made.kept


def test_disks_that_are_copied() -> None:
    assert disks_of_guest(SOURCE) == ("vda", "vdc")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("<devices>", '<devices><hostdev mode="subsystem" type="usb"/>'),
        ("<devices>", '<devices><filesystem type="mount"><source dir="/"/></filesystem>'),
        ("<devices>", '<devices><serial type="file"><source path="/etc/shadow"/></serial>'),
        ("<devices>", '<devices><disk type="block"><target dev="vdz"/></disk>'),
        ("/dev/urandom", "/dev/sda"),
        ("<devices>", "<launchSecurity/><devices>"),
        ("<kernel>", "<loader>/etc/shadow</loader><kernel>"),
        ('<target dev="vdc"', '<target dev="vdd"'),
        ("536870912", "999999999999"),
        ("<vcpu>1", "<vcpu>64"),
        ('<source file="/old/i/pkv0.raw" />', '<source dev="/dev/sda" />'),
        ('type="raw"', 'type="qcow2"'),
        ('type="qcow2"', 'type="raw"'),
        ('<format type="raw" />', '<format type="qcow2" />'),
        ('<format type="raw" />', '<format type="raw" /><source file="/etc/shadow" /><x />'),
    ],
)
def test_more_than_portkit_has_given_it(was: str, becomes: str) -> None:
    assert was in SOURCE
    with pytest.raises(EngineError):
        for_target(SOURCE.replace(was, becomes, 1), TARGET)


def test_words_for_the_targets_qemu_are_the_targets() -> None:
    odd = SOURCE.replace('value="-netdev"', 'value="-chardev"')
    assert odd != SOURCE
    assert "-chardev" not in for_target(odd, TARGET).moving


def test_what_is_in_a_source_is_the_targets_too() -> None:
    file = '<source file="/old/i/pkv0.raw" />'
    odd = SOURCE.replace(file, f'{file[:-3]}><encryption format="luks" /></source>')
    assert odd != SOURCE
    assert "luks" not in for_target(odd, TARGET).moving


def test_what_confines_guests() -> None:
    models = "".join(f"<secmodel><model>{m}</model></secmodel>" for m in ("apparmor", "dac"))
    assert confined_by(f"<capabilities><host>{models}</host></capabilities>") == ("apparmor",)
    assert confined_by("<capabilities><host/></capabilities>") == ()
    with pytest.raises(EngineError):
        confined_by("no")


def test_a_doctype_is_refused() -> None:
    with pytest.raises(EngineError):
        live_guest('<!DOCTYPE a [<!ENTITY b "c">]>' + SOURCE)


@given(st.text())
def test_any_text_is_an_error_of_portkits(text: str) -> None:
    for xml in (text, f"<domain><os/>{text}</domain>"):
        try:
            for_target(xml, TARGET)
        except EngineError:
            continue
        raise AssertionError("it had no disks")
