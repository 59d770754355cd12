"""The disks of a VM as a folder at its source, and in their place on its target."""

import json
import os
import stat
import struct
from pathlib import Path

import pytest

from portkit import process
from portkit.remote import instances, staging, store, vm_disks
from portkit.wire.frames import RemoteError

MOVE = {"id": "pk-0123456789ab"}
BASE = "a" * 64 + ".raw"

CONFIG = b"PORTKIT1".ljust(512, b"\0")  # without a record


@pytest.fixture
def instance(root: Path) -> Path:
    """The folder of an Instance with one volume."""
    folder = instances.ROOT / MOVE["id"]
    folder.mkdir(parents=True)
    (instances.ROOT / "base").mkdir()
    (instances.ROOT / "base" / BASE).write_bytes(bytes(1 << 20))
    (folder / "base").write_text(BASE)
    for name in ("pkv0.raw", "config.raw", "serial.log", "state.log"):
        (folder / name).write_bytes(b"of this host")
    (folder / "config.raw").write_bytes(CONFIG)
    overlay(folder / "disk.qcow2")
    return folder


def overlay(path: Path, base: Path | None = None, *words: str) -> None:
    base = base or instances.ROOT / "base" / BASE
    made = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", "-u"]
    process.run([*made, *words, path, str(1 << 20)])


def arrive(instance: Path, **more: bytes) -> Path:
    """Disks that came."""
    (place,) = map(Path, staging.stage({**MOVE, "disks": True}, None)["folders"])
    assert place == instance / "data" / "disks"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    (place / "pkv0.raw").write_bytes(b"what the guest wrote")
    overlay(place / "disk.qcow2")
    for name, data in more.items():
        (place / name).write_bytes(data)
    return place


def test_what_it_was_made_of_is_kept_for_root_alone(instance: Path) -> None:
    assert vm_disks.described(MOVE, None)["text"] == ""
    for text in ("first", 'then "é"'):
        vm_disks.describe({**MOVE, "text": text}, None)
        row = vm_disks.described(MOVE, None)
        assert row["text"] == text
    assert stat.S_IMODE((instance / "about.json").stat().st_mode) == 0o600
    assert row["disks"] == [
        str(instance / name) for name in ("disk.qcow2", "pkv0.raw", "config.raw")
    ]
    assert row["blobs"] == str(store.ROOT / "blobs" / "sha256")


def test_the_folder_at_the_source_has_its_disks_and_nothing_else(instance: Path) -> None:
    for _ in range(2):
        (folder,) = map(Path, vm_disks.expose(MOVE, None)["folders"])
        assert sorted(path.name for path in folder.iterdir()) == ["disk.qcow2", "pkv0.raw"]
        assert (folder / "pkv0.raw").samefile(instance / "pkv0.raw")
    # A disk that was made anew since is shown as it is now.
    (instance / "pkv0.raw").unlink()
    (instance / "pkv0.raw").write_bytes(b"another")
    vm_disks.expose(MOVE, None)
    assert (folder / "pkv0.raw").read_bytes() == b"another"
    vm_disks.hide({"domain": f"{MOVE['id']} always by itself runs", "source": "old"})
    assert not folder.exists()
    assert (instance / "pkv0.raw").read_bytes() == b"another"
    vm_disks.hide({"source": "old"})


def test_the_disks_that_came_take_the_place_of_the_others(instance: Path) -> None:
    os.chown(instance / "pkv0.raw", 64_055, 64_056)
    place = arrive(instance)
    for _ in range(2):  # the second time, they are in their place
        vm_disks.adopt(MOVE, None)
        status = (instance / "pkv0.raw").stat()
        assert (instance / "pkv0.raw").read_bytes() == b"what the guest wrote"
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (64055, 64056, 0o600)
        assert (instance / "disk.qcow2").samefile(place / "disk.qcow2")
        assert not list(instance.glob("*.new"))
    assert (instance / "serial.log").read_bytes() == b"", "of no boot yet"
    assert (instance / "config.raw").read_bytes() == CONFIG
    assert staging.holds_data(MOVE, None) == {"moved": True}


def test_a_disk_that_came_anew_takes_the_place_of_the_one_before(instance: Path) -> None:
    place = arrive(instance)
    vm_disks.adopt(MOVE, None)
    (place / "pkv0.raw").unlink()
    (place / "pkv0.raw").write_bytes(b"once more")
    vm_disks.adopt(MOVE, None)
    assert (instance / "pkv0.raw").read_bytes() == b"once more"


