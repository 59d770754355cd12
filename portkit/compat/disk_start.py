"""What starts a disk that portkit did not make: boot code, boot loaders, kernel, drivers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from portkit.boot_text import GRUB, SYSLINUX, SYSTEMD_BOOT
from portkit.compat.disk import DiskCase
from portkit.compat.disk_secure import SHIM, second_stages
from portkit.compat.rule import Found
from portkit.guest_files import pe
from portkit.model import Severity
from portkit.model.disk import ENCRYPTED, BootConfig, Bus, EfiLoader, Inside, TableKind

_ESP = frozenset({"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EF"})  # UEFI 2.10, tables 5.7 and 5.4
NO_PROGRAM = "none"  # what portkit.needs.inside_worker calls a loader that is no program
_IN_NAME = re.compile(r"vmlinuz-([0-9][0-9.]+)")
_CARD, _OTHER_CARDS = "virtio_net", ("e1000e", "e1000")
_SILENT = {True: Severity.INFO, False: Severity.UNKNOWN}
_DISKS_ON = {
    Bus.VIRTIO: "virtio disks",
    Bus.SCSI: "disks on virtio-scsi",
    Bus.SATA: "SATA disks",
    Bus.IDE: "IDE disks",
}


def bios(case: DiskCase) -> Iterator[Found]:
    """A BIOS starts the code in the first sector, and nothing else: a disk made only for UEFI has
    none there."""
    layout = case.disk.layout
    if case.uefi or layout is None:
        return
    remedy = "Use --firmware uefi, or install a boot loader for BIOS on the disk."
    if not any(part.type in _ESP or part.fat for part in layout.partitions):
        remedy = "Install a boot loader on the disk."
    if not layout.signature:
        yield Found(
            "a BIOS does not start this disk, because its first sector is not a boot sector",
            ("bytes 510 and 511 are not 55 AA",),
            remedy,
        )
    elif not layout.code:
        yield Found(
            "a BIOS does not start this disk, because its first sector contains no boot code",
            ("the first 440 bytes contain no program",),
            remedy,
        )
    elif layout.code == "active" and not any(part.active for part in layout.partitions):
        yield Found(
            "a BIOS does not start this disk: its boot code starts the partition that is marked "
            "as bootable, but no partition is",
            (f"{layout.table}: {len(layout.partitions)} partitions",),
            remedy,
        )


def esp(case: DiskCase) -> Iterator[Found]:
    """A UEFI firmware starts a loader from an EFI system partition with a FAT file system: a disk
    made only for BIOS has none."""
    layout = case.disk.layout
    if not case.uefi or layout is None or layout.damaged:
        return
    if layout.fat or any(part.fat for part in layout.partitions):
        return
    typed = any(part.type in _ESP for part in layout.partitions)
    what = "contains no FAT file system" if typed else "is not there"
    kind = "no partition table" if layout.table is TableKind.NONE else layout.table.value
    types = ", ".join(part.type for part in layout.partitions[:8])
    yield Found(
        f"UEFI firmware does not start this disk: an EFI system partition {what}",
        (f"{kind}: {types}" if types else kind,),
    )


def loader(case: DiskCase) -> Iterator[Found]:
    """A new VM has no boot entries, which are stored in the firmware of the old machine: it can
    start only the default loader, which is not on the disk."""
    inside = case.disk.inside
    if not case.uefi or not inside.looked or any(esp(case)):
        return
    paths = [each.path for each in inside.loaders]
    own = [each for each in inside.loaders if case.is_default(each)]
    if own and all(each.kind == NO_PROGRAM for each in own):
        yield Found(
            f"UEFI firmware does not start this disk: {own[0].path} is not a program for UEFI",
            (f"{own[0].path}: its content does not begin with MZ",),
            "Put a boot loader for UEFI there, or use --firmware bios.",
        )
    if own:
        yield from _second_stage(own[0], inside)
        return
    if inside.unread:
        yield Found(
            f"not everything was read, so it is not known whether {case.default_loader} is on the "
            "disk",
            inside.unread[:8],
            severity=Severity.UNKNOWN,
        )
        return
    yield Found(
        f"UEFI firmware does not start this disk: {case.default_loader} is not on it",
        tuple(paths[:8]) or ("no loader for UEFI",),
        f"Copy the loader that is there to {case.default_loader}, or add a boot entry for it to "
        "the VM's firmware."
        if paths
        else "Use --firmware bios, or install a boot loader for UEFI on the disk.",
    )


def _second_stage(loader: EfiLoader, inside: Inside) -> Iterator[Found]:
    """A shim starts another loader, whose name is in the shim."""
    wanted = pe.second_stages(loader.starts)
    if loader.kind == SHIM and wanted and not inside.unread and not second_stages(loader, inside):
        yield Found(
            f"UEFI firmware starts {loader.path}, a shim, and the loader that this starts is not "
            "on the disk",
            tuple(f"{loader.folder}/{name}" for name in wanted),
            "Install the loader beside it (Debian: grub-install --force-extra-removable).",
        )


def kernel(case: DiskCase) -> Iterator[Found]:
    """Nothing can be started: the boot loader is configured to start files that are not on the
    disk, or that are not a kernel by their content; or no file system has a kernel, and there is no
    UEFI program and no boot loader. A loader that portkit does not know, or whose configuration it
    cannot read, may have one."""
    inside, layout = case.disk.inside, case.disk.layout
    if not inside.looked:
        return
    configs = _configs(case)
    if configs is not None:
        yield from _configured(configs, inside)
        return
    if inside.kernels or inside.unread:
        return
    starts = [each.path for each in inside.loaders[:4]]
    starts += [f"boot code: {layout.code}"] if layout is not None and layout.code else []
    systems = inside.systems[:4] or ("no operating system was found",)
    if not starts:
        yield Found("there is no kernel on the disk", (*systems, *inside.flaws[:4]))
        return
    yield Found(
        "no kernel was found in the usual places; what starts the disk may have one",
        (*systems, *starts, *inside.flaws[:4]),
        severity=Severity.UNKNOWN,
    )


def _configs(case: DiskCase) -> Sequence[BootConfig] | None:
    """What the boot loader reads that such a machine starts; None where that is not known."""
    inside, layout = case.disk.inside, case.disk.layout
    if case.uefi:
        kinds = [each.kind for each in inside.loaders if case.is_default(each)]
        wanted = {SHIM: GRUB}.get(kinds[0], kinds[0]) if len(kinds) == 1 else ""
    elif layout is not None and layout.code == "grub":
        wanted = GRUB
    else:  # its boot code in the MBR starts the active partition, where it is itself
        own = layout is not None and (layout.code == "active" or layout.fat)
        wanted = SYSLINUX if own else ""
    found = [each for each in inside.configs if each.loader == wanted]
    if wanted == SYSTEMD_BOOT and not _besides(inside):
        found = found or [BootConfig(SYSTEMD_BOOT, "/loader/entries/*.conf")]
    elif wanted == SYSTEMD_BOOT:
        return None
    # What was not read may have another configuration, or the kernel. GRUB alone reads encrypted
    # file systems.
    unread = [each for each in inside.unread if wanted == GRUB or not each.endswith(ENCRYPTED)]
    return found if found and not unread and all(each.sure for each in found) else None


def _besides(inside: Inside) -> bool:
    """Whether systemd-boot also lists unified kernels, or what other systems have for UEFI."""
    others = [path for path in inside.kernels if "/efi/linux/" in path.lower()]
    others += [each.path for each in inside.loaders if "/microsoft/" in each.path.lower()]
    return bool(others)


def _configured(configs: Sequence[BootConfig], inside: Inside) -> Iterator[Found]:
    entries = [
        row for each in configs for row in (each.entries[:1] if each.first else each.entries)
    ]
    if any(not lacks for lacks in entries):
        return
    loader = configs[0].loader
    what = f"loads {entries[0][0]}" if entries else "is told of nothing to start"
    evidence = [f"{each.path}: {lack}" for each in configs for row in each.entries for lack in row]
    yield Found(
        f"nothing starts this disk: its boot loader {loader} {what}",
        (*(evidence or [each.path for each in configs])[:8], *inside.flaws[:4]),
        "Put the kernel where the loader's configuration names it, or correct that: in the old "
        "machine, or with guestfish.",
    )


def old_kernel(case: DiskCase) -> Iterator[Found]:
    """Kernels of the 2.6 series are reported to panic on the machine type q35."""
    if "q35" not in case.chipset:
        return
    known = dict(case.disk.inside.releases)
    for path in case.disk.inside.kernels:
        named = _IN_NAME.search(path)
        release = known.get(path) or (named[1] if named else "")
        if release.startswith("2."):
            yield Found(f"Linux {release} may panic on the machine type {case.chipset}", (path,))


def bus(case: DiskCase) -> Iterator[Found]:
    """What starts the system has no driver for the bus of its disk, so it does not find its root.
    IDE exists only in machines of type pc."""
    wanted, inside = case.machine.bus, case.disk.inside
    if wanted is Bus.IDE and (not case.chipset.startswith("pc") or "q35" in case.chipset):
        yield Found(f"the machine type {case.chipset} has no IDE", remedy="Use --bus sata.")
    known = {each.bus: each for each in inside.buses}
    driver = known.get(wanted)
    if driver is not None and driver.there is False:
        usable = [each for each in inside.buses if each.there and each.bus is not wanted]
        yield Found(
            f"what starts the system has no driver for {_DISKS_ON[wanted]}",
            (driver.by, *(f"{each.by}: has one for {_DISKS_ON[each.bus]}" for each in usable)),
            f"Use --bus {usable[0].bus}, and the same in the VM's XML (target/@bus)."
            if usable
            else "",
        )
    elif (driver is None or driver.there is None) and inside.kernels:
        yield Found(
            f"it is not known whether what starts the system has a driver for {_DISKS_ON[wanted]}",
            tuple(filter(None, (driver.by if driver else "",))),
            # Nearly every kernel of the last ten years can read virtio disks; an initrd that was
            # made for its old machine may not.
            severity=Severity.UNKNOWN if driver and driver.by else _SILENT[wanted is Bus.VIRTIO],
        )


def locked(case: DiskCase) -> Iterator[Found]:
    """An encrypted root is opened when the system starts: by a person who enters the passphrase, or
    by what is in the initrd. The key in the old machine's TPM stays there."""
    inside = case.disk.inside
    if not inside.encrypted:
        return
    if inside.systems:  # the root is elsewhere
        yield Found(
            "the disk has encrypted file systems, and the system may wait for a passphrase",
            inside.encrypted,
            severity=Severity.WARNING,
        )
        return
    keys = [key for each in inside.unlocks for key in each.keys]
    fetched = [key for each in inside.unlocks for key in each.fetched]
    if fetched:
        yield Found(
            "the system is on an encrypted file system, whose key comes from elsewhere (a TPM or a "
            "server), which the VM may not have",
            (*inside.encrypted, *fetched[:8]),
            severity=Severity.UNKNOWN,
        )
    elif keys:
        yield Found(
            "the system is on an encrypted file system, and a key is in its initrd",
            (*inside.encrypted, *keys[:8]),
            severity=Severity.INFO,
        )
    elif inside.unlocks and all(each.whole for each in inside.unlocks):
        yield Found(
            "the system is on an encrypted file system: the VM stops at its start and asks for the "
            "passphrase at its console",
            (*inside.encrypted, *(f"{each.path}: no key is in it" for each in inside.unlocks[:8])),
        )
    else:
        yield Found(
            "the system may be on an encrypted file system; then the VM asks for its passphrase or "
            "recovery key at its start",
            inside.encrypted,
            severity=Severity.UNKNOWN,
        )


