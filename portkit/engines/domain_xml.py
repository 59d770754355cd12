"""Domain XML of an Instance, and portkit's mark in it. Pure.

Source: libvirt.org/formatdomain.html; every value goes in as an attribute or text of a tree, so
that markup in it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree as etree

from portkit.architecture import AMD64, Architecture
from portkit.engines.marks import ours
from portkit.errors import EngineError
from portkit.model import Firmware, Port
from portkit.text import printable

MARK = "urn:portkit:instance:1"
_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
XML_LIMIT = 4 << 20  # libvirt's own for a text (remote_protocol.x, REMOTE_STRING_MAX)
_DEPTH_LIMIT = 256  # of elements in each other; libxml2, which libvirt uses, has the same
# What XML 1.0 cannot hold, and a carriage return, which would be read back as a newline.
_NO_XML = re.compile("[^\\t\\n\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_VALUE_LIMIT = 32768
_NAMES = {
    "id",
    "app",
    "restart",
    "ports",
    "grace",
    "services",
    "front",
    "checks",
    "moved",
    "arrived",
    "started",
}
_INSTANCE = f"{{{MARK}}}instance"
etree.register_namespace("portkit", MARK)
etree.register_namespace("qemu", _QEMU)


class Kernel(NamedTuple):
    """Paths of a kernel and its initrd on the host, and the kernel's command line."""

    image: str
    initrd: str
    line: str


class Forward(NamedTuple):
    """A published port, and the address in the VM's network that it leads to."""

    port: Port
    address: str


