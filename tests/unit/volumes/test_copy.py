"""One folder to another through two real remote halves."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from portkit import errors
from portkit.volumes import another
from portkit.wire import tree
from tests.unit.volumes.folders import Pair, seen

ROOT = os.geteuid() == 0
# user 0 may read, user 1000 too, mask read and write: linux/posix_acl_xattr.h.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (1, 6, 0xFFFFFFFF),
        (2, 4, 1000),
        (4, 4, 0xFFFFFFFF),
        (16, 6, 0xFFFFFFFF),
        (32, 0, 0xFFFFFFFF),
    )
)


def fill(root: Path) -> None:
    """A folder with everything that is kept."""
    (root / "plain").write_bytes(os.urandom(3 * tree.BLOCK + 77))
    (root / "empty").touch()
    (root / "setuid").write_text("run")
    (root / "setuid").chmod(0o6755)
    (root / "deep/er").mkdir(parents=True)
    (root / "deep/er").chmod(0o3770)
    os.link(root / "plain", root / "deep/same")
    (root / "deep/link").symlink_to("../nowhere")
    for odd in (b"new\nline", b"-rf", b"\xff\xfe", b" ", b"x" * 255, "é".encode()):
        (root / os.fsdecode(odd)).write_bytes(odd)
    with (root / "sparse").open("wb") as file:
        file.truncate(40 << 20)
        file.seek(10 << 20)
        file.write(b"data")
    os.setxattr(root / "plain", "user.note", b"\0\xff")
    os.setxattr(root / "setuid", "system.posix_acl_access", ACL)
    os.setxattr(root / "deep", "system.posix_acl_default", ACL)
    if ROOT:
        os.chown(root / "deep/er", 1234, 4321)
        os.lchown(root / "deep/link", 1, 2)
        os.setxattr(root / "deep/link", "trusted.t", b"1", follow_symlinks=False)
        # CAP_NET_BIND_SERVICE, effective: linux/capability.h, vfs_cap_data of revision 2.
        value = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
        os.setxattr(root / "plain", "security.capability", value)
    for path in root.rglob("*"):
        os.utime(path, ns=(1, 1_000_000_000_123_456_789), follow_symlinks=False)
    os.utime(root, ns=(5, 7_000_000_001))


def test_everything_is_kept(pair: Pair) -> None:
    fill(pair.origin)
    copy = pair.copy()
    first = copy.run()
    assert seen(pair.origin) == seen(pair.target)
    assert (first.entries, first.last, first.deleted) == (len(seen(pair.origin)), False, 0)
    assert first.sent_bytes < 1 << 20 < first.bytes
    last = copy.run(last=True)
    assert (last.changed_entries, last.sent_bytes, last.digest) == (0, 0, first.digest)
    assert seen(pair.origin) == seen(pair.target)
    assert (pair.target / "sparse").stat().st_blocks * 512 < 1 << 20


def test_little_of_a_file_that_changed_travels(pair: Pair) -> None:
    big = pair.origin / "big"
    big.write_bytes(os.urandom(20 * tree.BLOCK))
    copy = pair.copy()
    copy.run()
    with big.open("r+b") as file:
        file.seek(5 * tree.BLOCK + 4096)
        file.write(b"new")
        file.seek(0, os.SEEK_END)
        file.write(b"more")
    second = copy.run()
    assert seen(pair.origin) == seen(pair.target)
    assert (second.sent_bytes, second.changed_entries) == (4096 + 4, 1)


def test_kinds_change(pair: Pair) -> None:
    kinds = ("file", "folder", "symlink", "nothing", "names")
    for was in kinds:
        for now in kinds:
            make(pair.target / f"{was}-{now}", was)
            make(pair.origin / f"{was}-{now}", now)
    pair.copy().run(last=True)
    assert seen(pair.origin) == seen(pair.target)


def make(folder: Path, kind: str) -> None:
    folder.mkdir()
    x = folder / "x"
    if kind in ("file", "names"):
        x.write_text(kind * 1000)
    if kind == "names":
        os.link(x, folder / "y")
    if kind == "folder":
        (x / "in/side").mkdir(parents=True)
        (x / "in/file").write_text("z")
    if kind == "symlink":
        x.symlink_to("/etc")


def test_names_of_one_file_part_and_join(pair: Pair) -> None:
    a, b, c = (pair.origin / name for name in "abc")
    a.write_text("one")
    os.link(a, b)
    c.write_text("three")
    copy = pair.copy()
    copy.run()
    b.unlink()
    b.write_text("two")
    c.unlink()
    os.link(a, c)
    copy.run(last=True)
    assert seen(pair.origin) == seen(pair.target)


def test_holes_are_punched_and_filled(pair: Pair) -> None:
    path = pair.origin / "file"
    path.write_bytes(os.urandom(8 * tree.BLOCK))
    copy = pair.copy()
    copy.run()
    size = path.stat().st_size
    os.truncate(path, tree.BLOCK)
    os.truncate(path, size)
    second = copy.run(last=True)
    assert second.sent_bytes == 0
    assert (pair.target / "file").stat().st_blocks * 512 <= tree.BLOCK + 4096
    path.write_bytes(bytes(2 * tree.BLOCK))
    copy.run(last=True)
    assert seen(pair.origin) == seen(pair.target)


def test_a_written_zero_stays_written(pair: Pair) -> None:
    """What a database has set aside is not given away on the target."""
    (pair.origin / "zeros").write_bytes(bytes(8 * tree.BLOCK))
    pair.copy().run(last=True)
    assert (pair.target / "zeros").stat().st_blocks * 512 >= 8 * tree.BLOCK


def test_what_is_not_brought_is_named(pair: Pair) -> None:
    os.mkfifo(pair.origin / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(pair.origin / "sock"))
    os.mkfifo(pair.target / "theirs")
    done = pair.copy().run(last=True)
    assert done.skipped == (("pipe", "FIFO"), ("sock", "socket"))
    assert list(pair.target.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="device nodes are root's")
@pytest.mark.parametrize("nodes", [False, True])
def test_device_nodes_when_asked_for(pair: Pair, nodes: bool) -> None:
    os.mknod(pair.origin / "null", 0o20666, os.makedev(1, 3))
    done = pair.copy(nodes=nodes).run(last=True)
    assert (done.skipped == ()) == nodes
    if nodes:
        assert seen(pair.origin) == seen(pair.target)
    else:
        assert done.skipped == (("null", "character device"),)
        assert not (pair.target / "null").exists()


def test_a_symlink_on_the_target_is_not_followed(pair: Pair, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("theirs")
    (pair.target / "folder").symlink_to(outside)
    (pair.origin / "folder").mkdir()
    (pair.origin / "folder/x").write_text("mine")
    pair.copy().run(last=True)
    assert (outside / "x").read_text() == "theirs"
    assert seen(pair.origin) == seen(pair.target)


def test_a_name_outside_of_the_target_is_left_alone(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("theirs")
    os.link(tmp_path / "other", pair.target / "x")
    (pair.origin / "x").write_text("mine")
    pair.copy().run(last=True)
    assert (tmp_path / "other").read_text() == "theirs"
    assert seen(pair.origin) == seen(pair.target)


def test_the_last_pass_trusts_no_times(pair: Pair) -> None:
    path = pair.origin / "x"
    path.write_bytes(b"a" * 1000)
    copy = pair.copy()
    copy.run()
    there = pair.target / "x"
    times = there.stat().st_mtime_ns
    there.write_bytes(b"b" * 1000)
    os.utime(there, ns=(times, times))
    copy.run(last=True)
    assert there.read_bytes() == b"a" * 1000


def test_a_connection_that_breaks_between_passes(pair: Pair) -> None:
    fill(pair.origin)
    copy = pair.copy()
    copy.run()
    for end in pair.ends:
        end.process.kill()
        end.process.wait()
    (pair.origin / "plain").write_bytes(os.urandom(100_000))
    done = copy.run(last=True)
    assert done.sent_bytes == 100_000
    assert seen(pair.origin) == seen(pair.target)


def test_both_ends_over_one_connection(pair: Pair) -> None:
    pair.hosts[1] = pair.hosts[0]
    with pytest.raises(errors.HostError, match="two connections"):
        pair.copy()


@pytest.mark.parametrize("path", ["relative", "/", "/nowhere/at/all", "/etc/hostname", "/a\0b"])
def test_folders_that_are_none(pair: Pair, path: str) -> None:
    pair.target = Path(path)
    with pytest.raises(errors.HostError):
        pair.copy().run()


def test_another_pass_pays_while_it_shrinks(pair: Pair) -> None:
    assert another([])
    assert not another([pair.copy().run()])
