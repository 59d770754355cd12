"""Files that are no qcow2 and no raw disk: what they are, and how a disk is made of them."""

from __future__ import annotations

import re
from pathlib import Path

from portkit.errors import AppError
from portkit.model.disk import DiskFormat
from portkit.needs import qcow2
from portkit.text import printable

FOOTER_BYTES = 512
_FOOTER, _DESCRIPTION = b"conectix", b"# Disk DescriptorFile"
# Disks of other programs by how they begin, and what qemu-img calls each.
_DISKS = {
    b"KDMV": ("VMDK", "vmdk"),
    _DESCRIPTION: ("VMDK", "vmdk"),
    b"COWD": ("VMDK", "vmdk"),
    b"QED\0": ("QED", "qed"),
    b"vhdxfile": ("VHDX", "vhdx"),
    _FOOTER: ("VHD", "vpc"),
    b"<<< ": ("VDI", "vdi"),
    b"LUKS\xba\xbe": ("LUKS", "luks"),
    b"WithoutFreeSpace": ("Parallels", "parallels"),
    b"WithouFreSpacExt": ("Parallels", "parallels"),
    qcow2.MAGIC + bytes(3) + b"\1": ("QCOW of version 1", "qcow"),
}
# Files in which a disk may be, and how it is taken out.
_WRAPPED = {
    b"\x1f\x8b\x08": ("gzip", "gunzip"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"BZh": ("bzip2", "bunzip2"),
    b"PK\3\4": ("zip", "unzip"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x"),
}
_TAR, _TAR_AT = b"ustar", 257
# Disks of other programs by the names that people give to them, and what qemu-img calls each.
_CONVERTED = {
    ".vmdk": "vmdk",
    ".vhdx": "vhdx",
    ".vhd": "vpc",
    ".vdi": "vdi",
    ".qed": "qed",
    ".qcow": "qcow",
}
_ARCHIVE, _CD = ".ova", ".iso"
SUFFIXES = (*_CONVERTED, _ARCHIVE, _CD)
_BOOT_SECTOR = b"\x55\xaa"
_ISO, _ISO_AT = b"CD001", 32769
# The description of a VMDK, in a file of its own or in a part of the file: each part of the disk,
# and the file that has it (VMware, Virtual Disk Format 5.0).
_EXTENT = re.compile(rb"^(?:RW|RDONLY) +[0-9]+ +[A-Z]+ +\"([^\"\n]{1,255})\"", re.MULTILINE)
_PARENT = re.compile(rb"^parentCID *= *(?!f{8})[0-9a-f]{1,8}\s*$", re.MULTILINE | re.IGNORECASE)
_DESCRIPTION_BYTES = 64 << 10


def without_format(path: Path) -> AppError:
    """For a disk whose name does not show one of the formats that portkit reads."""
    suffix = path.suffix.lower()
    if suffix == _ARCHIVE:
        return AppError(
            "this is an archive with a virtual machine, and not a disk",
            details=str(path),
            resolution=f"Take its disk out (tar xf {path.name}), convert that (qemu-img convert -f "
            "vmdk -O qcow2 DISK.vmdk DISK.qcow2), and check the qcow2.",
        )
    if suffix == _CD:
        return _cd(path)
    if suffix == ".vmdk":
        return _vmdk(path)
    if known := _CONVERTED.get(suffix):
        return _converted(path, suffix.removeprefix(".").upper(), known)
    return AppError(
        "portkit cannot tell the format of this disk",
        details=str(path),
        resolution="Name it with --disk-format qcow2 or --disk-format raw.",
    )


def _converted(path: Path, name: str, known: str) -> AppError:
    return AppError(
        f"portkit reads no {name} disks",
        details=str(path),
        resolution=f"Convert it first: qemu-img convert -f {known} -O qcow2 {path.name} "
        f"{path.stem}.qcow2",
    )


def _cd(path: Path) -> AppError:
    return AppError(
        "this is the content of a CD or DVD (ISO 9660), and not a disk",
        details=str(path),
        resolution="Give it to a VM as a CD-ROM, and check the disk that is installed from it. To "
        "judge it as a disk, as it is on a USB stick, use --disk-format raw.",
    )


def _vmdk(path: Path) -> AppError:
    """Its parts may be in other files, which are looked for and not opened. A part has no
    description: in its header, the place of that is 0."""
    try:
        with path.open("rb") as file:
            data = file.read(_DESCRIPTION_BYTES)
    except OSError:  # the usual way reports it
        data = b"KDMV"
    if _PARENT.search(data):
        return AppError(
            "this VMDK has only the changes to another disk, as a snapshot leaves them",
            details=str(path),
            resolution="Delete the snapshots in the old hypervisor, or clone the disk there, and "
            "convert what comes of it.",
        )
    # One that has its own content describes itself under the name that it had when it was made.
    alone = data if data.startswith(_DESCRIPTION) else b""
    names = [match[1].decode("utf-8", "replace") for match in _EXTENT.finditer(alone)]
    gone = [name for name in names if "/" in name or not (path.parent / name).exists()]
    if gone:
        return AppError(
            "this VMDK describes a disk whose content is in other files, which are not beside it",
            details=printable(f"{path}: {', '.join(gone[:8])}", 1000),
            resolution="Copy these files into the same folder; then convert this one: qemu-img "
            f"convert -f vmdk -O qcow2 {path.name} {path.stem}.qcow2",
        )
    part = data.startswith(b"KDMV") and len(data) > 36 and not any(data[28:36])
    if part or not data.startswith((b"KDMV", b"COWD", _DESCRIPTION)):
        return AppError(
            "this VMDK does not describe itself: it is a part of a disk that another one describes",
            details=str(path),
            resolution="Convert the VMDK that names it (without -flat or -s001 in its name). If it "
            "is the only part (-flat), it is a raw disk: use --disk-format raw.",
        )
    return _converted(path, "VMDK", "vmdk")


def refuse(path: Path, kind: DiskFormat, head: bytes, footer: bytes) -> None:
    """AppError for what is another format than was stated, or two at once: other programs would
    see another disk in it. head: its first bytes; footer: where a VHD has its own."""
    _refuse_wrapped(path, head)
    found = [row for mark, row in _DISKS.items() if head.startswith(mark)]
    if head.startswith(qcow2.MAGIC) and kind is DiskFormat.RAW and not found:
        found.append(("qcow2", "qcow2"))
    if footer == _FOOTER:
        found.append(("VHD", "vpc"))
    table, iso = head[510:512] == _BOOT_SECTOR, head[_ISO_AT : _ISO_AT + 5] == _ISO
    if kind is DiskFormat.QCOW2:
        found += [("a partition table", "raw")] if table else []
        found += [("ISO 9660", "raw")] if iso and table else []
    elif iso and not table:  # with a boot sector it can be put on a disk ("hybrid")
        raise _cd(path)
    if not found:
        return
    known = found[0][1]
    ways = {
        "qcow2": "Name it with --disk-format qcow2.",
        "raw": "Name a raw disk with --disk-format raw.",
    }
    convert = f"Convert it first: qemu-img convert -f {known} -O qcow2 {path.name} NEW.qcow2"
    raise AppError(
        f"the file is not, or not only, of the stated format: {kind}",
        details=f"{path}: it has the signatures of {', '.join(dict(found))}",
        resolution=ways.get(known, convert),
    )


def _refuse_wrapped(path: Path, head: bytes) -> None:
    """AppError for a file in which a disk may be, and which is none itself."""
    if head[510:512] == _BOOT_SECTOR:
        return  # a boot sector, whatever its code begins with
    rows = [row for mark, row in _WRAPPED.items() if head.startswith(mark)]
    rows += [("tar", "tar xf")] if head[_TAR_AT : _TAR_AT + 5] == _TAR else []
    for name, tool in rows:
        raise AppError(
            f"the file is compressed, or an archive ({name}), and not a disk",
            details=str(path),
            resolution=f"Take the disk out ({tool}), and check that.",
        )
