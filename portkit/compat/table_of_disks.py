"""The rules for a disk that portkit did not make. To add one: write its function in `disk.py`
or `disk_start.py`, and give it a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from portkit.compat import disk, disk_secure, disk_start
from portkit.compat.disk import DiskCase
from portkit.compat.rule import DISK, Found, Rule, Scope
from portkit.errors import IncompatibleError, PortkitError, SpaceError
from portkit.model import Severity

_Look = Callable[[DiskCase], Iterable[Found]]


def _rule(
    name: str,
    severity: Severity,
    look: _Look,
    remedy: str,
    source: str = "",
    *,
    scope: Scope = Scope.FORM,
    error: type[PortkitError] = IncompatibleError,
) -> Rule[DiskCase]:
    return Rule(
        f"disk-{name}",
        severity,
        scope,
        look,
        remedy=remedy,
        forms=DISK,
        source=source,
        error=error,
    )


DISKS: tuple[Rule[DiskCase], ...] = (
    _rule(
        "hypervisor",
        Severity.ERROR,
        disk.hypervisor,
        "Install libvirt-daemon-system and qemu-system-x86 on the host.",
        scope=Scope.HOST,
    ),
    _rule(
        "features",
        Severity.ERROR,
        disk.features,
        "Convert it for an older QEMU: qemu-img convert -O qcow2 -o "
        "compat=1.1,compression_type=zlib. Or install a newer QEMU on the host.",
        "QEMU, docs/interop/qcow2.rst (incompatible features), ChangeLog of 4.0, 5.1 and 5.2",
        scope=Scope.HOST,
    ),
    _rule(
        "damaged",
        Severity.ERROR,
        disk.damaged,
        "Use another copy, or repair a copy of the disk: qemu-img check -r all.",
        "QEMU, docs/interop/qcow2.rst (corrupt bit, dirty bit)",
        scope=Scope.APP,
    ),
    _rule(
        "elsewhere",
        Severity.ERROR,
        disk.elsewhere,
        "Combine both in one file where they are: qemu-img convert -O qcow2.",
        "QEMU, docs/interop/qcow2.rst (backing file, external data file)",
        scope=Scope.APP,
    ),
    _rule(
        "encrypted",
        Severity.ERROR,
        disk.encrypted,
        "Decrypt a copy of it with qemu-img convert, or give its key to libvirt as a secret.",
        "QEMU, docs/interop/qcow2.rst (crypt_method); libvirt, formatstorageencryption.html",
        scope=Scope.APP,
    ),
    _rule(
        "room",
        Severity.ERROR,
        disk.room,
        "Free some space on the host.",
        scope=Scope.HOST,
        error=SpaceError,
    ),
    _rule(
        "chipset",
        Severity.ERROR,
        disk.chipset,
        "Name a machine type that the host has with --machine, or leave it out. In a domain's "
        "XML it is os/type/@machine.",
        "QEMU's list of machine types; kubevirt#2308",
        scope=Scope.HOST,
    ),
    _rule(
        "firmware",
        Severity.ERROR,
        disk.firmware,
        "Install ovmf on the host, or use --firmware bios.",
        "libvirt, formatdomain.html (loader, secure); QEMU, docs/specs (SMM)",
        scope=Scope.HOST,
    ),
    _rule(
        "table",
        Severity.WARNING,
        disk.table,
        "Repair a copy of the disk; sgdisk --verify shows what is wrong.",
        "UEFI specification 2.10, 5.3.2",
        scope=Scope.APP,
    ),
    _rule(
        "bios",
        Severity.ERROR,
        disk_start.bios,
        "Use --firmware uefi.",
        "UEFI specification 2.10, 5.2.1 (boot code of the MBR); SYSLINUX, mbr/gptmbr.S",
    ),
    _rule(
        "esp",
        Severity.ERROR,
        disk_start.esp,
        "Use --firmware bios, or create an EFI system partition with a loader on the disk.",
        "common-instancetypes#101; UEFI specification 2.10, 13.3",
    ),
    _rule(
        "loader",
        Severity.ERROR,
        disk_start.loader,
        "Copy the loader to the default path.",
        "UEFI specification 2.10, 3.5.1.1 (removable media)",
    ),
    _rule(
        "signature",
        Severity.ERROR,
        disk_secure.signature,
        "Use --firmware uefi, or install a signed loader on the disk (Debian: shim-signed).",
        "k3os#792; UEFI specification 2.10, 32.5; shim, README.md",
    ),
    _rule(
        "kernel",
        Severity.ERROR,
        disk_start.kernel,
        "Install a kernel on the disk, either in its running system or with virt-customize "
        "--install.",
        "SYSLINUX, doc/syslinux.txt; GRUB's manual; Boot Loader Specification (UAPI.1)",
        scope=Scope.APP,
    ),
    _rule(
        "locked",
        Severity.ERROR,
        disk_start.locked,
        "Enter it at the VM's console at each start, or add a key to the initrd or decrypt the "
        "disk in the old machine.",
        "crypttab(5); cryptsetup-reencrypt(8)",
        scope=Scope.APP,
    ),
    _rule(
        "old-kernel",
        Severity.UNKNOWN,
        disk_start.old_kernel,
        "Use --machine pc.",
        "kubevirt#4382 (CentOS 6.8)",
    ),
    _rule(
        "bus",
        Severity.ERROR,
        disk_start.bus,
        "Give the VM a disk on another bus, or add the driver to the initrd in the old machine "
        "first.",
        "Linux, drivers/block/virtio_blk.c, drivers/ata/ahci.c; virtio-win (viostor)",
    ),
    _rule(
        "network",
        Severity.WARNING,
        disk_start.network,
        "Install the driver in the old machine (Linux: virtio_net; Windows: virtio-win).",
        "systemd.net-naming-scheme(7); virt-v2v(1), Network; Linux, drivers/net/virtio_net.c",
        scope=Scope.APP,
    ),
    _rule(
        "memory",
        Severity.ERROR,
        disk.memory,
        "Give the VM less with --memory, or use a host with more.",
        scope=Scope.HOST,
    ),
    _rule(
        "devices",
        Severity.WARNING,
        disk_start.devices,
        "Name them by UUID or LABEL in /etc/fstab.",
        "fstab(5); Linux, admin-guide/devices.rst",
    ),
    _rule(
        "cpu-level",
        Severity.ERROR,
        disk.cpu_level,
        "Use a host with a later processor, and the domain's cpu mode host-passthrough.",
        "pulp-oci-images#772 (RHEL 9); kuvasz#346 (RHEL 10)",
        scope=Scope.HOST,
    ),
    _rule(
        "architecture",
        Severity.ERROR,
        disk.architecture,
        "Use a host of the disk's architecture.",
        scope=Scope.HOST,
    ),
    _rule(
        "unread",
        Severity.UNKNOWN,
        disk.unread,
        "To let libguestfs look inside, run on this machine without --headers: apt-get install "
        "python3-guestfs guestfsd.",
        scope=Scope.APP,
    ),
)