def test_the_overlay_stands_on_the_base_of_this_host(instance: Path) -> None:
    place = arrive(instance)
    (place / "disk.qcow2").unlink()
    overlay(place / "disk.qcow2", Path("/elsewhere/base") / BASE)
    vm_disks.adopt(MOVE, None)
    told = process.run(["qemu-img", "info", "--output=json", instance / "disk.qcow2"]).text
    assert json.loads(told)["backing-filename"] == str(instances.ROOT / "base" / BASE)


def refused(match: str) -> None:
    with pytest.raises(RemoteError) as caught:
        vm_disks.adopt(MOVE, None)
    assert match in caught.value.brief
    assert (instances.ROOT / MOVE["id"] / "pkv0.raw").read_bytes() == b"of this host"


def test_an_overlay_that_names_another_file_of_the_host_is_refused(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = arrive(instance)
    (place / "disk.qcow2").unlink()
    overlay(place / "disk.qcow2", Path("/etc/shadow"))
    refused("another backing file")
    # Its content in a file beside it, which QEMU would open as well.
    words = ["-o", f"data_file={place / 'x'},data_file_raw=off"]
    (place / "disk.qcow2").unlink()
    overlay(place / "disk.qcow2", None, *words)
    (place / "x").unlink()
    monkeypatch.setattr(instances, "run_tool", lambda words: pytest.fail("it was opened"))
    refused("another backing file")


@pytest.mark.parametrize(
    "named",
    [
        'json:{"driver":"file","filename":"/etc/shadow"}',
        f"nbd://10.0.0.1/{BASE}",
        f"./{BASE}",
        f'json:{{"driver":"file","filename":"/etc/{BASE}',
    ],
)
def test_no_tool_reads_a_disk_whose_header_names_what_is_no_base(
    instance: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    place = arrive(instance)
    write_name(place / "disk.qcow2", named.encode())
    monkeypatch.setattr(instances, "run_tool", lambda words: pytest.fail("it was opened"))
    refused("another backing file")


def write_name(path: Path, name: bytes) -> None:
    """The name of what a qcow2 stands on, as somebody may write it who makes no use of qemu-img."""
    with path.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack(">QI", 60_000, len(name)))
        file.seek(60_000)
        file.write(name)


@pytest.mark.parametrize("content", [b"", b"QFI", b"QFI\xfb" + bytes(100), b"KDMV" * 30])
def test_what_is_no_qcow2_is_refused(instance: Path, content: bytes) -> None:
    place = arrive(instance)
    (place / "disk.qcow2").write_bytes(content)
    refused("another backing file")


def test_a_name_outside_its_disk_is_refused(instance: Path) -> None:
    place = arrive(instance)
    for offset, length in ((2**64 - 1, 20), (1 << 30, 20), (60_000, 2**32 - 1)):
        with (place / "disk.qcow2").open("r+b") as file:
            file.seek(8)
            file.write(struct.pack(">QI", offset, length))
        refused("another backing file")


def test_a_disk_with_snapshots_is_refused_before_its_vm_is_stopped(instance: Path) -> None:
    vm_disks.expose(MOVE, None)
    process.run(["qemu-img", "snapshot", "-c", "before", instance / "disk.qcow2"])
    with pytest.raises(RemoteError, match="another backing file"):
        vm_disks.expose(MOVE, None)


def test_an_overlay_of_another_size_than_its_base_is_refused(instance: Path) -> None:
    place = arrive(instance)
    process.run(["qemu-img", "resize", "-q", place / "disk.qcow2", "+1M"])
    refused("another size than its base")


@pytest.mark.parametrize("more", [{"pkv1.raw": b""}, {"config.raw": b"of the source"}])
def test_disks_that_the_vm_does_not_have_are_refused(
    instance: Path, more: dict[str, bytes]
) -> None:
    arrive(instance, **more)
    refused("not those that the VM has")


def test_a_link_is_no_disk(instance: Path) -> None:
    place = arrive(instance)
    (place / "pkv0.raw").unlink()
    (place / "pkv0.raw").symlink_to("/etc/shadow")
    refused("not those that the VM has")
