"""What libguestfs says of a disk, in our words; and what becomes of it when it fails."""

from pathlib import Path
from typing import Any

import pytest

from portkit.errors import ToolError
from portkit.model.disk import DiskFormat, EfiLoader
from portkit.needs import appliance, inside

DEBIAN = {
    "kernels": ["/vmlinuz", "/boot/vmlinuz-6.1.0-41-amd64"],
    "loaders": [],
    "initrds": [
        {
            "path": "/boot/initrd.img-6.1.0-41-amd64",
            "whole": True,
            "virtio": ["usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko"],
        }
    ],
    "built_in": [{"path": "/lib/modules/6.1.0/modules.builtin", "virtio": []}],
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
    assert (found.virtio, found.virtio_by) == (True, "/boot/initrd.img-6.1.0-41-amd64")
    assert found.fixed_devices == ("/dev/sda2 none",)
    assert found.built_level == 0


@pytest.mark.parametrize(
    ("initrds", "built_in", "expected"),
    [
        ([{"path": "/i", "whole": True, "virtio": []}], DEBIAN["built_in"], False),
        ([{"path": "/i", "whole": True, "virtio": ["virtio_net.ko"]}], DEBIAN["built_in"], False),
        ([{"path": "/i", "whole": True, "virtio": []}], [], None),
        ([{"path": "/i", "whole": False, "virtio": []}], DEBIAN["built_in"], None),
        ([], DEBIAN["built_in"], None),
        ([], [{"path": "/b", "virtio": ["kernel/drivers/block/virtio_blk.ko"]}], True),
    ],
)
def test_virtio(initrds: object, built_in: object, expected: bool | None) -> None:
    assert seen({**DEBIAN, "initrds": initrds, "built_in": built_in}).virtio is expected


def test_windows() -> None:
    place = {**EFI, "kernels": ["/Windows/System32/ntoskrnl.exe"]}
    assert seen(place).virtio is False
    assert seen({**place, "windows_drivers": ["/Windows/System32/drivers/viostor.sys"]}).virtio


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