@dataclass(frozen=True)
class Domain:
    """What a domain is made from. Paths are the host's; volumes in the order of their numbers.

    architecture: of the guest. kernel: what QEMU starts itself, without the disk's boot loader.
    serial, state: files for what comes over the first serial port, and over the second, where init
    tells of its services.
    """

    identity: str
    app: str
    overlay: str
    base: str
    config: str
    serial: str
    state: str
    memory_bytes: int
    cpus: int
    ports: tuple[Forward, ...]
    volumes: tuple[str, ...] = ()
    kernel: Kernel | None = None
    owner: str = ""  # "user:group" of QEMU, owner of the files
    architecture: Architecture = AMD64
    kvm: bool = False
    firmware: Firmware = Firmware.BIOS
    cpu_model: str = ""
    reboots: bool = False  # the guest may reboot itself (an init system); else that is an end
    mark: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in libvirt, by which people find it."""
        return f"portkit-{self.app}-{self.identity.removeprefix('pk-')}"


def domain_xml(domain: Domain) -> str:
    """The document for virDomainDefineXML. EngineError for a value that XML cannot hold."""
    root = etree.Element("domain", {"type": "kvm" if domain.kvm else "qemu"})
    _text(root, "name", domain.name)
    metadata = etree.SubElement(root, "metadata")
    about = {"id": domain.identity, "app": domain.app, "restart": "no", **domain.mark}
    etree.SubElement(metadata, _INSTANCE, about)
    _text(root, "memory", str(domain.memory_bytes), unit="b")
    _text(root, "vcpu", str(domain.cpus))
    uefi = {"firmware": "efi"} if domain.firmware is Firmware.UEFI else {}
    boot = etree.SubElement(root, "os", uefi)
    known = domain.architecture
    _text(boot, "type", "hvm", arch=known.machine, machine=known.chipset)
    if uefi:
        firmware = etree.SubElement(boot, "firmware")
        # The kernel in the disk is signed by nobody that a firmware knows.
        etree.SubElement(firmware, "feature", enabled="no", name="secure-boot")
    if domain.kernel:
        _text(boot, "kernel", domain.kernel.image)
        _text(boot, "initrd", domain.kernel.initrd)
        _text(boot, "cmdline", domain.kernel.line)
    etree.SubElement(boot, "boot", dev="hd")
    # The power button is an event of ACPI; without it a guest cannot be asked to stop. On arm64 it
    # takes UEFI to have ACPI; else the button is a wire, which QEMU and the guest know of.
    if known.bios or uefi:
        features = etree.SubElement(root, "features")
        etree.SubElement(features, "acpi")
        if known.bios:
            etree.SubElement(features, "apic")
    _processor(root, domain)
    etree.SubElement(root, "clock", offset="utc")
    # "destroy" is libvirt's word for: the VM ends. The App's end is the guest's, so a reboot is one
    # too.
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart" if domain.reboots else "destroy")
    _text(root, "on_crash", "destroy")
    _devices(root, domain)
    if domain.owner:
        # The files were given to QEMU's user when they were made; libvirt need not touch them.
        label = etree.SubElement(root, "seclabel", type="static", model="dac", relabel="no")
        _text(label, "label", domain.owner)
    _network(root, domain)
    etree.indent(root)
    return _written(root)


def plain_mark(about: Mapping[str, str]) -> str:
    """The element by which portkit knows its own domains again, without its namespace, as
    virDomainSetMetadata wants it."""
    return _written(etree.Element("instance", dict(about)))


def _written(root: etree.Element) -> str:
    text = etree.tostring(root, encoding="unicode")
    if found := _NO_XML.search(text):
        raise EngineError(
            "a domain cannot be described in XML",
            details=f"a value contains the character {found[0]!a}",
            resolution="Use names and paths without control characters.",
        )
    return text


def instance_of(xml: str) -> dict[str, str] | None:
    """What the mark of a domain says; None for a domain that is not ours. EngineError when it is
    no XML that libvirt could have made."""
    mark = _read(xml).mark
    if not ours(mark.get("id", ""), mark.get("app", "")):
        return None
    return {key: printable(mark[key], _VALUE_LIMIT) for key in mark if key in _NAMES}


def disks_of(xml: str) -> tuple[str, ...]:
    """What the guest of a domain has as disks: the paths of files, and of anything else the kind.
    EngineError as for `instance_of`."""
    return tuple(printable(each, _VALUE_LIMIT) for each in _read(xml).disks)


def _read(xml: str) -> _Reader:
    if len(xml) > XML_LIMIT:
        raise malformed(f"it has more than {XML_LIMIT} characters")
    target = _Reader()
    parser = etree.XMLParser(target=target, encoding="utf-8")  # noqa: S314 - refuses a DOCTYPE
    try:
        parser.feed(xml.encode())
        parser.close()
    except (etree.ParseError, ValueError) as error:
        raise malformed(type(error).__name__) from error
    return target


class _Reader:
    """Keeps of a document the attributes of its mark and where its disks are, and nothing else:
    domains of other people are read too. Without a DOCTYPE there are no entities that could expand
    or name a file."""

    def __init__(self) -> None:
        self.mark: dict[str, str] = {}
        self.disks: list[str] = []
        self._path: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        if len(self._path) > _DEPTH_LIMIT:
            raise malformed(f"its elements are nested more than {_DEPTH_LIMIT} levels deep")
        # Only at that place: a description, for example, may hold any text.
        if not self.mark and self._path[1:] == ["metadata", _INSTANCE]:
            self.mark = attributes
        if self._path[1:] == ["devices", "disk", "source"]:  # and none of what it stands on
            self.disks.append(
                attributes.get("file") or (f"a disk that is not a file: {sorted(attributes)}")
            )
        if self._path[1:] == ["devices", "filesystem"]:
            self.disks.append("a folder of the host")

    def end(self, tag: str) -> None:
        self._path.pop()

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise malformed("it has a DOCTYPE, which libvirt never writes")


def malformed(why: str) -> EngineError:
    return EngineError(
        "libvirt's description of a domain is malformed",
        details=why,
        resolution="Check which program answers there: virsh -c qemu:///system dumpxml.",
    )


def _text(parent: etree.Element, name: str, text: str, **attributes: str) -> etree.Element:
    made = etree.SubElement(parent, name, attributes)
    made.text = text
    return made


def _processor(root: etree.Element, domain: Domain) -> None:
    if domain.cpu_model:
        # Not "full": libvirt then refuses what QEMU adds to each model, too (hypervisor, lahf_lm).
        cpu = etree.SubElement(root, "cpu", mode="custom", match="exact", check="partial")
        _text(cpu, "model", domain.cpu_model, fallback="forbid")
        return
    if domain.kvm:
        etree.SubElement(root, "cpu", mode="host-passthrough", migratable="on")
        return
    cpu = etree.SubElement(root, "cpu", mode="maximum")
    if domain.architecture is AMD64:
        # Five levels of page tables cost an emulated processor time and give nothing here.
        etree.SubElement(cpu, "feature", policy="disable", name="la57")


def _devices(root: etree.Element, domain: Domain) -> None:
    devices = etree.SubElement(root, "devices")
    # The whole chain is written out: libvirt then takes the base and its format from here, and does
    # not read them from the overlay's header.
    disk = _disk(devices, domain.overlay, "qcow2", "vda")
    backing = etree.SubElement(disk, "backingStore", type="file")
    etree.SubElement(backing, "format", type="raw")
    etree.SubElement(backing, "source", file=domain.base)
    etree.SubElement(backing, "backingStore")
    config = _disk(devices, domain.config, "raw", "vdb")
    etree.SubElement(config, "readonly")
    # The guest finds its disks by serial number: letters depend on the order in which the kernel
    # meets them.
    _text(config, "serial", "pkconfig")
    for number, path in enumerate(domain.volumes):
        volume = _disk(devices, path, "raw", f"vd{chr(ord('c') + number)}")
        _text(volume, "serial", f"pkv{number}")
    # libvirt adds devices that nobody uses here (USB, a balloon, a video card); each costs time at
    # boot.
    etree.SubElement(devices, "controller", type="usb", model="none")
    serial = etree.SubElement(devices, "serial", type="pty")
    etree.SubElement(serial, "log", file=domain.serial, append="off")
    state = etree.SubElement(devices, "serial", type="null")
    etree.SubElement(state, "log", file=domain.state, append="off")
    if domain.architecture is not AMD64:
        # The machine has one port of its own (QEMU before 9.1), so the second is a card.
        target = etree.SubElement(state, "target", type="pci-serial", port="1")
        etree.SubElement(target, "model", name="pci-serial")
        place = {"type": "pci", "domain": "0", "bus": "0", "slot": "0x11", "function": "0"}
        etree.SubElement(state, "address", place)
    # A fresh VM has little entropy, and getrandom(2) of the App would wait for it.
    random = etree.SubElement(devices, "rng", model="virtio")
    _text(random, "backend", "/dev/urandom", model="random")
    etree.SubElement(devices, "memballoon", model="none")
    etree.SubElement(etree.SubElement(devices, "video"), "model", type="none")


def _disk(devices: etree.Element, path: str, kind: str, target: str) -> etree.Element:
    disk = etree.SubElement(devices, "disk", type="file", device="disk")
    # unmap: what the guest trims becomes a hole in the file again.
    etree.SubElement(disk, "driver", name="qemu", type=kind, discard="unmap")
    etree.SubElement(disk, "source", file=path)
    etree.SubElement(disk, "target", dev=target, bus="virtio")
    return disk


def _network(root: etree.Element, domain: Domain) -> None:
    """User-mode networking that forwards the published ports: part of the domain itself, so that
    it survives reboots and needs no rule on the host."""
    # libvirt's own user networking (<interface type="user">) forwards ports only with passt, from
    # libvirt 9.0 on and where passt is installed.
    line = etree.SubElement(root, f"{{{_QEMU}}}commandline")
    rules = "".join(
        f",hostfwd={p.protocol}:{p.host_ip}:{p.host_port}-{address}:{p.target}"
        for p, address in domain.ports
    )
    for word in (
        "-netdev",
        f"user,id=portkit{rules}",
        "-device",
        # A fixed slot that libvirt leaves free on the root bus.
        "virtio-net-pci,netdev=portkit,bus=pcie.0,addr=0x10",
    ):
        etree.SubElement(line, f"{{{_QEMU}}}arg", value=word)
