"""A disk that somebody else may have made: what its headers and its partition table say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DiskFormat(StrEnum):
    """The format of a disk file. It is stated, never probed, because a guest may write any
    header."""

    QCOW2 = "qcow2"
    RAW = "raw"


@dataclass(frozen=True)
class Qcow2:
    """The header of a qcow2.

    compression: of compressed clusters, "zlib", "zstd", or "type N" for one that is not known here.
    incompatible: the numbers of those feature bits that are set; a reader has to know all of them.
    encryption: "", "aes", "luks" or "method N". backing: the name of the file that it stands on.
    data_file: its content is in another file.
    """

    version: int
    virtual_bytes: int
    cluster_bytes: int
    compression: str = "zlib"
    incompatible: tuple[int, ...] = ()
    encryption: str = ""
    backing: str = ""
    data_file: bool = False


class TableKind(StrEnum):
    """Of partition tables."""

    GPT = "gpt"
    MBR = "mbr"
    NONE = "none"


@dataclass(frozen=True)
class Partition:
    """One partition. type: a GUID in capitals (GPT), or two hex digits (MBR). active: a BIOS's boot
    code may start it. fat: it begins as a FAT file system does, which UEFI reads."""

    start: int
    bytes: int
    type: str
    active: bool = False
    fat: bool = False


@dataclass(frozen=True)
class Layout:
    """How a disk is divided, and what a BIOS finds in its first sector.

    signature: that sector ends with 55 AA. code: "" for none, "active" for boot code that starts
    the partition marked for it, "grub", or "other". faults: of the table.
    damaged: neither copy of a GPT is whole. sector_bytes: that a GPT counts in.
    """

    table: TableKind
    partitions: tuple[Partition, ...] = ()
    signature: bool = False
    code: str = ""
    fat: bool = False  # the whole disk is a FAT file system
    faults: tuple[str, ...] = ()
    damaged: bool = False
    sector_bytes: int = 512


class Bus(StrEnum):
    """The bus by which a disk is attached to a machine."""

    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"


@dataclass(frozen=True)
class EfiLoader:
    """A program for UEFI on the disk. signed_by: "" where it carries no signature, "Microsoft"
    where its signature names one of the authorities that firmware comes with, else "others".
    kind: of a default loader "systemd-boot", "GRUB", "shim", "Linux" for a kernel that starts
    itself, "none" for a file that is no program for UEFI, else "". names: in the certificates of
    its signature. Of a shim, trusts: the names in the certificates that it brings, and starts: the
    programs that it may start from its own folder."""

    path: str
    signed_by: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its folder, as FAT compares names."""
        return self.path.lower().rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name in that folder, as FAT compares names."""
        return self.path.lower().rpartition("/")[2]


@dataclass(frozen=True)
class BootConfig:
    """What a boot loader is told to start. entries: of each, what it lacks, such as "/vmlinuz is
    not on the disk". first: it starts the first, else it offers them all. sure: all of it was
    understood, and it starts nothing else."""

    loader: str
    path: str
    entries: tuple[tuple[str, ...], ...] = ()
    first: bool = False
    sure: bool = True


@dataclass(frozen=True)
class BusDriver:
    """Whether what starts the system can read a disk on a bus, None where that is not known; by:
    what says so."""

    bus: Bus
    there: bool | None
    by: str = ""


@dataclass(frozen=True)
class Cards:
    """The network cards for which a kernel has drivers, as Linux calls these, of those that QEMU
    has; path: of what lists them."""

    path: str
    drivers: tuple[str, ...] = ()


# How the reasons in `Inside.unread` end for a file system that is encrypted.
ENCRYPTED = (": crypto_LUKS", ": BitLocker")


@dataclass(frozen=True)
class Unlock:
    """How an initrd opens encrypted disks without a person. whole: all of it was read. keys: those
    that are in it; fetched: what gets one from elsewhere, such as a TPM or a server."""

    path: str
    whole: bool
    keys: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inside:
    """What libguestfs saw in the file systems of a disk.

    unread: why more may be there than is told; `looked` is False where nothing was looked at.
    systems: in words, such as "debian 12". architectures: in Go's words. kernels, loaders: paths.
    programs: the kernels as programs for UEFI, which have signatures. releases: of kernels, path
    and release, as they say themselves. encrypted: file systems; unlocks: what may open them.
    flaws: files that have a kernel's name and are none, with the reason.
    built_level: of x86-64 that the distribution is compiled for, built_by says so.
    fixed_devices: lines of fstab that name a disk as the kernel numbers them. cards: of each
    kernel; card_pins: lines that name the old machine's card by its address or its place.
    """

    looked: bool = False
    unread: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    flaws: tuple[str, ...] = ()
    releases: tuple[tuple[str, str], ...] = ()
    encrypted: tuple[str, ...] = ()
    unlocks: tuple[Unlock, ...] = ()
    loaders: tuple[EfiLoader, ...] = ()
    programs: tuple[EfiLoader, ...] = ()
    configs: tuple[BootConfig, ...] = ()
    built_level: int = 0
    built_by: str = ""
    buses: tuple[BusDriver, ...] = ()
    fixed_devices: tuple[str, ...] = ()
    cards: tuple[Cards, ...] = ()
    card_pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskFile:
    """A disk file and what was read from it. stored_bytes: the part of file_bytes that is not
    holes. layout: None if its content was not read."""

    name: str
    format: DiskFormat
    file_bytes: int
    stored_bytes: int
    virtual_bytes: int
    qcow2: Qcow2 | None = None
    layout: Layout | None = None
    inside: Inside = Inside()


class Boot(StrEnum):
    """The firmware with which a machine starts a disk."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_SECURE = "uefi-secure"


@dataclass(frozen=True)
class DiskMachine:
    """The machine that is to start a disk. firmware: None means BIOS, if the host's architecture
    has one. chipset: QEMU's machine type; "" means the one that portkit uses on that host for its
    own disks. memory_bytes: 0 means not stated."""

    firmware: Boot | None = None
    chipset: str = ""
    bus: Bus = Bus.VIRTIO
    memory_bytes: int = 0
