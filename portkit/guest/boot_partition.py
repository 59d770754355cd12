"""The boot partition of every disk of a GuestKit: kernel, initrd and both boot loaders on FAT.

It is made once, and a disk differs from it only in one slot, which holds what the image runs when
nobody says otherwise. mkfs.vfat, mtools and syslinux write into a plain file, under a fixed date:
from the same packages the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from pathlib import Path

from portkit import files, process
from portkit.architecture import AMD64
from portkit.errors import ToolError

BYTES = 48 << 20  # kernel 14 MiB, initrd 1; room for one of twice that size
START = 1 << 20  # of the disk: the loaders have to know where they are
SLOT_BYTES = 256 << 10
# Where Debian's syslinux-common and systemd-boot-efi have them.
BIOS_LOADER = Path("/usr/lib/syslinux/mbr/gptmbr.bin")
UEFI_LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
# The last console= is /dev/console. -1: a panic ends the guest at once.
_ALWAYS = "quiet panic=-1 random.trust_cpu=on"
KERNEL_LINE = f"console=tty0 console=ttyS0 {_ALWAYS}"
# Where QEMU starts the kernel itself, the machine is known: two serial ports and no keyboard to
# look for, no screen to write to, and Debian's kernel need not test its own ciphers.
_KNOWN_MACHINE = (
    f"console=ttyS0 {_ALWAYS} cryptomgr.notests 8250.nr_uarts=2 "
    "i8042.noaux i8042.nokbd rcupdate.rcu_expedited=1 rcupdate.rcu_normal_after_boot=1"
)
# An emulated processor does not speculate, so there is nothing to be protected from.
_EMULATED = "no_timer_check mitigations=off"
_SYSLINUX = (
    "SERIAL 0 115200\nDEFAULT portkit\nPROMPT 0\nTIMEOUT 0\nLABEL portkit\n"
    f"  LINUX /vmlinuz\n  INITRD /initrd,/default.img\n  APPEND {KERNEL_LINE}\n"
)
# Boot Loader Specification (UAPI.1), type 1 entries.
_ENTRY = (
    f"title portkit\nlinux /vmlinuz\ninitrd /initrd\ninitrd /default.img\noptions {KERNEL_LINE}\n"
)
# FAT begins with 1980; mtools gives files and folders this date, the loaders do not look at it.
_ENVIRONMENT = {"SOURCE_DATE_EPOCH": "315532800", "TZ": "UTC", "MTOOLSRC": "/dev/null"}
_TIMEOUT_S = 120.0


def direct_line(kvm: bool) -> str:
    """The kernel's command line for a domain; kvm: its processor is a real one."""
    return _KNOWN_MACHINE if kvm else f"{_KNOWN_MACHINE} {_EMULATED}"


def recipe() -> bytes:
    """What the partition depends on beside kernel and initrd: the texts and the loaders."""
    check_loaders()
    installed = [BIOS_LOADER, UEFI_LOADER, Path("/usr/bin/syslinux")]
    marks = [hashlib.sha256(path.read_bytes()).digest() for path in installed]
    return b"\0".join([_SYSLINUX.encode(), _ENTRY.encode(), *marks, b"%d" % BYTES])


def make(kernel: Path, initrd: Path, out: Path) -> None:
    """Write the partition into the new file `out`; its slot holds zeros.

    Raises ToolError when a loader is not installed or a tool fails.
    """
    check_loaders()
    marker = _marker()
    texts = {
        "default.img": marker,  # first: so it lies in one piece, where `slot` finds it
        "syslinux.cfg": _SYSLINUX.encode(),
        "loader.conf": b"timeout 0\n",
        "portkit.conf": _ENTRY.encode(),
    }
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        folder = Path(name)
        for text, data in texts.items():
            files.write(folder / text, data)
        with files.create(out) as file:
            file.truncate(BYTES)
        # Clusters of the size of a page: what is in them lies where a transfer looks for it.
        geometry = ("-F16", "-s8", "-h", str(START // 512))
        _run("mkfs.vfat", *geometry, "-i", "504b0001", "-n", "PORTKIT", "--invariant", out)
        _copy(out, folder / "default.img", "/default.img")
        _run("mmd", "-i", out, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries")
        _copy(out, kernel, "/vmlinuz")
        _copy(out, initrd, "/initrd")
        _copy(out, folder / "syslinux.cfg", "/syslinux.cfg")
        _copy(out, folder / "loader.conf", "/loader/loader.conf")
        _copy(out, folder / "portkit.conf", "/loader/entries/portkit.conf")
        _copy(out, UEFI_LOADER, f"/EFI/BOOT/{AMD64.loader}")
        _run("syslinux", "--install", out)
    _empty_slot(out, marker)


def slot(partition: bytes) -> int:
    """Where in the partition the slot is; partition: its first 512 bytes. It is the first file,
    and so in the first cluster (Microsoft, "FAT32 File System Specification", BPB)."""
    sector, _, reserved, tables, entries = struct.unpack_from("<HBHBH", partition, 11)
    (table_sectors,) = struct.unpack_from("<H", partition, 22)
    return int(sector * (reserved + tables * table_sectors) + entries * 32)


def _empty_slot(out: Path, marker: bytes) -> None:
    with out.open("r+b") as file:
        place = slot(file.read(512))
        file.seek(place)
        if file.read(SLOT_BYTES) != marker:
            raise ToolError(
                "mtools did not write the boot partition as expected",
                details=f"{out.name} has another file at byte {place}",
                resolution="Update mtools and dosfstools.",
            )
        file.seek(place)
        file.write(bytes(SLOT_BYTES))


def _marker() -> bytes:
    """Bytes that are found nowhere else."""
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(SLOT_BYTES // 32))


def _copy(out: Path, source: Path, target: str) -> None:
    _run("mcopy", "-i", out, source, f"::{target}")


def _run(*argv: str | Path) -> None:
    process.run(argv, env=_ENVIRONMENT, timeout=_TIMEOUT_S)


def check_loaders() -> None:
    for path, package in ((BIOS_LOADER, "syslinux-common"), (UEFI_LOADER, "systemd-boot-efi")):
        if not path.is_file():
            raise ToolError(
                "a boot loader for the disk is not installed",
                details=f"{path} is not there",
                resolution=f"apt-get install {package}",
            )
