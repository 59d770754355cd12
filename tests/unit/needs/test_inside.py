"""What libguestfs says of a disk, in our words; and what becomes of it when it fails."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from portkit.boot_text import ABSENT
from portkit.errors import ToolError
from portkit.model.disk import ENCRYPTED, Bus, BusDriver, DiskFormat, EfiLoader
from portkit.needs import appliance, inside, inside_worker
from tests.elves import elf
from tests.unit.needs.guest_files import PARTITION, Disk, bzimage, configured, cpio

DEBIAN = {
    "kernels": ["/vmlinuz", "/boot/vmlinuz-6.1.0-41-amd64"],
    "loaders": [],
    "initrds": [
        {
            "path": "/boot/initrd.img-6.1.0-41-amd64",
            "whole": True,
            "drivers": ["usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko"],
        }
    ],
    "built_in": [{"path": "/lib/modules/6.1.0/modules.builtin", "drivers": []}],
    "fstab": "# made\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n/dev/vdb1 /a ext4\n",
    "os_release": 'ID=debian\nVERSION_ID="12"\n',
}
EFI = {
    **{key: [] for key in ("kernels", "initrds", "built_in")},
    "loaders": [
        {"path": "/EFI/BOOT/BOOTX64.EFI", "signature": ""},
        {
            "path": "/EFI/debian/shimx64.efi",
            "signature": b"..Microsoft Corporation UEFI CA 2011..".hex(),
        },
        {"path": "/EFI/own/a.efi", "signature": b"..Example CA".hex()},
    ],
    "fstab": "",
    "os_release": "",
}
SYSTEM = {
    "type": "linux",
    "distribution": "debian",
    "major": 12,
    "minor": 0,
    "machine": "x86_64",
}


def on(found: inside.Inside, bus: Bus = Bus.VIRTIO) -> bool | None:
    """Whether the start has the driver of a bus."""
    return {each.bus: each.there for each in found.buses}[bus]


def seen(*places: dict[str, Any], **more: Any) -> inside.Inside:
    return inside.inside({"systems": [SYSTEM], "places": list(places), "unread": []} | more)


def test_a_debian() -> None:
    found = seen(EFI, DEBIAN)
    assert found.looked
    assert found.systems == ("debian 12.0",)
    assert found.architectures == ("amd64",)
    assert found.kernels[0] == "/vmlinuz"
    assert found.loaders == (
        EfiLoader("/EFI/BOOT/BOOTX64.EFI", ""),
        EfiLoader("/EFI/debian/shimx64.efi", "Microsoft"),
        EfiLoader("/EFI/own/a.efi", "others"),
    )
    assert found.buses[0] == BusDriver(Bus.VIRTIO, True, "/boot/initrd.img-6.1.0-41-amd64")
    assert {each.bus: each.there for each in found.buses[1:]} == {
        Bus.SCSI: False,
        Bus.SATA: False,
        Bus.IDE: False,
    }
    assert found.fixed_devices == ("/dev/sda2 none", "/dev/vdb1 /a")
    assert found.built_level == 0


@pytest.mark.parametrize(
    ("initrds", "built_in", "expected"),
    [
        ([{"path": "/i", "whole": True, "drivers": []}], DEBIAN["built_in"], False),
        ([{"path": "/i", "whole": True, "drivers": ["virtio_net.ko"]}], DEBIAN["built_in"], False),
        ([{"path": "/i", "whole": True, "drivers": []}], [], None),
        ([{"path": "/i", "whole": False, "drivers": []}], DEBIAN["built_in"], None),
        ([], DEBIAN["built_in"], None),
        ([], [{"path": "/b", "drivers": ["kernel/drivers/block/virtio_blk.ko"]}], True),
    ],
)
def test_virtio(initrds: object, built_in: object, expected: bool | None) -> None:
    assert on(seen({**DEBIAN, "initrds": initrds, "built_in": built_in})) is expected


OWN, NEW = "5.14.0-1.el9.x86_64", "5.14.0-12.el9.x86_64"


def initrd(name: str, *drivers: str) -> dict[str, Any]:
    return {"path": f"/boot/initramfs-{name}.img", "whole": True, "drivers": list(drivers)}


def modules(release: str, *drivers: str) -> dict[str, Any]:
    return {"path": f"/usr/lib/modules/{release}/modules.builtin", "drivers": list(drivers)}


def virtio(
    *initrds: dict[str, Any], built_in: object = (), more: Sequence[str] = ()
) -> bool | None:
    place = {**DEBIAN, "initrds": list(initrds), "more_initrds": list(more)}
    return on(seen({**place, "built_in": built_in or [modules(OWN), modules(NEW)]}))


def test_the_initrds_that_are_started_decide() -> None:
    rescue = initrd("0-rescue-0123456789abcdef", "kernel/drivers/block/virtio_blk.ko.xz")
    crash = initrd(f"{OWN}kdump", "kernel/drivers/block/virtio_blk.ko.xz")
    without, with_it = initrd(OWN), initrd(NEW, "kernel/drivers/block/virtio_blk.ko.xz")
    assert virtio(rescue, crash, without) is False
    assert virtio(rescue, without, with_it) is None
    assert virtio(rescue, with_it) is True
    assert virtio(rescue) is None, "nothing else is there"
    assert virtio(with_it, more=["/boot/initramfs-5.14.0-9.img"]) is None
    assert virtio(without, more=["/boot/initramfs-5.14.0-9.img"]) is None
    assert virtio(without, more=[rescue["path"], crash["path"]]) is False


def test_a_kernel_has_its_own_drivers_alone() -> None:
    built_in = [modules(OWN, "kernel/drivers/block/virtio_blk.ko"), modules(NEW)]
    assert virtio(initrd(OWN), built_in=built_in) is True
    assert virtio(initrd(NEW), built_in=built_in) is False
    assert virtio(initrd(OWN), initrd(NEW), built_in=built_in) is None
    assert virtio(initrd("linux"), built_in=built_in) is None, "of which of them it is not known"
    assert virtio(initrd("linux"), built_in=[modules(NEW)]) is False


def test_a_kernel_is_known_by_its_content() -> None:
    names = {"/vmlinuz-1": bzimage(), "/linux26": bzimage(), "/vmlinuz-2": b"# none\n"}
    names |= {"/vmlinuz-3": bzimage(), "/data.bin": bytes(4096), "/boot/Image": b"\x7fELF"}
    names |= {"/boot/other": bytes(0x38) + b"ARM\x64" + bytes(99)}
    disk = Disk(**names)
    disk.sizes = {"/vmlinuz-3": 4096}
    place = inside_worker.place(disk, [])
    assert place["kernels"] == ["/vmlinuz-1", "/boot/Image", "/linux26", "/boot/other"]
    assert place["flaws"] == [
        "/vmlinuz-2 is no kernel",
        "/vmlinuz-3 is cut off: it should have 68096 bytes",
    ]


def program(body: bytes, *names: str) -> bytes:
    """A program for UEFI, with certificates of these names behind it if there are any."""
    head = bytearray(b"MZ".ljust(512, b"\0"))
    head[60:64], head[64:68], head[88:90] = (64).to_bytes(4, "little"), b"PE\0\0", b"\x0b\x02"
    rows = (b"\x06\x03\x55\x04\x03\x0c" + bytes([len(n)]) + n.encode() for n in names)
    signature = b"".join(rows)
    places = (len(head) + len(body), len(signature)) if names else (0, 0)
    at = 64 + 24 + 112 + 32
    head[at : at + 8] = b"".join(each.to_bytes(4, "little") for each in places)
    return bytes(head) + body + signature


def test_who_signed_what_and_what_a_shim_trusts() -> None:
    ca = b"\x06\x03\x55\x04\x03\x13\x06Own CA"
    body = b"UEFI SHIM\0" + "\\grubx64.efi".encode("utf-16-le") + b"\0\0" + ca
    names = {
        "/EFI/BOOT/BOOTX64.EFI": program(body, "Microsoft Corporation UEFI CA 2011"),
        "/EFI/BOOT/grubx64.efi": program(b"Welcome to GRUB!", "Own CA", "Own signer"),
        "/boot/vmlinuz-1": program(b".linux\0\0", "Own signer"),
        "/boot/vmlinuz-2": program(b".linux\0\0"),
    }
    found = seen(inside_worker.place(Disk(**names), []))
    shim, grub = sorted(found.loaders, key=lambda each: each.path)
    assert (shim.kind, shim.signed_by, shim.trusts) == ("shim", "Microsoft", ("Own CA",))
    assert shim.starts == ("grubx64.efi",)
    assert (grub.signed_by, grub.names) == ("others", ("Own CA", "Own signer"))
    signed = {each.path: each.signed_by for each in found.programs}
    assert signed == {"/boot/vmlinuz-1": "others", "/boot/vmlinuz-2": ""}


def test_an_initrd_is_read_to_its_end() -> None:
    code = cpio({"kernel/x86/microcode/AuthenticAMD.bin": bytes(9)})
    main = cpio({"init": b"", "modules/virtio_blk.ko": b"", "etc/crypttab": b"a UUID=1 none\n"})
    disk = Disk(**{"/initrd": code + gzip.compress(main), "/initrd-2": code + b"\x89LZO0000"})
    first, second = inside_worker.place(disk, [])["initrds"]
    assert (first["whole"], first["drivers"]) == (True, ["modules/virtio_blk.ko"])
    assert first["crypttab"] == "a UUID=1 none\n"
    assert (second["whole"], second["drivers"]) == (False, [])
    assert "not known" in second["why"]
    alone = inside_worker.place(Disk(**{"/initrd": code}), [])
    assert alone["initrds"][0]["why"] == "it has no init"
    assert "it has no init" in seen(alone).buses[0].by


def test_an_initrd_has_the_list_of_what_its_kernel_has_built_in() -> None:
    """The disk's own list is on the root, which may be encrypted."""
    name = "usr/lib/modules/6.1.0-9/modules.builtin"
    for builtin, there in ((b"kernel/drivers/block/virtio_blk.ko\n", True), (b"\n", False)):
        disk = Disk(**{"/initrd.img-6.1.0-9": cpio({"init": b"", name: builtin})})
        assert on(seen(inside_worker.place(disk, []))) is there


