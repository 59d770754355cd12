"""A folder with one of each kind of thing that a volume can hold."""

import os
import socket
from pathlib import Path

import pytest

from portkit.remote import instances, volume_disk

ACL = "0200000001000700ffffffff02000500e803000004000500ffffffff10000700ffffffff20000000ffffffff"


def disk_of(folder: Path, place: Path) -> Path:
    """The folder, filled here, as the disk of a volume."""
    folder.mkdir()
    try:
        fill(folder)
    except OSError as error:
        pytest.skip(f"this file system cannot hold all of it: {error}")
    disk = place / "disk.raw"
    row: dict[str, object] = {"name": "pkv0", "bytes": 300 << 20, "folder": str(folder)}
    volume_disk.make(disk, row, place, instances.run_tool)
    return disk


def fill(folder: Path) -> None:
    """One of each kind of thing that a volume can hold."""
    acl = bytes.fromhex(ACL)

    def write(name: bytes, data: bytes = b"x") -> Path:
        path = folder / os.fsdecode(name)
        path.write_bytes(data)
        return path

    plain = write(b"plain", b"hello")
    os.chown(plain, 70_000, 3_000_000_000)
    plain.chmod(0o6751)
    os.utime(plain, ns=(1, 1_500_000_000_987_654_321))
    attributes = write(b"attributes")
    os.setxattr(attributes, b"user.note", b"k\xff\0")
    os.setxattr(attributes, b"user.big", b"B" * 2500)
    os.setxattr(attributes, b"system.posix_acl_access", acl)
    sub = folder / "sub"
    sub.mkdir()
    os.setxattr(sub, b"system.posix_acl_default", acl)
    (sub / "one").write_bytes(b"linked")
    os.link(sub / "one", sub / "two")
    os.link(sub / "one", folder / "three")
    with (folder / "sparse").open("wb") as file:
        file.truncate(20 << 20)
        file.seek(10 << 20)
        file.write(b"data")
    (folder / "short").symlink_to("plain")
    (folder / "long").symlink_to("n" * 200)
    os.lchown(folder / "short", 5, 6)
    os.mkfifo(folder / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "sock"))
    os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    for name in (
        b"a\xffb",
        b"line\nbreak",
        b"debugfs: ls -p <2>\n",
        b"quo\"te 'x $(y)",
        b"n" * 255,
    ):
        write(name, name)
    for name, seconds in (
        (b"before", -5),
        (b"after", 2_524_608_000),
        (b"later", 5_000_000_000),
        (b"last", 9_000_000_000),
    ):
        os.utime(write(name), ns=(0, seconds * 10**9 + 7))
    deep = folder / "/".join(["d" * 60] * 20)
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"deep")
    many = folder / "many"
    many.mkdir()
    for number in range(500):
        (many / f"file {number}").write_bytes(b"%d" % number)
    (folder / "lost+found").mkdir()
    (folder / "lost+found/mine").write_bytes(b"mine")
    os.utime(sub, ns=(0, 1_234_567_890_000_000_005))
    os.chown(folder, 1000, 70_001)
    folder.chmod(0o2775)
    os.setxattr(folder, b"user.root", b"of the root")
    os.setxattr(folder, b"system.posix_acl_default", acl)
    os.utime(folder, ns=(0, 1_234_567_891_000_000_006))
