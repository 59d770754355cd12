"""Domain XML: golden, escaped, and only our own marks are believed."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as etree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.architecture import ARM64
from portkit.engines.domain_xml import (
    MARK,
    Domain,
    Forward,
    Kernel,
    domain_xml,
    instance_of,
    plain_mark,
)
from portkit.errors import EngineError
from portkit.model import Firmware, Port

DOMAIN = Domain(
    identity="pk-0123456789ab",
    app="shop",
    overlay="/i/disk.qcow2",
    base="/i/base/x.raw",
    config="/i/config.raw",
    serial="/i/serial.log",
    state="/i/state.log",
    memory_bytes=512 << 20,
    cpus=2,
    ports=(
        Forward(Port(80, 8080), "10.0.2.15"),
        Forward(Port(53, 5353, "udp", "127.0.0.1"), "10.0.2.16"),
    ),
    volumes=("/i/pkv0.raw",),
    owner="libvirt-qemu:kvm",
)
GOLDEN = Path(__file__).with_name("domain.xml")
# What XML 1.0 can hold at all.
_REFUSED = "\ufffe\uffff"
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n").filter(
        lambda each: each not in _REFUSED
    )
)


def tree(domain: Domain) -> etree.Element:
    return etree.fromstring(domain_xml(domain))


def test_a_domain_for_arm64() -> None:
    """libvirt refuses ACPI there without UEFI, and la57 is a feature of x86."""
    root = tree(replace(DOMAIN, architecture=ARM64, kernel=Kernel("/k", "/i", "line")))
    kind = root.find("os/type")
    assert kind is not None
    assert (kind.get("arch"), kind.get("machine")) == ("aarch64", "virt")
    assert root.find("features") is None
    assert root.find("cpu/feature") is None
    first, second = root.findall("devices/serial")
    assert first.find("target") is None, "the machine's own port"
    assert second.find("target[@type='pci-serial']") is not None
    uefi = tree(replace(DOMAIN, architecture=ARM64, firmware=Firmware.UEFI))
    assert [each.tag for each in uefi.findall("features/*")] == ["acpi"]


def test_the_domain() -> None:
    root = tree(DOMAIN)
    assert root.get("type") == "qemu"
    assert root.findtext("name") == "portkit-shop-0123456789ab"
    assert root.findtext("memory") == str(512 << 20)
    disks = root.findall("devices/disk")
    assert [(d.find("driver").get("type"), d.find("target").get("dev")) for d in disks] == [  # type: ignore[union-attr]
        ("qcow2", "vda"),
        ("raw", "vdb"),
        ("raw", "vdc"),
    ]
    assert disks[0].find("backingStore/format").get("type") == "raw"  # type: ignore[union-attr]
    assert [d.findtext("serial") for d in disks] == [None, "pkconfig", "pkv0"]
    assert root.findtext("on_reboot") == "destroy"
    words = [arg.get("value") for arg in root.findall(".//{*}arg")]
    assert words[1] == (
        "user,id=portkit,hostfwd=tcp::8080-10.0.2.15:80,hostfwd=udp:127.0.0.1:5353-10.0.2.16:53"
    )
    label = root.find("seclabel")
    assert label is not None
    assert label.get("relabel") == "no"


def test_firmware_and_accelerator() -> None:
    root = tree(replace(DOMAIN, firmware=Firmware.UEFI, kvm=True))
    assert root.get("type") == "kvm"
    assert root.find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    assert root.find("cpu").get("mode") == "host-passthrough"  # type: ignore[union-attr]


def test_a_processor_model_of_ones_own() -> None:
    cpu = tree(replace(DOMAIN, cpu_model="Nehalem", kvm=True)).find("cpu")
    assert cpu is not None
    assert (cpu.get("mode"), cpu.get("check")) == ("custom", "partial")
    assert cpu.findtext("model") == "Nehalem"


@given(TEXT, TEXT)
def test_markup_stays_text(path: str, owner: str) -> None:
    root = tree(replace(DOMAIN, overlay=path, owner=owner))
    assert root.find("devices/disk/source").get("file") == path  # type: ignore[union-attr]
    assert (root.findtext("seclabel/label") or "") == owner
    assert len(list(root.findall(".//{*}arg"))) == 4


def test_a_kernel_that_qemu_starts_itself() -> None:
    root = tree(replace(DOMAIN, kernel=Kernel("/i/base/<k>.raw", "/i/base/i.raw", "quiet a=b")))
    assert root.findtext("os/kernel") == "/i/base/<k>.raw"
    assert root.findtext("os/initrd") == "/i/base/i.raw"
    assert root.findtext("os/cmdline") == "quiet a=b"
    assert tree(DOMAIN).find("os/kernel") is None


def test_a_domain_is_known_again() -> None:
    about = instance_of(domain_xml(DOMAIN))
    assert about == {"id": "pk-0123456789ab", "app": "shop", "restart": "no"}
    assert "urn:" not in plain_mark(about)


def test_other_peoples_domains_are_not_ours() -> None:
    assert instance_of("<domain><name>portkit-shop-0123456789ab</name></domain>") is None
    forged = domain_xml(DOMAIN).replace("pk-0123456789ab", "../../etc")
    assert instance_of(forged) is None


BOMB = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12)
)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no xml",
        "<domain>",
        "\ud800",
        "<domain>" * 100_000,
        "<domain>" + "x" * (4 << 20),
        "<domain a='" + "x" * 1000,
        "<a>" * 257 + "</a>" * 257,
        "<?xml version='1.0' encoding='utf-7'?><!DOCTYPE domain><domain/>",
        "<domain>&lol;</domain>",
        "<domain/><domain/>",
    ],
    ids=lambda xml: xml[:12].encode("ascii", "replace").decode(),
)
def test_xml_that_libvirt_would_not_write(xml: str) -> None:
    with pytest.raises(EngineError, match="malformed"):
        instance_of(xml)


@pytest.mark.parametrize(
    "head",
    [
        BOMB + "]>",
        '<!DOCTYPE d [<!ENTITY m SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE d SYSTEM "http://127.0.0.1:1/m.dtd">',
        "<!DOCTYPE domain>",
    ],
    ids=["bomb", "file", "network", "empty"],
)
def test_entities_are_not_expanded(head: str) -> None:
    mark = f'<i:instance xmlns:i="{MARK}" id="pk-0123456789ab" app="shop"/>'
    xml = f"{head}<domain><metadata>{mark}</metadata><name>&m;</name></domain>"
    with pytest.raises(EngineError) as caught:
        instance_of(xml)
    assert "DOCTYPE" in caught.value.details


def test_only_the_domain_s_own_metadata_has_the_mark() -> None:
    mark = f'<i:instance xmlns:i="{MARK}" id="pk-0123456789ab" app="shop"/>'
    assert instance_of(f"<domain><metadata>{mark}</metadata></domain>") is not None
    assert instance_of(f"<domain><metadata><a>{mark}</a></metadata></domain>") is None
    assert instance_of(f"<domain><devices>{mark}</devices></domain>") is None
    assert instance_of(f"<domain>{mark}</domain>") is None


@pytest.mark.parametrize("bad", ["\0", "\x1b", "\r", "\ud800", "\ufffe"])
def test_what_xml_cannot_hold_is_refused(bad: str) -> None:
    for field in ("overlay", "owner"):
        if bad == "\r" and field == "overlay":
            continue  # in an attribute it is escaped
        with pytest.raises(EngineError, match="cannot be described"):
            domain_xml(replace(DOMAIN, **{field: f"a{bad}b"}))


def test_the_document_stays_as_it_is() -> None:
    assert domain_xml(DOMAIN) == GOLDEN.read_text().rstrip("\n")


def test_what_a_mark_says_is_bounded_and_printable() -> None:
    mark = f'<i:instance xmlns:i="{MARK}" id="pk-0123456789ab" app="shop" ports="{"x" * 100_000}"/>'
    found = instance_of(f"<domain><metadata>{mark}</metadata></domain>")
    assert found is not None
    assert len(found["ports"]) == 32768