def test_encrypted_file_systems_are_looked_for() -> None:
    class Devices:
        def list_devices(self) -> list[str]:
            return ["/dev/sda"]

        def list_partitions(self) -> list[str]:
            return ["/dev/sda1", "/dev/sda2"]

        def lvs(self) -> list[str]:
            return ["/dev/vg/root"]

        def vfs_type(self, device: str) -> str:
            kinds = {"/dev/sda1": "BitLocker", "/dev/vg/root": "crypto_LUKS"}
            return kinds.get(device, "ext4")

    rows = [("/dev/sda1", "BitLocker"), ("/dev/vg/root", "crypto_LUKS")]
    assert inside_worker.encrypted(Devices()) == rows
    told: dict[str, Any] = {"unread": []}
    assert not any(inside_worker.look(Devices(), *row, told) for row in rows)
    assert told["unread"] == [f"{device}{ENCRYPTED[kind == 'BitLocker']}" for device, kind in rows]


def test_what_opens_an_encrypted_disk() -> None:
    locked = "/dev/sda3: crypto_LUKS"

    def means(crypttab: str, *names: str) -> tuple[int, int]:
        row = {**initrd("6.1"), "crypttab": crypttab, "keys": list(names)}
        found = seen({**DEBIAN, "initrds": [row]}, unread=[locked])
        assert found.encrypted == (locked,)
        (unlock,) = found.unlocks
        assert unlock.whole
        return len(unlock.keys), len(unlock.fetched)

    assert means("") == means("root UUID=1 none luks\n# c UUID=2 /key\n") == (0, 0)
    assert means("root UUID=1 /cryptroot/keyfiles/root.key luks\n") == (1, 0)
    assert means("", "crypto_keyfile.bin") == (1, 0)
    assert means("root UUID=1 - tpm2-device=auto\n") == (0, 1)
    assert means("", "usr/bin/clevis-decrypt-tang") == (0, 1)


