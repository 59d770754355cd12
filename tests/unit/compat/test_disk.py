"""What the rules find of disks that portkit did not make."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from portkit import compat
from portkit.compat import Profile
from portkit.model import Facts, Finding, Form, Guests, Severity, Verdict
from portkit.model.disk import (
    Boot,
    DiskFile,
    DiskFormat,
    DiskMachine,
    EfiLoader,
    Inside,
    Layout,
    Partition,
    Qcow2,
    TableKind,
)
from tests.disks import ESP, LINUX
from tests.factories import FACTS

MACHINES = ("pc", "pc-i440fx-7.2", "pc-i440fx-10.0", "q35")
GUESTS = Guests(MACHINES, ("bios", "efi"), cpu_model="Haswell", cpu_level=3, secure=("yes", "no"))
HOST = replace(FACTS, guests=GUESTS, accelerator="kvm")
BOOT, ROOT = Partition(1 << 20, 1 << 24, ESP, True, True), Partition(1 << 25, 1 << 25, LINUX)
LOADER = EfiLoader("/EFI/BOOT/BOOTX64.EFI", "Microsoft")
INSIDE = Inside(
    looked=True,
    systems=("debian 12",),
    architectures=("amd64",),
    kernels=("/boot/vmlinuz-6.1.0",),
    loaders=(LOADER,),
    virtio=True,
)
GOOD = DiskFile(
    name="a.qcow2",
    format=DiskFormat.QCOW2,
    file_bytes=1 << 20,
    stored_bytes=1 << 20,
    virtual_bytes=1 << 27,
    qcow2=Qcow2(3, 1 << 27, 65536),
    layout=Layout(TableKind.GPT, (BOOT, ROOT), True, "grub"),
    inside=INSIDE,
)


def found(
    disk: DiskFile, facts: Facts = HOST, firmware: Boot | None = None, chipset: str = ""
) -> dict[str, Finding]:
    rows = compat.check_disk(disk, DiskMachine(firmware, chipset), facts)
    for row in rows:
        assert row.message
        assert row.remedy or row.severity is not Severity.ERROR
    return {f"{row.severity}:{row.rule.removeprefix('disk-')}": row for row in rows}


def rules(disk: DiskFile, facts: Facts = HOST, *more: Any) -> set[str]:
    return set(found(disk, facts, *more))


def qcow2(**changes: Any) -> DiskFile:
    told = Qcow2(3, 1 << 27, 65536)
    return replace(GOOD, qcow2=replace(told, **changes))


def laid_out(**changes: Any) -> DiskFile:
    assert GOOD.layout
    return replace(GOOD, layout=replace(GOOD.layout, **changes))


def within(**changes: Any) -> DiskFile:
    return replace(GOOD, inside=replace(INSIDE, **changes))


@pytest.mark.parametrize("firmware", [None, *Boot])
def test_all_is_well(firmware: Boot | None) -> None:
    assert rules(GOOD, HOST, firmware) == set()
    assert compat.verdict((), HOST, Form.DISK) is Verdict.NATIVE


def test_zstd_clusters_and_an_older_qemu() -> None:
    disk = qcow2(compression="zstd", incompatible=(3,))
    assert rules(disk) == set()
    assert rules(disk, replace(HOST, qemu_version="5.1.0")) == set()
    row = found(disk, replace(HOST, qemu_version="5.0.1"))["error:features"]
    assert "zstd, which QEMU reads from 5.1 on, and the host has 5.0.1" in row.message
    assert row.evidence == ("a.qcow2: incompatible feature bit 3",)
    assert rules(qcow2(incompatible=(4,)), replace(HOST, qemu_version="5.1")) == {"error:features"}


def test_a_feature_that_nobody_knows_is_not_guessed() -> None:
    assert rules(qcow2(incompatible=(17,))) == {"unknown:features"}
    assert rules(qcow2(compression="type 9", incompatible=(3,))) == {"unknown:features"}


def test_what_a_header_says_of_the_file() -> None:
    assert rules(qcow2(incompatible=(1,))) == {"error:damaged"}
    assert rules(qcow2(incompatible=(0,))) == {"warning:damaged"}
    assert rules(qcow2(backing="/base")) == {"error:elsewhere"}
    assert rules(qcow2(data_file=True)) == {"error:elsewhere"}
    assert rules(qcow2(encryption="aes")) == {"error:encrypted"}
    assert rules(qcow2(encryption="luks")) == {"unknown:encrypted"}
    assert rules(replace(GOOD, file_bytes=20 << 30, stored_bytes=20 << 30)) == {"error:room"}
    assert rules(replace(GOOD, virtual_bytes=20 << 30)) == {"warning:room"}


def test_the_holes_of_a_raw_disk_take_no_room() -> None:
    raw = replace(GOOD, format=DiskFormat.RAW, qcow2=None, file_bytes=20 << 30)
    sparse = replace(raw, virtual_bytes=20 << 30)
    assert rules(sparse) == {"warning:room"}
    assert rules(replace(sparse, stored_bytes=20 << 30)) == {"error:room"}


def test_a_machine_type_that_qemu_dropped() -> None:
    row = found(GOOD, HOST, None, "pc-i440fx-4.2")["error:chipset"]
    assert row.message == "QEMU 10.0 there has no machine type pc-i440fx-4.2"
    assert row.evidence == ("it has pc-i440fx-7.2, pc-i440fx-10.0",)
    assert rules(GOOD, HOST, None, "pc-i440fx-7.2") == set()
    silent = replace(HOST, guests=Guests(cpu_level=3))
    assert rules(GOOD, silent, None, "pc") == {"unknown:chipset"}
    assert rules(GOOD, silent) == set()


def test_firmware_that_a_host_lacks() -> None:
    bare = replace(HOST, guests=replace(GUESTS, firmware=("bios",)))
    assert rules(GOOD, bare) == set()
    assert rules(GOOD, bare, Boot.UEFI) == {"error:firmware"}
    assert rules(GOOD, HOST, Boot.UEFI_SECURE, "pc") == {"error:firmware"}
    assert rules(GOOD, replace(HOST, libvirt_version=None)) == {"error:hypervisor"}


def test_secure_boot_where_the_firmware_has_none() -> None:
    without = replace(HOST, guests=replace(GUESTS, secure=("no",)))
    row = found(GOOD, without, Boot.UEFI_SECURE)["error:firmware"]
    assert row.message == "the host has no firmware for secure boot"
    assert rules(GOOD, without, Boot.UEFI) == set()
    silent = replace(HOST, guests=replace(GUESTS, secure=()))
    assert rules(GOOD, silent, Boot.UEFI_SECURE) == {"unknown:firmware"}


def test_a_disk_for_uefi_alone_on_a_bios_machine() -> None:
    row = found(laid_out(code=""))["error:bios"]
    assert "no boot code" in row.message
    assert row.remedy.startswith("Use --firmware uefi")
    assert rules(laid_out(code=""), HOST, Boot.UEFI) == set()
    assert rules(laid_out(signature=False)) == {"error:bios"}
    assert rules(laid_out(code="active")) == set()
    unmarked = replace(BOOT, active=False)
    assert rules(laid_out(code="active", partitions=(unmarked, ROOT))) == {"error:bios"}


@pytest.mark.parametrize("firmware", [Boot.UEFI, Boot.UEFI_SECURE])
def test_a_disk_for_bios_alone_under_uefi(firmware: Boot) -> None:
    bios_alone = laid_out(table=TableKind.MBR, partitions=(replace(ROOT, type="83", active=True),))
    row = found(bios_alone, HOST, firmware)["error:esp"]
    assert "EFI system partition is not there" in row.message
    assert "--firmware bios" in row.remedy
    assert rules(bios_alone) == set()
    unread = laid_out(partitions=(replace(BOOT, fat=False), ROOT))
    assert "holds no FAT" in found(unread, HOST, firmware)["error:esp"].message


def test_a_loader_that_only_the_old_firmware_knew() -> None:
    own = within(loaders=(EfiLoader("/EFI/debian/shimx64.efi", "Microsoft"),))
    row = found(own, HOST, Boot.UEFI)["error:loader"]
    assert row.evidence == ("/EFI/debian/shimx64.efi",)
    assert "Copy the loader" in row.remedy
    assert rules(own) == set()
    assert rules(within(loaders=()), HOST, Boot.UEFI) == {"error:loader"}
    note = "/dev/sda1: vfat: mount: wrong fs type"
    unread = found(within(loaders=(), unread=(note,)), HOST, Boot.UEFI)
    assert set(unread) == {"unknown:loader", "info:unread"}
    assert unread["unknown:loader"].evidence == (note,)
    lower = within(loaders=(EfiLoader("/efi/boot/bootx64.efi"),))
    assert rules(lower, HOST, Boot.UEFI) == set()


def test_an_unsigned_loader_under_secure_boot() -> None:
    unsigned = within(loaders=(replace(LOADER, signed_by=""),))
    assert "Access Denied" in found(unsigned, HOST, Boot.UEFI_SECURE)["error:signature"].message
    assert rules(unsigned, HOST, Boot.UEFI) == set()
    others = within(loaders=(replace(LOADER, signed_by="others"),))
    assert rules(others, HOST, Boot.UEFI_SECURE) == {"unknown:signature"}


def test_what_is_inside() -> None:
    nothing = replace(laid_out(code=""), inside=replace(INSIDE, kernels=(), loaders=()))
    assert rules(nothing) == {"error:bios", "error:kernel"}
    assert rules(nothing, HOST, Boot.UEFI) == {"error:loader", "error:kernel"}
    for start in (within(kernels=(), loaders=()), within(kernels=())):
        assert rules(start) == {"unknown:kernel"}, "a boot loader or a unified kernel is there"
    assert rules(within(kernels=(), unread=("/dev/sda2: crypto_LUKS",))) == {"unknown:unread"}
    assert rules(within(unread=("/dev/sda2: crypto_LUKS",))) == {"info:unread"}
    assert rules(replace(GOOD, inside=Inside(unread=("no libguestfs",)))) == {"unknown:unread"}
    assert rules(within(virtio=False, virtio_by="/boot/initrd")) == {"error:virtio"}
    assert rules(within(virtio=None)) == {"info:virtio"}
    assert rules(within(fixed_devices=("/dev/sda1 /",))) == {"warning:devices"}
    assert rules(within(architectures=("arm64",))) == {"error:architecture"}
    assert rules(within(architectures=("386",))) == set()
    old = within(kernels=("/boot/vmlinuz-2.6.32-642.el6.x86_64",))
    assert rules(old) == {"unknown:old-kernel"}
    assert rules(old, HOST, None, "pc") == set()


def test_the_level_of_its_distribution() -> None:
    built = within(built_level=3, built_by="rhel 10.0 is built for x86-64-v3")
    assert rules(built) == set()
    v2 = replace(HOST, guests=replace(GUESTS, cpu_level=2, cpu_model="Nehalem"))
    assert "has v2 at most" in found(built, v2)["error:cpu-level"].message
    nothing = replace(HOST, guests=replace(GUESTS, cpu_level=0))
    assert rules(built, nothing) == {"unknown:cpu-level"}


def test_damaged_tables() -> None:
    faults = ("the first copy of its GPT: the checksum of its header is wrong",)
    assert rules(laid_out(faults=faults)) == {"warning:table"}
    assert rules(laid_out(faults=faults, damaged=True), HOST, Boot.UEFI) == {"error:table"}


def test_by_documentation() -> None:
    disk = qcow2(compression="zstd", incompatible=(3,))
    facts = replace(HOST, qemu_version="4.2.1")
    known = frozenset({"architecture", "accelerator", "libvirt_version", "qemu_version", "guests"})
    kind = Profile("old", "QEMU 4.2", date(2026, 11, 29), facts, known, ())
    verdict, rows = compat.documented_disk(disk, DiskMachine(), kind)
    assert verdict is Verdict.INCOMPATIBLE
    assert {row.rule for row in rows if row.severity is Severity.ERROR} == {"disk-features"}
    silent = replace(kind, known=known - {"qemu_version"})
    verdict, _ = compat.documented_disk(disk, DiskMachine(), silent)
    assert verdict is Verdict.UNKNOWN
