"""The tools that make an Instance's disks, held to a time and to memory."""

import hashlib
import os
import shutil
import stat
import sys
import time
from pathlib import Path

import pytest

from portkit import process
from portkit.remote import facts, gc, instances, store
from portkit.wire.frames import RemoteError


def tool(folder: Path, name: str, code: str) -> list[str]:
    path = folder / name
    path.write_text(f"#!{sys.executable} -I\n{code}\n")
    path.chmod(0o755)
    return [str(path)]


def test_a_tool_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hostile input 12"""
    monkeypatch.setattr(instances, "_TOOL_SECONDS", 0.5)
    argv = tool(
        tmp_path,
        "mkfs.ext4",
        "import os, time\nopen(__file__ + '.pid', 'w').write(str(os.getpid()))\ntime.sleep(60)",
    )
    begun = time.monotonic()
    with pytest.raises(RemoteError, match=r"mkfs\.ext4 did not finish within 0\.5 s") as caught:
        instances.run_tool(argv)
    assert caught.value.kind == "EngineError"
    assert time.monotonic() - begun < 10
    assert not Path("/proc", (tmp_path / "mkfs.ext4.pid").read_text()).exists(), "it was reaped"


def test_a_tool_has_a_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hostile input 12"""
    greedy = tool(tmp_path, "qemu-img", "import mmap\nmmap.mmap(-1, 1 << 30)")
    instances.run_tool(greedy)
    monkeypatch.setattr(instances, "_TOOL_MEMORY", 1 << 29)
    with pytest.raises(RemoteError, match="failed on the host") as caught:
        instances.run_tool(greedy)
    assert "Cannot allocate memory" in caught.value.details
    said = "import resource\nraise SystemExit(str(resource.getrlimit(resource.RLIMIT_AS)))"
    with pytest.raises(RemoteError) as caught:
        instances.run_tool(tool(tmp_path, "mkfs.ext4", said))
    assert str((1 << 29, 1 << 29)) in caught.value.details


def test_what_a_tool_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = tool(tmp_path, "mkfs.ext4", "raise SystemExit('mkfs: No space left on device')")
    with pytest.raises(RemoteError, match="failed") as caught:
        instances.run_tool(argv)
    assert (caught.value.kind, "No space left" in caught.value.details) == ("SpaceError", True)
    monkeypatch.setattr(facts, "tool_path", lambda: str(tmp_path))
    with pytest.raises(RemoteError, match="prlimit is not on the host"):
        instances.run_tool(["qemu-img"])
    (tmp_path / "prlimit").symlink_to("/usr/bin/prlimit")
    with pytest.raises(RemoteError, match="qemu-img is not on the host"):
        instances.run_tool(["qemu-img"])
    instances.run_tool(tool(tmp_path, "qemu-img", "pass")[:1])


@pytest.mark.parametrize(
    "identity", ["", "pk-0123456789ab-1", "pk-0123456789AB", "../pk-0123456789ab", 7, None]
)
def test_ids_that_are_none(identity: object) -> None:
    with pytest.raises(RemoteError, match="not valid"):
        instances.folder_of(identity)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of a disk that is in the host's Store since an earlier connection."""
    monkeypatch.setattr(store, "ROOT", tmp_path / "store")
    monkeypatch.setattr(store, "VERIFIED", set())
    monkeypatch.setattr(instances, "ROOT", tmp_path / "instances")
    instances.ROOT.mkdir()
    data = b"disk" * 5000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    store.path_of(digest).parent.mkdir(parents=True)
    store.path_of(digest).write_bytes(data)
    return digest


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[777] ^= 16
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_disk_that_was_there_is_hashed_before_it_boots(disk: str) -> None:
    base = instances._base(disk, os.getgid())
    assert base.read_bytes() == store.path_of(disk).read_bytes()
    assert instances._base(disk, os.getgid()) == base, "a second Instance"
    flip(base)
    with pytest.raises(RemoteError, match="does not match its digest") as caught:
        instances._base(disk, os.getgid())
    assert caught.value.kind == "VerifyError"
    assert not base.exists()
    assert not store.path_of(disk).exists(), "which sends it anew"