def test_the_release_of_a_kernel_is_in_its_header() -> None:
    names = {"/vmlinuz": bzimage(release=b"2.6.32-754.el6.x86_64"), "/boot/Image": b"\x7fELF"}
    names["/boot/bzImage"] = bzimage()
    found = seen(inside_worker.place(Disk(**names), []))
    assert found.releases == (("/vmlinuz", "2.6.32-754.el6.x86_64"),)


def test_what_boot_loaders_are_told_and_is_there() -> None:
    names = {
        "/syslinux.cfg": b"DEFAULT a\nLABEL a\n  LINUX vmlinuz\n  INITRD /initrd,/gone.img\n",
        "/loader/entries/a.conf": b"linux\t/vmlinuz\ninitrd /initrd\n",
        "/EFI/BOOT/BOOTX64.EFI": b"MZ" + bytes(999) + b"#### LoaderInfo: systemd-boot 252 ####",
        "/vmlinuz": bzimage(),
        "/initrd": b"x",
    }
    place = inside_worker.place(Disk(**names), [])
    there = {path: why for path, why in place["files"].items() if why != ABSENT}
    assert there == {"/vmlinuz": "", "/initrd": "is no kernel"}
    assert place["loaders"][0]["kind"] == "systemd-boot"
    found = seen(place)
    assert [(each.loader, each.entries) for each in found.configs] == [
        ("SYSLINUX", (("/gone.img, which is not on the disk",),)),
        ("systemd-boot", ((),)),
    ]


