"""A copy out of a disk's file system: the same passes and checks as out of a folder."""

import os
from pathlib import Path

import pytest

from portkit import process
from portkit.errors import ConflictError, VerifyError
from portkit.progress import NullObserver
from portkit.remote import instances, store, volume_disk
from portkit.volumes import Copy, Folder, verify_origin
from tests.unit.volumes.folders import Pair, seen


def disk_of(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk of a volume with the content of the pair's first folder."""
    monkeypatch.setattr(store, "ROOT", tmp_path / "store")
    monkeypatch.setattr(store, "TEMPORARY", [])
    (pair.origin / "sub").mkdir()
    (pair.origin / "sub/one").write_bytes(os.urandom(300_000))
    os.link(pair.origin / "sub/one", pair.origin / "two")
    (pair.origin / "link").symlink_to("two")
    with (pair.origin / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"data")
    disk = tmp_path / "disk"
    row: dict[str, object] = {"name": "pkv1", "bytes": 64 << 20, "folder": str(pair.origin)}
    volume_disk.make(disk, row, tmp_path, instances.run_tool)
    return disk


def test_a_disk_s_content_comes_to_a_folder_and_can_be_verified(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_of(pair, tmp_path, monkeypatch)
    before = disk.read_bytes()
    (pair.target / "old").write_bytes(b"of an earlier try")
    origin = Folder(pair.hosts[0], str(disk), image=True)
    copy = Copy(origin, Folder(pair.hosts[1], str(pair.target)), NullObserver())
    last = copy.run(last=True)
    assert seen(pair.target) == seen(pair.origin)
    assert (pair.target / "sparse").stat().st_blocks * 512 < 1 << 20
    assert (last.remembered, last.provable, last.skipped) == (0, False, ())
    assert last.hashed == last.bytes
    assert copy.run(last=True).sent_bytes == 0
    assert verify_origin(origin, last.digest, copy.sent, NullObserver()) == last.bytes
    assert disk.read_bytes() == before
    process.run(["debugfs", "-w", "-R", "sif /two mtime @77", disk])
    with pytest.raises(VerifyError, match="differs from what was sent"):
        verify_origin(origin, last.digest, copy.sent, NullObserver())


def test_one_with_errors_is_refused_before_anything_is_changed(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_of(pair, tmp_path, monkeypatch)
    (pair.target / "old").write_bytes(b"stays")
    process.run(["debugfs", "-w", "-R", "ssv state 2", disk])
    origin = Folder(pair.hosts[0], str(disk), image=True)
    with pytest.raises(ConflictError, match="has errors"):
        Copy(origin, Folder(pair.hosts[1], str(pair.target)), NullObserver()).run(last=True)
    assert [path.name for path in pair.target.iterdir()] == ["old"]
