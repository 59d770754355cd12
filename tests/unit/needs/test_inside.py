"""What libguestfs says of a disk, in our words; and what becomes of it when it fails."""

import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from portkit.boot_text import ABSENT
from portkit.errors import ToolError
from portkit.model.disk import Bus, BusDriver, DiskFormat, EfiLoader
from portkit.needs import appliance, inside, inside_worker
from portkit.wire import strict_json

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
    "windows_drivers": [],
    "fstab": "# made\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n/dev/vdb1 /a ext4\n",
    "os_release": 'ID=debian\nVERSION_ID="12"\n',
}
EFI = {
    **{key: [] for key in ("kernels", "initrds", "built_in", "windows_drivers")},
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
    return inside.inside({"systems": [SYSTEM], "places": list(places), "unread": [], **more})


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


class Disk:
    """As far as the worker asks libguestfs for files."""

    def __init__(self, *paths: str, **content: bytes) -> None:
        """content: of more files, by their paths."""
        self.paths = sorted({*paths, *content})
        self.content = content
        self.sizes: dict[str, int] = {}

    def mount_vfs(self, options: str, kind: str, device: str, folder: str) -> None:
        assert (options, folder) == ("ro", "/")

    def mount_ro(self, device: str, folder: str) -> None:
        assert (device.partition(":")[0], folder) == ("btrfsvol", "/")

    def umount_all(self) -> None:
        pass

    def glob_expand(self, pattern: str) -> list[str]:
        return [path for path in self.paths if fnmatch.fnmatchcase(path, pattern)]

    def is_file(self, path: str, **_: bool) -> bool:
        return path in self.paths

    def realpath(self, path: str) -> str:
        return path

    def initrd_list(self, path: str) -> list[str]:
        return ["init"]

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self.content.get(path, bytes(count))[offset : offset + count]

    def filesize(self, path: str) -> int:
        known = len(self.content.get(path, b"")) if path.endswith((".cfg", ".conf")) else 1 << 20
        return self.sizes.get(path, known)

    def is_dir(self, path: str, **_: bool) -> bool:
        return path == "/" or any(each.startswith(f"{path}/") for each in self.paths)

    def ls(self, path: str) -> list[str]:
        begin = path.rstrip("/") + "/"
        rows = (each.removeprefix(begin) for each in self.paths if each.startswith(begin))
        return sorted({row.partition("/")[0] for row in rows})

    def lstatnslist(self, path: str, names: list[str]) -> list[dict[str, int]]:
        whole = [f"{path.rstrip('/')}/{name}" for name in names]
        return [
            {
                "st_mode": 0o100644 if each in self.paths else 0o040755,
                "st_size": self.filesize(each),
            }
            for each in whole
        ]


def bzimage(paragraphs: int = 0x1000) -> bytes:
    """The head of a kernel for x86, whose whole is 512 * 5 + paragraphs * 16 bytes."""
    head = bytearray(4096)
    head[0x1F1], head[0x202:0x206] = 4, b"HdrS"
    head[0x1F4:0x1F8] = paragraphs.to_bytes(4, "little")
    return bytes(head)


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


def test_an_initrd_that_libguestfs_cannot_list() -> None:
    class Padded(Disk):
        def initrd_list(self, path: str) -> list[str]:
            raise RuntimeError("cpio: exit code 2")

    rows = (b"070701" + b"0" * 104 + name + b"\0" for name in (b"init", b"modules/virtio_blk.ko"))
    disk = Padded(**{"/initrd": b"".join(rows), "/initrd-2": b"\x28\xb5\x2f\xfd" + bytes(99)})
    disk.sizes = {"/initrd": 300, "/initrd-2": 100}
    first, second = inside_worker.place(disk, [])["initrds"]
    assert first == {"path": "/initrd", "whole": True, "drivers": ["modules/virtio_blk.ko"]}
    assert second == {"path": "/initrd-2", "whole": False, "drivers": ["cpio: exit code 2"]}


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


PARTITION = "/dev/sda2"


def configured(*devices: tuple[str, "Disk"]) -> inside.Inside:
    """What the worker and the pure side say together of file systems. GRUB's second look is
    included, mounting is not."""
    found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
    for device, disk in devices:
        assert inside_worker.look(disk, device, "ext4", found)
    for device, disk in devices:
        inside_worker.look_for_grub(disk, device, "ext4", found)
    return inside.inside(json.loads(inside_worker.printed(found)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/boot/grub/grub.cfg", "linux (hd0,1)/boot/vmlinuz\n"),
        ("/boot/grub/grub.cfg", "menuentry x { linux '/boot/vmlinuz' ro; initrd /initrd }\n"),
        ("/loader/entries/a.conf", "linux boot/vmlinuz\n"),
        ("/loader/entries/a.conf", "efi \\boot\\vmlinuz\n"),
        ("/extlinux/extlinux.conf", "LABEL a\nKERNEL /boot/vmlinuz root=/dev/sda1\n"),
        ("/boot/extlinux.conf", "LABEL a\nLINUX vmlinuz\nAPPEND initrd=/initrd,/initrd a=b\n"),
        ("/boot/syslinux.cfg", "DEFAULT vmlinuz initrd=/gone\n"),
    ],
)
def test_the_worker_looks_up_what_a_configuration_starts(path: str, text: str) -> None:
    files = {path: text.encode(), "/boot/vmlinuz": bzimage(), "/initrd": b"x"}
    (found,) = configured((PARTITION, Disk(**files))).configs
    assert (found.entries, found.sure) == (((),), True)
    del files["/boot/vmlinuz"]
    (found,) = configured((PARTITION, Disk(**files))).configs
    assert (len(found.entries[0]), found.sure) == (1, True)


FEDORA = """\
set pager=1
if [ -f ${config_directory}/user.cfg ]; then
  source ${prefix}/user.cfg
fi
load_env -f grubenv
set default="${saved_entry}"
menuentry_id_option=""
insmod increment
increment boot_counter
insmod blscfg
blscfg
if [ -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""
FEDORA_ENTRY = (
    "title Fedora\nlinux /root/boot/vmlinuz-6\ninitrd /root/boot/initramfs-6.img $tuned\n"
)


def test_grub_with_the_entries_of_the_specification() -> None:
    """GRUB finds their files in all file systems, and names those of a subvolume from the top."""
    boot = {"/grub2/grub.cfg": FEDORA.encode(), "/loader/entries/a.conf": FEDORA_ENTRY.encode()}
    files = {"/boot/vmlinuz-6": bzimage(), "/boot/initramfs-6.img": b"x"}

    def of(root: str) -> list[tuple[str, tuple[tuple[str, ...], ...], bool]]:
        found = configured((PARTITION, Disk(**boot)), (root, Disk(**files)))
        return [(each.loader, each.entries, each.sure) for each in found.configs]

    lacks = tuple(f"/root/boot/{name}, which {ABSENT}" for name in ("vmlinuz-6", "initramfs-6.img"))
    own = [("GRUB", (), True), ("systemd-boot", (lacks,), True)]
    assert of("btrfsvol:/dev/sda3/root") == [*own, ("GRUB", ((),), True)]
    assert of("btrfsvol:/dev/sda3/home") == [*own, ("GRUB", (lacks,), True)]
    assert inside_worker.within("btrfsvol:/dev/sda2/@/.snapshots/1", "/@/.snapshots/1/a") == "/a"
    assert inside_worker.within(PARTITION, "/sda2/a") == "/sda2/a"


def test_of_two_files_of_one_name_one_that_can_be_started_counts() -> None:
    grub = {"/boot/grub/grub.cfg": b"linux /boot/vmlinuz\n"}
    bad, good = Disk(**grub, **{"/boot/vmlinuz": b"#"}), Disk(**{"/boot/vmlinuz": bzimage()})
    for order in ((bad, good), (good, bad)):
        (found,) = configured(*zip(("/dev/sda1", PARTITION), order, strict=True)).configs
        assert found.entries == ((),)
    (found,) = configured((PARTITION, bad)).configs
    assert found.entries == (("/boot/vmlinuz, which is no kernel",),)


class Odd(Disk):
    """A name in / that is not in UTF-8, and a link that leads to itself."""

    def ls(self, path: str) -> list[str]:
        if path == "/":
            return [b"\xe9".decode()]
        return super().ls(path)

    def is_file(self, path: str, **_: bool) -> bool:
        if path == "/boot/vmlinuz-2":
            raise RuntimeError("is_file: stat: Too many levels of symbolic links")
        assert len(path) <= 300
        return super().is_file(path)


def test_odd_names_lose_nothing_else() -> None:
    long = "/" + "a" * 280
    text = f"linux /boot/vmlinuz-2\nlinux {long}\nlinux /\0\nlinux /boot/vmlinuz-1\n"
    disk = Odd("/boot/vmlinuz-2", **{"/boot/vmlinuz-1": bzimage(), "/grub/grub.cfg": text.encode()})
    found = configured((PARTITION, disk))
    assert found.kernels == ("/boot/vmlinuz-1",)
    assert not found.configs[0].sure
    assert f"{PARTITION}: /: a name is not in UTF-8" in found.unread
    assert any("Too many levels" in row for row in found.unread)


def test_a_file_system_with_a_name_that_python_refuses() -> None:
    class Refused(Disk):
        def realpath(self, path: str) -> str:
            raise ValueError("embedded null character")

    found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
    assert not inside_worker.look(Refused("/initrd"), PARTITION, "ext4", found)
    assert found["unread"] == [f"{PARTITION}: ext4: embedded null character"]


def test_texts_of_boot_loaders_fill_no_memory() -> None:
    large = {f"/loader/entries/{number:02}.conf": b"\0" * 65536 for number in range(24)}
    found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
    for number in range(8):
        assert inside_worker.look(Disk(**large), f"/dev/sda{number}", "ext4", found)
    assert inside_worker.OUTPUT_BYTES == strict_json.LIMIT >= len(inside_worker.printed(found))
    assert any("are too large" in row for row in found["unread"])
    assert not all(each.sure for each in inside.inside(found).configs)
    with pytest.raises(RuntimeError, match="more than 16 MiB"):
        inside_worker.printed({**found, "unread": ["x" * inside_worker.OUTPUT_BYTES]})


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
    assert "not read" in found.buses[0].by or found.buses[0].by == initrds[1]


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


def test_windows() -> None:
    place = {**EFI, "kernels": ["/Windows/System32/ntoskrnl.exe"]}
    assert on(seen(place)) is False
    assert on(seen({**place, "windows_drivers": ["/Windows/System32/drivers/viostor.sys"]}))
    own = seen({**place, "windows_drivers": ["/Windows/System32/drivers/storahci.sys"]})
    assert (on(own), on(own, Bus.SATA), on(own, Bus.IDE)) == (False, True, False)

    drivers = "/Windows/System32/drivers/"  # of Windows 7
    kernel = {"/Windows/System32/ntoskrnl.exe": b"MZ"}
    disk = Disk(f"{drivers}msahci.sys", f"{drivers}atapi.sys", **kernel)
    assert on(configured((PARTITION, disk)), Bus.SATA)


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
