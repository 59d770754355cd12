"""What the rules find of disks that portkit did not make."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from portkit import compat
from portkit.compat import Profile, profile
from portkit.model import Facts, Finding, Form, Guests, Severity, Verdict
from portkit.model.disk import (
    Boot,
    BootConfig,
    Bus,
    BusDriver,
    Cards,
    DiskFile,
    DiskFormat,
    DiskMachine,
    EfiLoader,
    Inside,
    Layout,
    Partition,
    Qcow2,
    TableKind,
    Unlock,
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
    buses=(
        BusDriver(Bus.VIRTIO, True, "/boot/initrd"),
        BusDriver(Bus.SATA, True, "/boot/initrd"),
        BusDriver(Bus.IDE, False, "/boot/initrd"),
    ),
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
    disk: DiskFile,
    facts: Facts = HOST,
    firmware: Boot | None = None,
    chipset: str = "",
    bus: Bus = Bus.VIRTIO,
    memory: int = 0,
) -> dict[str, Finding]:
    rows = compat.check_disk(disk, DiskMachine(firmware, chipset, bus, memory), facts)
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
    assert rules(qcow2(encryption="luks")) == {"error:encrypted"}
    assert rules(replace(GOOD, file_bytes=20 << 30, stored_bytes=20 << 30)) == {"error:room"}
    assert rules(replace(GOOD, virtual_bytes=20 << 30)) == {"warning:room"}


def test_the_holes_of_a_raw_disk_take_no_room() -> None:
    raw = replace(GOOD, format=DiskFormat.RAW, qcow2=None, file_bytes=20 << 30)
    sparse = replace(raw, virtual_bytes=20 << 30)
    assert rules(sparse) == {"warning:room"}
    assert rules(replace(sparse, stored_bytes=20 << 30)) == {"error:room"}


def test_a_machine_type_that_qemu_dropped() -> None:
    row = found(GOOD, HOST, None, "pc-i440fx-4.2")["error:chipset"]
    assert row.message == "QEMU 10.0 on the host has no machine type pc-i440fx-4.2"
    assert row.evidence == ("it has pc-i440fx-7.2, pc-i440fx-10.0",)
    assert rules(GOOD, HOST, None, "pc-i440fx-7.2") == set()
    silent = replace(HOST, guests=Guests(cpu_level=3))
    assert rules(GOOD, silent, None, "pc") == {"unknown:chipset"}
    assert rules(GOOD, silent) == set()


@pytest.mark.parametrize(
    ("name", "chipset", "wanted"),
    [
        ("ubuntu-22.04", "pc-q35-6.2", ""),
        ("ubuntu-22.04", "pc-i440fx-4.2", ""),
        ("ubuntu-22.04", "pc-q35-7.0", "error:chipset"),
        ("ubuntu-22.04", "pc-q35-2.0", "unknown:chipset"),
        ("ubuntu-22.04", "pc-q35-jammy", "unknown:chipset"),
        ("ubuntu-22.04", "virt-6.2", "error:chipset"),
        ("ubuntu-24.04", "pc-i440fx-1.4", "unknown:chipset"),
        ("debian-12-arm64", "virt-7.2", ""),
        ("debian-12-arm64", "virt-8.0", "error:chipset"),
        ("rhel-9", "pc-q35-rhel9.0.0", ""),
        ("rhel-9", "pc-q35-rhel9.4.0", "unknown:chipset"),
        ("rhel-9", "pc-q35-6.2", "error:chipset"),
        ("rhel-9", "pc-i440fx-rhel7.0.0", "error:chipset"),
        ("kubernetes-kubevirt", "pc-q35-3.0", "error:chipset"),
        ("kubernetes-kubevirt", "pc-q35-rhel9.6.0", "unknown:chipset"),
        ("kubernetes-kubevirt", "pc", "error:chipset"),
    ],
)
def test_machine_types_of_which_only_documents_tell(name: str, chipset: str, wanted: str) -> None:
    firmware = Boot.UEFI if "arm64" in name else None
    kind = profile.load(name)
    rows = compat.check_disk(GOOD, DiskMachine(firmware, chipset), kind.facts, kind.unknown)
    assert [f"{r.severity}:chipset" for r in rows if r.rule == "disk-chipset"] == [wanted][
        : len(wanted)
    ]


def test_machine_types_that_a_new_qemu_dropped() -> None:
    new = replace(HOST, qemu_version="11.1.2", guests=replace(GUESTS, machines=("pc", "q35")))
    assert rules(GOOD, new, None, "pc-i440fx-4.2") == {"error:chipset"}
    assert rules(GOOD, new, None, "pc-i440fx-5.1") == {"error:chipset"}
    assert rules(GOOD, new, None, "pc-i440fx-5.2") == set()
    assert rules(GOOD, replace(new, qemu_version=None), None, "pc-i440fx-5.2") > {"unknown:chipset"}


def test_disks_of_others_under_kubevirt() -> None:
    kind = profile.load("kubernetes-kubevirt")
    verdict, rows = compat.documented_disk(GOOD, DiskMachine(), kind)
    assert verdict is Verdict.NATIVE
    assert "libvirt and QEMU run" in {row.rule: row for row in rows}["disk-hypervisor"].message
    for firmware in (Boot.UEFI, Boot.UEFI_SECURE):
        verdict, rows = compat.documented_disk(GOOD, DiskMachine(firmware), kind)
        assert verdict is Verdict.INCOMPATIBLE
        row = {row.rule: row for row in rows}["disk-firmware"]
        assert "needs SMM" in row.message
        assert "secureBoot to false" in row.remedy


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
    assert "contains no FAT" in found(unread, HOST, firmware)["error:esp"].message


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


CA, OTHER = ("Debian Secure Boot CA",), ("My CA", "My signer")
SHIM = replace(LOADER, kind="shim", trusts=CA, starts=("fbx64.efi", "mmx64.efi", "grubx64.efi"))
GRUB = EfiLoader("/EFI/BOOT/grubx64.efi", "others", names=CA)
KERNEL = EfiLoader("/boot/vmlinuz-6.1.0", "others", names=CA)


def secured(*loaders: EfiLoader, programs: tuple[EfiLoader, ...] = (KERNEL,)) -> dict[str, Finding]:
    return found(within(loaders=(SHIM, *loaders), programs=programs), HOST, Boot.UEFI_SECURE)


def test_a_shim_verifies_what_it_starts() -> None:
    assert secured(GRUB) == {}
    row = secured(replace(GRUB, signed_by="", names=()))["error:signature"]
    assert "/EFI/BOOT/grubx64.efi is not signed" in row.message
    row = secured(GRUB, programs=(replace(KERNEL, signed_by=""),))["error:signature"]
    assert "rejects the kernel: /boot/vmlinuz-6.1.0 is not signed" in row.message
    row = secured(replace(GRUB, names=OTHER))["unknown:signature"]
    assert row.evidence == ("/EFI/BOOT/grubx64.efi: signed by My CA, My signer",)
    unsigned = EfiLoader("/boot/vmlinuz-own")
    assert set(secured(GRUB, programs=(KERNEL, unsigned))) == {"unknown:signature"}
    spare = EfiLoader("/boot/vmlinuz-0-rescue-1")
    assert secured(GRUB, programs=(KERNEL, spare)) == {}
    plain = within(loaders=(SHIM, replace(GRUB, signed_by="")), programs=(unsigned,))
    assert rules(plain, HOST, Boot.UEFI) == set()


def test_a_shim_with_the_fallback_starts_what_is_in_other_folders() -> None:
    fallback = EfiLoader("/EFI/BOOT/fbx64.efi", "others", names=CA)
    other = replace(GRUB, path="/EFI/debian/GRUBX64.EFI")
    assert secured(fallback, other) == {}
    assert set(secured(fallback, replace(other, signed_by=""))) == {"error:signature"}
    assert set(secured(other)) == {"error:loader"}, "nothing is beside the shim"
    alone = within(loaders=(SHIM,), unread=("/dev/sda3: zfs",))
    assert rules(alone, HOST, Boot.UEFI) == {"info:unread"}


def test_what_is_inside() -> None:
    nothing = replace(laid_out(code=""), inside=replace(INSIDE, kernels=(), loaders=()))
    assert rules(nothing) == {"error:bios", "error:kernel"}
    assert rules(nothing, HOST, Boot.UEFI) == {"error:loader", "error:kernel"}
    for start in (within(kernels=(), loaders=()), within(kernels=())):
        assert rules(start) == {"unknown:kernel"}, "a boot loader or a unified kernel is there"
    assert rules(within(kernels=(), unread=("/dev/sda2: crypto_LUKS",))) == {"unknown:unread"}
    assert rules(within(unread=("/dev/sda2: crypto_LUKS",))) == {"info:unread"}
    assert rules(replace(GOOD, inside=Inside(unread=("no libguestfs",)))) == {"unknown:unread"}
    assert rules(within(fixed_devices=("/dev/sda1 /",))) == {"warning:devices"}
    assert rules(within(fixed_devices=("/dev/vda1 /",))) == set()
    assert rules(within(architectures=("arm64",))) == {"error:architecture"}
    assert rules(within(architectures=("386",))) == set()
    old = within(kernels=("/boot/vmlinuz-2.6.32-642.el6.x86_64",))
    assert rules(old) == {"unknown:old-kernel"}
    assert rules(old, HOST, None, "pc") == set()


def test_an_old_kernel_by_what_it_says_itself() -> None:
    old = within(kernels=("/vmlinuz",), releases=(("/vmlinuz", "2.6.32-754.el6.x86_64"),))
    assert "2.6.32-754" in found(old)["unknown:old-kernel"].message
    new = within(kernels=("/vmlinuz-2.6",), releases=(("/vmlinuz-2.6", "6.1.0"),))
    assert rules(new) == set()


def test_a_system_that_asks_for_its_passphrase() -> None:
    def locked(*unlocks: Unlock, **more: Any) -> set[str]:
        told = {"systems": (), "unread": LUKS, "encrypted": LUKS, "unlocks": unlocks}
        return rules(within(**told | more)) - {"info:unread"}

    plain = Unlock("/initrd", True)
    assert locked(plain) == {"error:locked"}
    assert locked() == locked(replace(plain, whole=False)) == {"unknown:locked"}
    assert locked(replace(plain, keys=("etc/keys/a.keyfile",))) == {"info:locked"}
    tpm = replace(plain, keys=("a",), fetched=("root UUID=1 - tpm2-device=auto",))
    assert locked(tpm) == {"unknown:locked"}
    assert locked(plain, systems=("debian 12",)) == {"warning:locked"}, "its root is elsewhere"
    row = found(within(systems=(), encrypted=LUKS, unlocks=(plain,)))["error:locked"]
    assert row.evidence == (*LUKS, "/initrd: no key is in it")


def test_an_initrd_that_could_not_be_read_is_not_trusted() -> None:
    unread = BusDriver(Bus.VIRTIO, None, "/boot/initrd: it is compressed with lz4")
    row = found(within(buses=(unread,)))["unknown:bus"]
    assert row.evidence == (unread.by,)


def test_the_bus_of_the_disk() -> None:
    buses = (BusDriver(Bus.VIRTIO, False, "/i"), BusDriver(Bus.SATA, True, "/i"))
    row = found(within(buses=buses))["error:bus"]
    assert row.message == "what starts the system has no driver for virtio disks"
    assert row.evidence == ("/i", "/i: has one for SATA disks")
    assert row.remedy.startswith("Use --bus sata")
    assert rules(within(buses=buses), HOST, None, "", Bus.SATA) == set()
    assert rules(within(buses=buses[:1])) == {"error:bus"}
    assert rules(within(buses=())) == {"info:bus"}
    assert rules(within(buses=()), HOST, None, "", Bus.SATA) == {"unknown:bus"}
    assert rules(GOOD, HOST, None, "pc", Bus.IDE) == {"error:bus"}
    ide = within(buses=(BusDriver(Bus.IDE, True, "/i"),))
    assert rules(ide, HOST, None, "pc", Bus.IDE) == set()
    assert rules(ide, HOST, None, "q35", Bus.IDE) == {"error:bus"}
    fixed = within(fixed_devices=("/dev/sda1 /", "/dev/vdb1 /a"))
    assert found(fixed, HOST, None, "", Bus.SATA)["warning:devices"].evidence == ("/dev/vdb1 /a",)


def test_more_memory_than_the_host_has() -> None:
    assert rules(GOOD, HOST, None, "", Bus.VIRTIO, HOST.memory_bytes) == set()
    assert rules(GOOD, HOST, None, "", Bus.VIRTIO, HOST.memory_bytes + 1) == {"error:memory"}
    for swap, wanted in ((1, "warning:memory"), (0, "error:memory"), (None, "unknown:memory")):
        swaps = replace(HOST, swap_bytes=swap)
        assert rules(GOOD, swaps, None, "", Bus.VIRTIO, HOST.memory_bytes + 1) == {wanted}


LUKS = ("/dev/sda3: crypto_LUKS",)
ABSENT = ("/vmlinuz, which is not on the disk",)


@pytest.mark.parametrize(
    ("code", "loader", "more", "expected"),
    [
        ("grub", "GRUB", {}, "error:kernel"),
        ("active", "SYSLINUX", {}, "error:kernel"),
        ("active", "GRUB", {}, ""),
        ("other", "SYSLINUX", {}, ""),
        ("grub", "GRUB", {"entries": (ABSENT, ())}, ""),
        ("grub", "GRUB", {"entries": (ABSENT, ()), "first": True}, "error:kernel"),
        ("grub", "GRUB", {"entries": ((), ABSENT), "first": True}, ""),
        ("grub", "GRUB", {"sure": False}, ""),
    ],
)
def test_a_kernel_that_the_boot_loader_does_not_find(
    code: str, loader: str, more: dict[str, Any], expected: str
) -> None:
    told = BootConfig(loader, "/c", (ABSENT,))
    disk = replace(within(configs=(replace(told, **more),)), layout=laid_out(code=code).layout)
    assert rules(disk) == ({expected} if expected else set()), "though a kernel is on the disk"
    if expected:
        row = found(disk)["error:kernel"]
        assert f"its boot loader {loader} loads /vmlinuz, which is not on the disk" in row.message
        assert row.evidence[0] == "/c: /vmlinuz, which is not on the disk"


def test_a_kernel_that_a_loader_for_uefi_does_not_find() -> None:
    def booted(kind: str, *told: BootConfig, **more: Any) -> set[str]:
        loaders = more.pop("loaders", (replace(LOADER, kind=kind),))
        return rules(within(loaders=loaders, configs=told, **more), HOST, Boot.UEFI)

    entry = BootConfig("systemd-boot", "/loader/entries/*.conf", (ABSENT,))
    grub = BootConfig("GRUB", "/boot/grub/grub.cfg", (ABSENT,))
    assert booted("systemd-boot", entry, grub) == {"error:kernel"}
    assert booted("systemd-boot", replace(entry, entries=(ABSENT, ()))) == set()
    assert booted("systemd-boot") == {"error:kernel"}, "it is told of nothing"
    assert booted("systemd-boot", kernels=("/EFI/Linux/a.efi",)) == set()
    windows = EfiLoader("/EFI/Microsoft/Boot/bootmgfw.efi", "Microsoft")
    assert booted("", loaders=(replace(LOADER, kind="systemd-boot"), windows)) == set()
    assert booted("shim", grub) == booted("GRUB", grub, entry) == {"error:kernel"}
    assert booted("shim", grub, replace(grub, entries=((),))) == set()
    assert booted("", entry, grub) == booted("Linux", entry, grub) == set()
    both = replace(grub, entries=()), replace(entry, loader="GRUB", entries=((),))
    assert booted("GRUB", *both) == set(), "GRUB with the entries of the other specification"
    unread = ("/dev/sda3: crypto_LUKS",)
    assert booted("GRUB", grub, unread=unread) == {"info:unread"}
    assert booted("systemd-boot", entry, unread=unread) == {"error:kernel", "info:unread"}
    for why in ("/dev/sda2: vfat: mount: wrong fs type", "/dev/sda1: and 9 more files of GRUB"):
        assert booted("systemd-boot", unread=(why,)) == {"info:unread"}, "it may have the entries"
    assert booted("systemd-boot", replace(entry, sure=False)) == set()


def test_the_level_of_its_distribution() -> None:
    built = within(built_level=3, built_by="rhel 10.0 is built for x86-64-v3")
    assert rules(built) == set()
    v2 = replace(HOST, guests=replace(GUESTS, cpu_level=2, cpu_model="Nehalem"))
    assert "has at most v2" in found(built, v2)["error:cpu-level"].message
    nothing = replace(HOST, guests=replace(GUESTS, cpu_level=0))
    assert rules(built, nothing) == {"unknown:cpu-level"}


def test_damaged_tables() -> None:
    faults = ("the first copy of its GPT: the checksum of its header is wrong",)
    assert rules(laid_out(faults=faults)) == {"warning:table"}
    assert rules(laid_out(faults=faults, damaged=True), HOST, Boot.UEFI) == {"error:table"}


def test_a_system_without_a_network() -> None:
    old, new = Cards("/lib/modules/3/modules.dep", ("e1000", "vmxnet3")), Cards("/n", ("e1000",))
    row = found(within(cards=(old, new)))["warning:network"]
    assert row.evidence == ("/lib/modules/3/modules.dep: e1000, vmxnet3", "/n: e1000")
    assert "model e1000 " in row.remedy
    assert "Install the driver" in found(within(cards=(Cards("/a"),)))["warning:network"].remedy
    assert rules(within(cards=(old, Cards("/m", ("virtio_net",))))) == set()
    pins = ("/etc/netplan/1.yaml: macaddress: 00:0c:29:aa:bb:cc",)
    assert found(within(card_pins=pins))["warning:network"].evidence == pins


def test_a_table_for_larger_sectors() -> None:
    for firmware in (Boot.BIOS, Boot.UEFI):
        row = found(laid_out(sector_bytes=4096), HOST, firmware)["error:table"]
        assert "sectors of 4096 bytes" in row.message
        assert "logical_block_size='4096'" in row.remedy


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


def test_a_default_loader_that_is_no_program() -> None:
    junk = within(loaders=(EfiLoader("/EFI/BOOT/BOOTX64.EFI", "", "none"),))
    assert "not a program" in found(junk, HOST, Boot.UEFI)["error:loader"].message