def test_an_altered_blob_is_not_linked(disk: str) -> None:
    flip(store.path_of(disk))
    with pytest.raises(RemoteError, match="does not match its digest"):
        instances._base(disk, os.getgid())
    assert not list((instances.ROOT / "base").iterdir())
    assert not store.path_of(disk).exists()


def test_a_kernel_to_start_from_is_in_the_folder_of_its_instance(
    disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for data in (b"kernel", b"initrd"):
        names.append("sha256:" + hashlib.sha256(data).hexdigest())
        store.path_of(names[-1]).write_bytes(data)
    monkeypatch.setattr(instances, "run_tool", lambda argv: Path(argv[-1]).touch())
    owner, base = (os.getuid(), os.getgid()), instances._base(disk, os.getgid())
    args = {"config": "", "volumes": [], "kit": names}
    folders = [instances.ROOT / f"pk-{number:012}" for number in range(2)]
    for folder, boot in zip(folders, (names, []), strict=True):
        folder.mkdir()
        made = instances._fill(folder, base, {**args, "boot": boot}, owner)
        assert made["boot"] == [str(folder / name) for name in ("kernel", "initrd")[: len(boot)]]
    for name, data in (("kernel", b"kernel"), ("initrd", b"initrd")):
        path = folders[0] / name
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o440
    shutil.rmtree(folders[0])
    instances.drop_unused_bases(set())
    assert base.exists(), "the other Instance stands on it"
    assert all(store.path_of(name).exists() for name in names), "and names them as its kit"
    assert gc.of_instances() == {base.name[:64], *(name[7:] for name in names)}


def test_a_volume_has_the_content_of_its_folder(
    disk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TEMPORARY", [])
    content, folder = tmp_path / "content", instances.ROOT / "pk-0123456789ab"
    for each in (content, folder):
        each.mkdir()
    (content / "data").write_text("of the app")
    owner, base = (os.getuid(), os.getgid()), instances._base(disk, os.getgid())
    volumes = [
        {"name": "pkv0", "bytes": 32 << 20, "folder": str(content)},
        {"name": "pkv1", "bytes": 32 << 20},
    ]
    made = instances._fill(folder, base, {"config": "", "volumes": volumes}, owner)
    full, empty = (Path(made["volumes"][name]) for name in ("pkv0", "pkv1"))
    assert process.run(["debugfs", "-R", "cat /data", full]).text == "of the app"
    assert process.run(["debugfs", "-R", "cat /data", empty]).text == ""
    assert {stat.S_IMODE(path.stat().st_mode) for path in (full, empty)} == {0o600}
    with pytest.raises(RemoteError, match="the name of a volume is not valid"):
        instances._fill(
            folder, base, {"config": "", "volumes": [{"name": "../x", "bytes": 1}]}, owner
        )


def test_an_altered_kernel_is_not_started(disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(store.path_of(disk))
    with pytest.raises(RemoteError, match="does not match its digest"):
        instances._readable(disk, instances.ROOT / "kernel", os.getgid())
    assert not (instances.ROOT / "kernel").exists()


def test_what_is_mounted_in_an_instance_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "ROOT", tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("x")
    identity = "pk-0123456789ab"
    folder = instances.folder_of(identity)
    (folder / "shared").mkdir(parents=True)
    (folder / "disk.qcow2").write_text("x")
    process.run(["mount", "--bind", theirs, folder / "shared"])
    try:
        with pytest.raises(RemoteError, match="something is mounted in it") as caught:
            instances.discard(identity)
    finally:
        process.run(["umount", folder / "shared"])
    assert str(folder / "shared") in caught.value.details
    assert (folder / "disk.qcow2").exists()
    assert (theirs / "file").exists()
