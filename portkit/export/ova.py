"""An OVA: the description of a virtual machine, checksums, and its disk in one tar.

Source: DMTF DSP0243 (OVF 1.1.1): the descriptor is the first member, the manifest follows it, then
the files in the order in which the descriptor names them; the tar is ustar. Pure, but for `write`.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as etree

from portkit import files
from portkit.errors import AppError
from portkit.model import Machine
from portkit.wire.content import Content, Plain, pieces
from portkit.wire.sparse import hash_sparse

_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
_RASD = _CIM + "CIM_ResourceAllocationSettingData"
_VSSD = _CIM + "CIM_VirtualSystemSettingData"
_VMW = "http://www.vmware.com/schema/ovf"
_VMDK = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_LIMIT = 8 << 30  # a size of 11 octal digits in a ustar header
_DEBIAN_64 = "96"  # CIM_OperatingSystem.OsType
for _prefix, _uri in (("ovf", _OVF), ("rasd", _RASD), ("vssd", _VSSD), ("vmw", _VMW)):
    etree.register_namespace(_prefix, _uri)


@dataclass(frozen=True)
class Appliance:
    """A machine to describe. disk: the name of its file. capacity, size: bytes of the disk, and of
    that file."""

    name: str
    machine: Machine
    disk: str
    capacity: int
    size: int


def descriptor(appliance: Appliance) -> bytes:
    """The OVF descriptor. The disk is on an IDE controller (PIIX4), which both VMware and
    VirtualBox have; the network card is VMware's."""
    root = etree.Element(_in(_OVF, "Envelope"))
    references = etree.SubElement(root, _in(_OVF, "References"))
    file = {"id": "file1", "href": appliance.disk, "size": str(appliance.size)}
    etree.SubElement(references, _in(_OVF, "File"), _attributes(file))
    disks = _section(root, "DiskSection", "The disks of the machine")
    disk = {
        "diskId": "disk1",
        "fileRef": "file1",
        "capacity": str(appliance.capacity),
        "format": _VMDK,
    }
    etree.SubElement(disks, _in(_OVF, "Disk"), _attributes(disk))
    networks = _section(root, "NetworkSection", "The networks of the machine")
    network = etree.SubElement(networks, _in(_OVF, "Network"), _attributes({"name": "NAT"}))
    _text(network, _OVF, "Description", "A network whose DHCP server gives the machine an address")
    system = etree.SubElement(root, _in(_OVF, "VirtualSystem"), _attributes({"id": appliance.name}))
    _text(system, _OVF, "Info", "An App that portkit packed as a disk")
    _text(system, _OVF, "Name", appliance.name)
    kind = {_in(_OVF, "id"): _DEBIAN_64, _in(_VMW, "osType"): "debian11_64Guest"}
    _text(
        etree.SubElement(system, _in(_OVF, "OperatingSystemSection"), kind), _OVF, "Info", "Linux"
    )
    _hardware(system, appliance)
    etree.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, "unicode").encode()


def _hardware(system: etree.Element, appliance: Appliance) -> None:
    hardware = _section(system, "VirtualHardwareSection", "What the machine is made of")
    about = etree.SubElement(hardware, _in(_OVF, "System"))
    _text(about, _VSSD, "ElementName", "Virtual Hardware Family")
    _text(about, _VSSD, "InstanceID", "0")
    _text(about, _VSSD, "VirtualSystemIdentifier", appliance.name)
    # ESXi 6.5 and newer.
    _text(about, _VSSD, "VirtualSystemType", "vmx-13")
    memory = -(-appliance.machine.memory_bytes // (4 << 20)) * 4  # VMware wants a multiple of 4
    for item in (
        {
            "ElementName": "CPUs",
            "ResourceType": "3",
            "VirtualQuantity": f"{appliance.machine.cpus}",
        },
        {
            "AllocationUnits": "byte * 2^20",
            "ElementName": "Memory",
            "ResourceType": "4",
            "VirtualQuantity": f"{memory}",
        },
        {"Address": "0", "ElementName": "IDE 0", "ResourceSubType": "PIIX4", "ResourceType": "5"},
        {
            "AddressOnParent": "0",
            "ElementName": "Disk 1",
            "HostResource": "ovf:/disk/disk1",
            "Parent": "3",
            "ResourceType": "17",
        },
        {
            "AddressOnParent": "7",
            "AutomaticAllocation": "true",
            "Connection": "NAT",
            "ElementName": "Network card",
            "ResourceSubType": "VmxNet3",
            "ResourceType": "10",
        },
    ):
        _item(hardware, item)


def _item(hardware: etree.Element, values: dict[str, str]) -> None:
    """An Item, whose elements the schema wants in the order of the alphabet."""
    number = len(hardware.findall(_in(_OVF, "Item"))) + 1
    item = etree.SubElement(hardware, _in(_OVF, "Item"))
    for name, text in sorted({**values, "InstanceID": str(number)}.items()):
        _text(item, _RASD, name, text)


def _section(parent: etree.Element, name: str, info: str) -> etree.Element:
    made = etree.SubElement(parent, _in(_OVF, name))
    _text(made, _OVF, "Info", info)
    return made


def _text(parent: etree.Element, space: str, name: str, text: str) -> None:
    etree.SubElement(parent, _in(space, name)).text = text


def _in(space: str, name: str) -> str:
    return f"{{{space}}}{name}"


def _attributes(values: dict[str, str]) -> dict[str, str]:
    return {_in(_OVF, key): value for key, value in values.items()}


def manifest(digests: dict[str, str]) -> bytes:
    """The manifest of files, by their names, with their sha256 in hex digits."""
    return "".join(f"SHA256({name})= {value}\n" for name, value in digests.items()).encode()


def write(appliance: Appliance, vmdk: Path, out: Path) -> None:
    """The OVA of a streamOptimized vmdk as a new file. AppError when it is too big for one."""
    if appliance.size >= _LIMIT:
        raise AppError(
            "the disk is too big for an OVA",
            details=f"{appliance.size} bytes compressed, an OVA's tar takes {_LIMIT - 1}",
            resolution="Use --disk-format vmdk.",
        )
    described = descriptor(appliance)
    digests = {
        f"{appliance.name}.ovf": hashlib.sha256(described).hexdigest(),
        appliance.disk: hash_sparse(vmdk),
    }
    disk = Plain(vmdk)
    try:
        with files.create(out) as file:
            for data in _tar(appliance, described, manifest(digests), disk):
                file.write(data)
    finally:
        disk.close()


def _tar(appliance: Appliance, described: bytes, listed: bytes, disk: Content) -> Iterator[bytes]:
    for name, data in ((f"{appliance.name}.ovf", described), (f"{appliance.name}.mf", listed)):
        yield _header(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    yield _header(appliance.disk, disk.size)
    yield from pieces(disk)
    yield bytes(-disk.size % tarfile.BLOCKSIZE) + bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)
