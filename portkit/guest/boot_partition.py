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
from portkit.architecture import Architecture
from portkit.errors import ToolError

BYTES = 48 << 20  # kernel 14 MiB (arm64's is not compressed: 26), initrd 1; room for a larger one
START = 1 << 20  # of the disk: the loaders have to know where they are
SLOT_BYTES = 256 << 10
# Where Debian's syslinux-common and systemd-boot-efi have them.
BIOS_LOADER = Path("/usr/lib/syslinux/mbr/gptmbr.bin")
UEFI_LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
UEFI_PACKAGE = "systemd-boot-efi"
# The last console= is /dev/console. -1: a panic ends the guest at once.
_ALWAYS = "quiet panic=-1 random.trust_cpu=on"
# Where QEMU starts the kernel itself, the machine is known: the serial ports and no keyboard to
# look for, no screen to write to, and Debian's kernel need not test its own ciphers.
_KNOWN_MACHINE = "cryptomgr.notests rcupdate.rcu_expedited=1 rcupdate.rcu_normal_after_boot=1"
_KNOWN_PORTS = {
    "amd64": "8250.nr_uarts=2 i8042.noaux i8042.nokbd",
    # Beside the machine's own port, which is none of this driver's.
    "arm64": "8250.nr_uarts=1",
}
# An emulated processor does not speculate, so there is nothing to be protected from.
_EMULATED = "mitigations=off"
_EMULATED_TIMER = "no_timer_check"  # of x86
# FAT begins with 1980; mtools gives files and folders this date, the loaders do not look at it.
_ENVIRONMENT = {"SOURCE_DATE_EPOCH": "315532800", "TZ": "UTC", "MTOOLSRC": "/dev/null"}
_TIMEOUT_S = 120.0


def disk_line(architecture: Architecture) -> str:
    """The kernel's command line where the disk's own boot loader starts it."""
    return f"console=tty0 console={architecture.console} {_ALWAYS}"


def direct_line(architecture: Architecture, *, kvm: bool) -> str:
    """The kernel's command line for a domain; kvm: its processor is a real one."""
    words = [f"console={architecture.console}", _ALWAYS, _KNOWN_MACHINE]
    words += [_KNOWN_PORTS[architecture.name]]
    if not kvm:
        words += [_EMULATED, *([_EMULATED_TIMER] if architecture.bios else [])]
    return " ".join(words)


def _syslinux(line: str) -> str:
    return (
        "SERIAL 0 115200\nDEFAULT portkit\nPROMPT 0\nTIMEOUT 0\nLABEL portkit\n"
        f"  LINUX /vmlinuz\n  INITRD /initrd,/default.img\n  APPEND {line}\n"
    )


def _entry(line: str) -> str:
    """Of the Boot Loader Specification (UAPI.1), type 1."""
    return f"title portkit\nlinux /vmlinuz\ninitrd /initrd\ninitrd /default.img\noptions {line}\n"


def recipe(architecture: Architecture, loader: Path) -> bytes:
    """What the partition depends on beside kernel and initrd: the texts and the loaders.

    loader: of UEFI. Raises ToolError when one is not installed."""
    check_loaders(architecture, loader)
    line = disk_line(architecture)
    installed = [loader]
    if architecture.bios:
        installed = [BIOS_LOADER, loader, Path("/usr/bin/syslinux")]
    marks = [hashlib.sha256(path.read_bytes()).digest() for path in installed]
    return b"\0".join([_syslinux(line).encode(), _entry(line).encode(), *marks, b"%d" % BYTES])


def make(architecture: Architecture, loader: Path, kernel: Path, initrd: Path, out: Path) -> None:
    """Write the partition into the new file `out`; its slot holds zeros.

    loader: of UEFI. Raises ToolError when one is not installed or a tool fails.
    """
    check_loaders(architecture, loader)
    marker, line = _marker(), disk_line(architecture)
    texts = {
        "default.img": marker,  # first: so it lies in one piece, where `slot` finds it
        "syslinux.cfg": _syslinux(line).encode(),
        "loader.conf": b"timeout 0\n",
        "portkit.conf": _entry(line).encode(),
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
        if architecture.bios:
            _copy(out, folder / "syslinux.cfg", "/syslinux.cfg")
        _copy(out, folder / "loader.conf", "/loader/loader.conf")
        _copy(out, folder / "portkit.conf", "/loader/entries/portkit.conf")
        _copy(out, loader, f"/EFI/BOOT/{architecture.loader}")
        if architecture.bios:
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
                details=f"{out.name} differs at byte {place}",
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


def check_loaders(architecture: Architecture, loader: Path) -> None:
    """ToolError when one that a disk of this architecture begins with is not there."""
    wanted = [(BIOS_LOADER, "syslinux-common")] if architecture.bios else []
    for path, package in (*wanted, (loader, UEFI_PACKAGE)):
        if not path.is_file():
            raise ToolError(
                "a boot loader for the disk is not installed",
                details=f"{path} does not exist",
                resolution=f"apt-get install {package}",
            )