def test_what_the_worker_leaves_out_is_told() -> None:
    notes: list[str] = []
    loaders = [f"/EFI/{number:02}/a.efi" for number in range(23)]
    initrds = [f"/boot/initramfs-0-rescue-{'0' * 32}.img"]
    initrds += [f"/boot/initramfs-5.14.0-{number}.img" for number in range(6)]
    place = inside_worker.place(Disk(*loaders, *initrds), notes)
    assert notes == ["and 3 more programs for UEFI"]
    assert len(place["loaders"]) == 20
    assert [each["path"] for each in place["initrds"]] == initrds[1:5]
    assert place["more_initrds"] == [*initrds[5:], initrds[0]]
    rows = inside_worker.first(list(range(40)), 32, "file systems", notes)
    assert (len(rows), notes[-1]) == (32, "and 8 more file systems")
    found = inside.inside({"systems": [], "places": [place], "unread": notes})
    assert on(found) is None
    assert "not read" in found.buses[0].by or initrds[1] in found.buses[0].by


@pytest.mark.parametrize(
    "path",
    [
        "/EFI/nixos/abc-linux-6.6.30-bzImage.efi",
        "/boot/kernels/abc-linux-6.6.30-bzImage",
        "/flatcar/vmlinuz-a",
    ],
)
def test_kernels_of_other_systems(path: str) -> None:
    disk = Disk("/EFI/nixos/abc-initrd.efi", **{path: bzimage()})
    assert inside_worker.place(disk, [])["kernels"] == [path]


def test_the_network_cards_of_each_kernel() -> None:
    own, new = "/usr/lib/modules/5.14.0-1", "/lib/modules/5.14.0-2"
    files = {
        f"{own}/modules.dep": b"kernel/drivers/net/ethernet/intel/e1000/e1000.ko.xz:\n",
        f"{own}/modules.builtin": b"kernel/drivers/net/virtio_net.ko\n",
        f"{new}/modules.dep": b"kernel/drivers/net/vmxnet3/vmxnet3.ko: kernel/x/virtio_net.ko\n",
        "/etc/netplan/1.yaml": b"   macaddress: 00:0c:29:aa:bb:cc\n",
    }
    found = seen(inside_worker.place(Disk(**files), []))
    assert {each.path: each.drivers for each in found.cards} == {
        f"{own}/modules.dep": ("e1000", "virtio_net"),
        f"{new}/modules.dep": ("vmxnet3",),
    }
    assert found.card_pins == ("/etc/netplan/1.yaml: macaddress: 00:0c:29:aa:bb:cc",)


@pytest.mark.parametrize(("code", "level"), [("0f10450c f30f58c1", 2), ("c5fc1000 c5f877", 3)])
def test_the_level_that_the_c_library_checks_for(code: str, level: int) -> None:
    text = b"CPU does not support x86-64-v%d"
    same = bytes.fromhex(code) * 50
    for data, wanted in ((elf(code=same, more=text), level), (elf(code=same), 0)):
        disk = Disk(**{inside_worker.LIBC_LOADER: data})
        found = seen(inside_worker.place(disk, []))
        assert found.built_level == wanted


HIVE = "/Windows/System32/config/SYSTEM"


