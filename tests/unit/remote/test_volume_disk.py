"""A volume's content as an ext4 disk, read back with debugfs."""

import hashlib
import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import process
from portkit.remote import engine, instances, volume_disk
from portkit.wire.frames import RemoteError
from tests import odd_folder
from tests.odd_folder import ACL
from tests.unit.fake_engine import fake_engine


def debugfs(disk: Path, command: str) -> bytes:
    return process.run(["debugfs", "-R", command, disk]).stdout


Seen = dict[bytes, list[object]]


def on_disk(disk: Path, inode: int = 2, path: bytes = b"") -> Seen:
    """Path -> what the disk says of it, for all below a folder and itself."""
    found: Seen = {path: about(disk, inode)}
    if found[path][0] != "directory":
        return found
    ((*_, entries),) = [volume_disk._list(disk, [inode], instances.run_tool)]
    for number, name, _ in entries:
        found.update(on_disk(disk, number, path + b"/" + name))
    return found


def about(disk: Path, inode: int) -> list[object]:
    said = debugfs(disk, f"stat <{inode}>").decode("utf-8", "replace")

    def one(pattern: str) -> str:
        match = re.search(pattern, said)
        return match[1] if match else ""

    kind = one(r"Type: (\w+)")
    numbers = [int(one(rf"{word}: +(-?\d+)")) & 0xFFFFFFFF for word in ("User", "Group", "Links")]
    low, extra = one(r" mtime: 0x(\w+):"), one(r" mtime: 0x\w+:(\w+)")
    names = re.findall(r"^  ([a-z]+\.[\w.]+) \(\d+\)", said, re.MULTILINE)
    size = int(one(r"Size: (\d+)")) if kind in ("regular", "symlink") else 0
    return [
        kind,
        int(one(r"Mode: +(\d+)"), 8),
        *(numbers if kind != "directory" else numbers[:2]),
        (int(low, 16), int(extra, 16)),
        sorted(names),
        size,
    ]


KINDS = {
    stat.S_IFREG: "regular",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character",
}


def in_folder(path: bytes) -> list[object]:
    row = os.lstat(path)
    kind = KINDS[stat.S_IFMT(row.st_mode)]
    links = [] if kind == "directory" else [row.st_nlink]
    seconds = row.st_mtime_ns // 10**9
    return [
        kind,
        stat.S_IMODE(row.st_mode),
        row.st_uid,
        row.st_gid,
        *links,
        (seconds & 0xFFFFFFFF, volume_disk.extra_time(row.st_mtime_ns)),
        sorted(os.listxattr(path, follow_symlinks=False)),
        row.st_size if kind in ("regular", "symlink") else 0,
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="other owners and devices need root")
def test_all_of_a_folder_is_on_the_disk(root: Path) -> None:
    folder = root / "content"
    disk = odd_folder.disk_of(folder, root)
    process.run(["e2fsck", "-fn", disk])
    top = os.fsencode(folder)
    wanted = {b"": in_folder(top)}
    for here, folders, files in os.walk(top):
        for name in folders + files:
            path = here + b"/" + name
            wanted[path.removeprefix(top)] = in_folder(path)
    found = on_disk(disk)
    assert {path: row for path, row in found.items() if row != wanted.get(path)} == {}
    assert set(found) == set(wanted)
    assert "".join(
        debugfs(disk, "ea_get -x <2> system.posix_acl_default").decode().split()
    ).endswith(ACL.replace("f" * 8, "0" * 8))
    assert b"of the root" in debugfs(disk, "ea_get <2> user.root")
    back = root / "back"
    back.mkdir()
    debugfs(disk, f"rdump / {back}")
    for path, told in wanted.items():
        if told[0] == "regular":
            mine = Path(os.fsdecode(os.fsencode(back) + path))
            theirs = Path(os.fsdecode(top + path))
            assert (
                hashlib.sha256(mine.read_bytes()).digest()
                == hashlib.sha256(theirs.read_bytes()).digest()
            ), path
    assert disk.stat().st_blocks * 512 < 40 << 20, "holes stay holes"


