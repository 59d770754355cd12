"""Data of a running App becomes the disks of its VM."""

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.errors import ToolError
from portkit.remote import gc, instances, moves, staging
from portkit.wire.frames import RemoteError

MOVE: dict[str, Any] = {"id": "pk-0123456789ab"}
BASE = "1" * 64 + ".raw"


@pytest.fixture
def instance(root: Path) -> Path:
    """The folder of an Instance with two volumes of 32 MiB."""
    folder = instances.ROOT / MOVE["id"]
    folder.mkdir(parents=True)
    for number in range(2):
        with (folder / f"pkv{number}.raw").open("wb") as disk:
            disk.truncate(32 << 20)
    (instances.ROOT / "base").mkdir()
    (instances.ROOT / "base" / BASE).write_bytes(bytes(1 << 20))
    (folder / "base").write_text(BASE)
    instances.make_overlay(folder / "disk.qcow2", instances.ROOT / "base" / BASE)
    return folder


def staged() -> list[Path]:
    return list(map(Path, staging.stage(MOVE, None)["folders"]))


def read(disk: Path, path: str) -> str:
    return process.run(["debugfs", "-R", f"cat {path}", disk]).text


def test_each_volume_has_a_private_folder(instance: Path) -> None:
    folders = staged()
    assert folders == [instance / "data" / "0", instance / "data" / "1"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in (instance / "data", *folders)} == {0o700}
    (folders[1] / "arrived").touch()
    assert staged() == folders
    assert (folders[1] / "arrived").exists(), "what came before stays"


def test_the_disks_are_made_of_what_is_in_the_folders(instance: Path) -> None:
    content = staged()[1]
    content.chmod(0o2751)
    (content / "ledger").write_text("first")
    os.chown(content / "ledger", 70_000, 70_001)
    os.setxattr(content / "ledger", b"user.note", b"kept")
    disk, other = instance / "pkv1.raw", instance / "pkv0.raw"
    os.chown(disk, 64_055, 64_056)
    before = other.stat()
    assert staging.holds_data(MOVE, None) == {"moved": False}
    for text in ("first", "second"):
        (content / "ledger").write_text(text)
        staging.fill({**MOVE, "volumes": [1]}, None)
        assert read(disk, "/ledger") == text
    told = process.run(["debugfs", "-R", "stat /ledger", disk]).text
    assert re.search(r"User: +70000 +Group: +70001 ", told)
    assert 'user.note (4) = "kept"' in told
    assert "Mode:  02751" in process.run(["debugfs", "-R", "stat <2>", disk]).text
    status = disk.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (64_055, 64_056, 0o600)
    assert other.stat() == before, "only those that data came for"
    assert staging.holds_data(MOVE, None) == {"moved": True}


def test_a_disk_is_larger_than_its_content(instance: Path) -> None:
    staged()
    staging.fill({**MOVE, "volumes": [0]}, None)
    assert 0 <= (instance / "pkv0.raw").stat().st_size - (1 << 30) <= 1 << 16, "its folder alone"
    with (instance / "pkv0.raw").open("r+b") as disk:
        disk.truncate(3 << 30)
    (staged()[0] / "large").write_bytes(os.urandom(8 << 20))
    staging.fill({**MOVE, "volumes": [0]}, None)
    assert (instance / "pkv0.raw").stat().st_size == 3 << 30
    with (instance / "pkv0.raw").open("r+b") as disk:
        disk.truncate(1 << 20)
    staging.fill({**MOVE, "volumes": [0]}, None)
    size = (instance / "pkv0.raw").stat().st_size
    assert (1 << 30) + (12 << 20) <= size <= (1 << 30) + (13 << 20)


def test_a_disk_that_cannot_be_made_leaves_the_one_that_was_there(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (instance / "pkv0.raw").stat()
    staged()

    def full(argv: list[str], seconds: float = 0.0) -> bytes:
        raise RemoteError("SpaceError", "mkfs.ext4 failed on the host", "No space left", "")

    monkeypatch.setattr(instances, "run_tool", full)
    with pytest.raises(RemoteError, match="failed on the host"):
        staging.fill({**MOVE, "volumes": [0]}, None)
    assert (instance / "pkv0.raw").stat() == before
    assert not list(instance.glob("*.new"))


def test_what_a_try_that_failed_wrote_into_its_system_goes(instance: Path) -> None:
    system = instance / "disk.qcow2"
    process.run(["qemu-io", "-c", "write -P 7 0 64k", system])
    with pytest.raises(ToolError):
        process.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", system, base_of(instance)])
    os.chown(system, 64_055, 64_056)
    for _ in range(2):
        staging.fill({**MOVE, "volumes": []}, None)
        process.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", system, base_of(instance)])
    assert (system.stat().st_uid, stat.S_IMODE(system.stat().st_mode)) == (64_055, 0o600)


def base_of(instance: Path) -> Path:
    return instances.ROOT / "base" / (instance / "base").read_text()


def test_no_disk_without_its_folder(instance: Path) -> None:
    with pytest.raises(RemoteError, match="neither to portkit"):
        staging.fill({**MOVE, "volumes": [0]}, None)
    with pytest.raises(RemoteError, match="no longer exists on the host"):
        staging.stage({"id": "pk-ffffffffffff"}, None)
    with pytest.raises(RemoteError, match="not valid"):
        staging.stage({"id": "../x"}, None)


def test_the_folders_go_when_the_move_is_over_or_taken_back(instance: Path) -> None:
    for end in (
        lambda: moves.end({**MOVE, "app": "ledger"}, None),
        lambda: moves.end({**MOVE, "app": "ledger"}, None),
        lambda: instances.remove(MOVE, None),
    ):
        (staged()[0] / "secret").touch()
        end()
        assert not (instance / "data").exists()
    moves.end({**MOVE, "app": "ledger"}, None)  # fine when there is nothing


def test_those_of_a_killed_move_are_garbage_as_a_whole(
    instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The App still runs at its source, with the data; nothing has booted from these disks."""
    monkeypatch.setattr(gc, "_PROC", tmp_path / "proc")
    (tmp_path / "proc").mkdir()
    (staged()[0] / "secret").touch()
    staging.fill({**MOVE, "volumes": [0, 1]}, None)
    monkeypatch.setattr(gc.remains.engine, "info", lambda: None)
    monkeypatch.setattr(gc.images, "every", list)
    rows = gc.collect({"all": True, "dry_run": False, "domains": []}, None)["removed"]
    assert [(row["kind"], row["name"]) for row in rows] == [("instance", MOVE["id"])]
    assert not instance.exists()


def test_an_instance_is_made_anew_beside_what_has_arrived(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "qemu_owner", lambda: (os.getuid(), os.getgid()))
    monkeypatch.setattr(instances, "_base", lambda digest, group: instances.ROOT / "base" / digest)
    monkeypatch.setattr(instances, "run_tool", lambda argv, *_: Path(argv[-1]).touch())
    (staged()[0] / "arrived").write_text("kept")
    (instance / "kernel").touch()
    args = {**MOVE, "app": "ledger", "disk": "new.raw", "config": "", "volumes": []}
    with pytest.raises(RemoteError, match="the host already has"):
        instances.create(args, None)
    instances.create({**args, "again": True}, None)
    assert (instance / "base").read_text() == "new.raw"
    assert not (instance / "kernel").exists(), "that of the disk before"
    assert (instance / "data" / "0" / "arrived").read_text() == "kept"
    assert stat.S_IMODE((instance / "data").stat().st_mode) == 0o700