def devices(case: DiskCase) -> Iterator[Found]:
    """fstab names a disk as the old kernel numbered it: /dev/vda on virtio, /dev/sda on the other
    buses."""
    new = "/dev/vd" if case.machine.bus is Bus.VIRTIO else "/dev/sd"
    lines = [line for line in case.disk.inside.fixed_devices if not line.startswith(new)]
    if lines:
        yield Found(f"fstab names disks that are {new}a and so on there", tuple(lines[:8]))


def network(case: DiskCase) -> Iterator[Found]:
    """The system starts without a network: it has no driver for the VM's card, or is configured for
    the card of its old machine."""
    inside = case.disk.inside
    lacking = [each for each in inside.cards if _CARD not in each.drivers]
    if lacking and len(lacking) == len(inside.cards):
        others = [name for name in _OTHER_CARDS if all(name in each.drivers for each in lacking)]
        yield Found(
            "the system on the disk has no driver for virtio network cards: the VM has no network",
            tuple(f"{each.path}: {', '.join(each.drivers) or 'none'}" for each in lacking[:8]),
            f"Give the VM a card of the model {others[0]} (interface/model/@type), or install the "
            "driver in the old machine."
            if others
            else "",
        )
    if inside.card_pins:
        yield Found(
            "the network configuration on the disk is for the card of its old machine: the VM's "
            "card may get another name, and stay without an address",
            inside.card_pins[:8],
            "Give the VM's card the same address (interface/mac), or configure the network by a "
            "pattern such as en*.",
        )
