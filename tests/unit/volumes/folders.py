"""Two remote halves over pipes, each with a folder of this machine, and what is in a folder."""

import hashlib
import os
import stat
from pathlib import Path

from portkit.host import Host
from portkit.progress import NullObserver, Observer
from portkit.volumes import Copy, Folder
from tests.unit.transfer.far import Far


class Pair:
    """`origin` and `target` are folders; `ends` the hosts that they are on."""

    def __init__(self, root: Path, ends: list[Far]) -> None:
        self.origin, self.target = root / "origin", root / "target"
        self.ends = ends
        self.hosts = [
            Host(name, None, end.remote) for name, end in zip("ab", self.ends, strict=True)
        ]
        for folder in (self.origin, self.target):
            folder.mkdir()

    def copy(self, observer: Observer | None = None, *, nodes: bool = False) -> Copy:
        folders = [
            Folder(host, str(path))
            for host, path in zip(self.hosts, (self.origin, self.target), strict=True)
        ]
        return Copy(folders[0], folders[1], observer or NullObserver(), nodes=nodes)


def seen(root: Path) -> dict[str, tuple[object, ...]]:
    """What a folder holds, as the kernel says it by path."""
    found, first = {}, {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        name = os.fsdecode(os.path.relpath(os.fsencode(path), os.fsencode(root)))
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            content = (content, first.setdefault(status.st_ino, name), status.st_size)
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        elif not stat.S_ISDIR(status.st_mode):
            content = status.st_rdev
        beside = status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns
        found[name] = (*beside, sorted(xattrs.items()), content)
    return found
