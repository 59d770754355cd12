"""Domain XML: golden, escaped (hostile input 32), and only our own marks are believed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from portkit.engines.domain_xml import MARK, Domain, domain_xml, instance_of, plain_mark
from portkit.errors import EngineError
from portkit.model import Firmware, Port

DOMAIN = Domain(
    identity="pk-0123456789ab",
    app="shop",
    overlay="/i/disk.qcow2",
    base="/i/base/x.raw",
    config="/i/config.raw",
    serial="/i/serial.log",
    memory_bytes=512 << 20,
    cpus=2,
    ports=(Port(80, 8080), Port(53, 5353, "udp", "127.0.0.1")),
    volumes=("/i/pkv0.raw",),
    owner="libvirt-qemu:kvm",
)
# What XML 1.0 can hold at all.
TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="￾￿"))


def tree(domain: Domain) -> etree._Element:
    return etree.fromstring(domain_xml(domain))


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
    words = [arg.get("value") for arg in root.iter("{*}arg")]
    assert words[1] == ("user,id=portkit,hostfwd=tcp::8080-:80,hostfwd=udp:127.0.0.1:5353-:53")
    label = root.find("seclabel")
    assert label is not None
    assert label.get("relabel") == "no"


def test_firmware_and_accelerator() -> None:
    root = tree(Domain(**{**DOMAIN.__dict__, "firmware": Firmware.UEFI, "kvm": True}))
    assert root.get("type") == "kvm"
    assert root.find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    assert root.find("cpu").get("mode") == "host-passthrough"  # type: ignore[union-attr]


@given(TEXT, TEXT)
def test_markup_stays_text(path: str, owner: str) -> None:
    root = tree(Domain(**{**DOMAIN.__dict__, "overlay": path, "owner": owner}))
    assert root.find("devices/disk/source").get("file") == path  # type: ignore[union-attr]
    assert (root.findtext("seclabel/label") or "") == owner
    assert len(list(root.iter("{*}arg"))) == 4


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
    ],
    ids=lambda xml: xml[:12].encode("ascii", "replace").decode(),
)
def test_xml_that_libvirt_would_not_write(xml: str) -> None:
    with pytest.raises(EngineError, match="malformed"):
        instance_of(xml)


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    for head, name in (
        (BOMB + "]>", "m"),
        (f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>', "x"),
    ):
        mark = f'<i:instance xmlns:i="{MARK}" id="pk-0123456789ab" app="shop" ports=":8{{}}"/>'
        xml = f"{head}<domain><metadata>{mark.format('')}</metadata><name>&{name};</name></domain>"
        try:
            found = instance_of(xml)
        except EngineError:
            continue
        assert found == {"id": "pk-0123456789ab", "app": "shop", "ports": ":8"}


def test_what_a_mark_says_is_bounded_and_printable() -> None:
    mark = f'<i:instance xmlns:i="{MARK}" id="pk-0123456789ab" app="shop" ports="{"x" * 10_000}"/>'
    found = instance_of(f"<domain><metadata>{mark}</metadata></domain>")
    assert found is not None
    assert len(found["ports"]) == 4096