class Registry(Disk):
    """With the hive SYSTEM: keys are dicts, values are numbers."""

    def __init__(self, services: dict[str, Any], current: int = 1) -> None:
        super().__init__(**{HIVE: b"regf", "/Windows/System32/ntoskrnl.exe": b"MZ"})
        tree = {"Select": {"Current": current}, "ControlSet001": {"Services": services}}
        self.nodes: list[Any] = [None, tree]

    def hivex_open(self, path: str) -> None:
        assert path == HIVE

    def hivex_close(self) -> None:
        pass

    def hivex_root(self) -> int:
        return 1

    def hivex_node_get_child(self, node: int, name: str) -> int:
        return self.known(self.nodes[node].get(name), dict)

    def hivex_node_get_value(self, node: int, name: str) -> int:
        return self.known(self.nodes[node].get(name), int)

    def hivex_value_value(self, value: int) -> bytes:
        return int(self.nodes[value]).to_bytes(4, "little")

    def known(self, value: object, kind: type) -> int:
        self.nodes.append(value)
        return len(self.nodes) - 1 if isinstance(value, kind) else 0


def windows(services: dict[str, Any], **more: int) -> dict[Bus, bool | None]:
    found = configured((PARTITION, Registry(services, **more)))
    return {each.bus: each.there for each in found.buses}


def test_windows_loads_the_drivers_that_its_registry_starts() -> None:
    boot, demand = {"Start": 0}, {"Start": 3}
    assert windows({"viostor": boot, "storahci": demand}) == {
        Bus.VIRTIO: True,
        Bus.SCSI: False,
        Bus.SATA: False,
        Bus.IDE: False,
    }
    assert windows({"msahci": boot, "atapi": boot})[Bus.SATA] is True
    overridden = {"storahci": {"Start": 0, "StartOverride": {"0": 3}}}
    assert windows(overridden)[Bus.SATA] is False, "Windows on IDE, given a SATA disk"
    found = configured((PARTITION, Registry({"viostor": demand})))
    assert found.buses[0].by == f"{HIVE}: viostor has Start 3"


def test_windows_whose_registry_cannot_be_read() -> None:
    assert set(windows({"viostor": {"Start": 0}}, current=2).values()) == {None}
    bare = Disk(**{"/WINDOWS/system32/ntoskrnl.exe": b"MZ"})
    found = configured((PARTITION, bare)).buses[0]
    assert found.there is None
    assert "registry was not read" in found.by


def test_the_level_of_a_distribution() -> None:
    place = {**DEBIAN, "os_release": 'ID="rhel"\nVERSION_ID="10.1"\n'}
    found = seen(place)
    assert found.built_level == 3
    assert "rhel 10.1 is built for x86-64-v3" in found.built_by


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"systems": [], "places": [{}], "unread": []},
        {"systems": [], "places": [], "unread": ["x"] * 1000},
        {"systems": [], "places": [], "unread": [], "more": 1},
        {
            "systems": [],
            "places": [{**EFI, "loaders": [{"path": "/a", "signature": "x"}]}],
            "unread": [],
        },
    ],
)
def test_what_it_never_says_is_refused(told: object) -> None:
    with pytest.raises(ValueError):
        inside.inside(told)


def look(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> inside.Inside:
    worker = folder / "worker.py"
    worker.write_text(script)
    monkeypatch.setattr(inside, "_WORKER", worker)
    monkeypatch.setattr(appliance, "kernel", lambda: None)
    monkeypatch.setattr(appliance, "environment", lambda *_: {})
    return inside.look(folder / "a.raw", DiskFormat.RAW)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise ModuleNotFoundError(\"No module named 'guestfs'\")", "python3-guestfs is not"),
        ("raise RuntimeError('no appliance\\x1b[2J')", "libguestfs failed: RuntimeError"),
        ("print('{')", "cannot be read: ValueError"),
        ("print('[' * 100000)", "cannot be read"),
        ("print('{}')", "cannot be read: ValueError"),
        ("import sys; sys.exit(9)", "it printed nothing"),
        ("import time; time.sleep(60)", "did not finish within 1 s"),
    ],
)
def test_a_libguestfs_that_fails(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in script:
        monkeypatch.setattr(inside, "DEADLINE_S", 1.0)
    found = look(script, tmp_path, monkeypatch)
    assert not found.looked
    (told,) = found.unread
    assert why in told
    assert "\x1b" not in told


def test_no_kernel_for_the_appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ToolError("apt knows no kernel for the guest", details="x")

    monkeypatch.setattr(appliance, "kernel", fail)
    found = inside.look(tmp_path / "a", DiskFormat.RAW)
    assert found.unread == ("apt knows no kernel for the guest: x",)