def test_an_empty_one(root: Path) -> None:
    disk = root / "disk.raw"
    volume_disk.make(disk, {"name": "pkv1", "bytes": 64 << 20}, root, instances.run_tool)
    assert b"pkv1" in debugfs(disk, "stats -h")
    assert disk.stat().st_size == 64 << 20


def test_content_that_does_not_fit(root: Path) -> None:
    folder, disk = root / "content", root / "disk.raw"
    folder.mkdir()
    (folder / "big").write_bytes(os.urandom(20 << 20))
    row: dict[str, object] = {"name": "pkv0", "bytes": 16 << 20, "folder": str(folder)}
    with pytest.raises(RemoteError) as caught:
        volume_disk.make(disk, row, root, instances.run_tool)
    assert caught.value.kind == "SpaceError"


def test_many_small_files_have_their_inodes(root: Path) -> None:
    folder, disk = root / "content", root / "disk.raw"
    folder.mkdir()
    for number in range(3000):
        (folder / str(number)).touch()
    row: dict[str, object] = {"name": "pkv0", "bytes": 32 << 20, "folder": str(folder)}
    volume_disk.make(disk, row, root, instances.run_tool)
    assert len(volume_disk._list(disk, [2], instances.run_tool)[0]) == 3001


def test_other_folders_of_the_host_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = root / "portkit", root / "elsewhere"
    for folder in (own / "in", other, root / "docker/volumes/v/_data/below", root / "portkit-2"):
        folder.mkdir(parents=True)
    (own / "link").symlink_to(other)
    (own / "file").touch()
    monkeypatch.setattr(engine, "SOCKET", str(root / "engine.sock"))
    with fake_engine(root) as fake:
        fake.answers["GET /info"] = (200, {"DockerRootDir": str(root / "docker")})
        good = (str(own / "in"), str(root / "docker/volumes/v/_data"))
        for each in good:
            assert volume_disk.content(each, own) == each
        bad: tuple[object, ...] = (
            str(other),
            str(own),
            str(own / "link"),
            str(own / "in/../../elsewhere"),
            str(own / "file"),
            str(own / "nothing"),
            str(root / "portkit-2"),
            str(root / "docker/volumes/v"),
            str(root / "docker/volumes/v/_data/below"),
            "portkit/in",
            "/",
            "",
            None,
            5,
        )
        for each in bad:
            with pytest.raises(RemoteError, match="neither to portkit"):
                volume_disk.content(each, own)


@pytest.mark.parametrize("said", ["", "debugfs 1.47\nls: not found\n", "x\ny\n"])
def test_a_debugfs_that_does_something_else(root: Path, said: str) -> None:
    with pytest.raises(RemoteError, match="did not do what"):
        volume_disk._list(root, [2], lambda *_: said.encode())
    with pytest.raises(RemoteError, match="did not do what"):
        volume_disk._debugfs(root, iter(["sif <2> x 1"]), lambda *_: said.encode(), write=True)


def test_an_attribute_whose_name_is_a_command(root: Path) -> None:
    folder = root / "content"
    folder.mkdir()
    try:
        os.setxattr(folder, b"user.x\nrm /etc", b"1")
    except OSError:
        pytest.skip("this file system has no attributes")
    with pytest.raises(RemoteError, match="a name that debugfs does not accept"):
        list(volume_disk._root(str(folder)))


@given(st.integers(-(1 << 31), (1 << 33) - 1), st.integers(0, 10**9 - 1))
def test_times_come_back(seconds: int, nanoseconds: int) -> None:
    """As the kernel reads them (ext4_decode_extra_time)."""
    extra = volume_disk.extra_time(seconds * 10**9 + nanoseconds)
    low = (seconds & 0xFFFFFFFF) - (1 << 32 if seconds & 0x80000000 else 0)
    assert (low + ((extra & 3) << 32), extra >> 2) == (seconds, nanoseconds)
    assert extra < 1 << 32
