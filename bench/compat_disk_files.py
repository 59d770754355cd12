"""The disk files of the truth table: portkit's own, each with one change, and an ordinary one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from portkit import process
from portkit.guest import boot_partition
from portkit.guest.kit import LOADER_BYTES

_DATA_GUID = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"


def plain(raw: Path) -> None:
    """As portkit packs it."""


def _no_kernel(raw: Path) -> None:
    _mtools("mdel", raw, "::/vmlinuz")


def _no_initrd(raw: Path) -> None:
    _mtools("mdel", raw, "::/initrd")


def _other_name(raw: Path) -> None:
    _mtools("mren", raw, "::/vmlinuz", "::/linux26")
    _told(raw, "/linux26")


def _other_told(raw: Path) -> None:
    _told(raw, "/linux26")


def _told(raw: Path, kernel: str) -> None:
    """Both loaders are told of another kernel."""
    for name in ("syslinux.cfg", "loader/entries/portkit.conf"):
        drive = ["-i", f"{raw}@@{boot_partition.START}"]
        old = process.run(["mtype", *drive, f"::/{name}"], timeout=60).text
        new = old.replace("/vmlinuz", kernel).encode()
        process.run(["mcopy", "-o", *drive, "-", f"::/{name}"], input=new, timeout=60)


def _cut_kernel(raw: Path) -> None:
    """As a copy that was broken off leaves it."""
    drive = ["-i", f"{raw}@@{boot_partition.START}"]
    whole = process.run(["mtype", *drive, "::/vmlinuz"], timeout=60).stdout
    half = whole[: len(whole) // 2]
    process.run(["mcopy", "-o", *drive, "-", "::/vmlinuz"], input=half, timeout=60)


def _uefi_alone(raw: Path) -> None:
    with raw.open("r+b") as file:
        file.write(bytes(LOADER_BYTES))


def _bios_alone(raw: Path) -> None:
    _mtools("mdeltree", raw, "::/EFI")
    process.run(["sfdisk", "-q", "--part-type", raw, "1", _DATA_GUID], timeout=60)


def _own_loader(raw: Path) -> None:
    _mtools("mmd", raw, "::/EFI/debian")
    _mtools("mmove", raw, "::/EFI/BOOT/BOOTX64.EFI", "::/EFI/debian/grubx64.efi")


def _mtools(tool: str, raw: Path, *words: str) -> None:
    process.run([tool, "-i", f"{raw}@@{boot_partition.START}", *words], timeout=60)


def _broken_table(raw: Path) -> None:
    """Both copies of the GPT."""
    with raw.open("r+b") as file:
        size = file.seek(0, 2)
        for place in (512, size - 512):
            file.seek(place + 16)
            (checksum,) = struct.unpack("<I", file.read(4))
            file.seek(place + 16)
            file.write(struct.pack("<I", checksum ^ 1))


@dataclass(frozen=True)
class Disk:
    """One disk. change: what is done to portkit's own, or None for the ordinary Debian of
    bench.ordinary. words: of qemu-img, for the qcow2. backing: it stands on a file that does not
    go with it."""

    about: str
    change: Callable[[Path], None] | None = plain
    words: tuple[str, ...] = ()
    backing: bool = False


DISKS = {
    "own": Disk("a disk that portkit packed"),
    "no-kernel": Disk("the same without its kernel", _no_kernel),
    "no-initrd": Disk("the same without its initrd", _no_initrd),
    "other-name": Disk("the same, its kernel under another name", _other_name),
    "other-told": Disk("the same, its loaders told of another kernel", _other_told),
    "cut-kernel": Disk("the same with half of its kernel", _cut_kernel),
    "uefi-alone": Disk("a disk for UEFI alone", _uefi_alone),
    "bios-alone": Disk("a disk for BIOS alone, its loader on FAT", _bios_alone),
    "own-loader": Disk("a disk whose loader only its old firmware knew", _own_loader),
    "broken-table": Disk("a disk with both copies of its GPT damaged", _broken_table),
    "backing": Disk("a qcow2 without the file that it stands on", backing=True),
    "subclusters": Disk("a qcow2 with subclusters", words=("-o", "extended_l2=on")),
    "zstd": Disk("a qcow2 with zstd clusters", words=("-o", "compression_type=zstd")),
    "debian": Disk("Debian 12 with GRUB for BIOS, installed by Debian's own means", None),
}
