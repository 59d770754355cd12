"""A folder that somebody else may change at any time, and what is below it.

Every step to an entry is made from an open folder, and no symlink is followed: a name that is
swapped meanwhile leads nowhere else. What is mounted below the folder is not part of it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Protocol, Tuple

from portkit.remote import mounts
from portkit.remote.volume_content import OfFile
from portkit.remote.volume_known import keeps_ctime
from portkit.wire import beneath, tree
from portkit.wire.frames import RemoteError

_ENTRY = os.O_PATH | os.O_NOFOLLOW
_END_NS = 1 << 63  # an index has 64 bits for a time; ext4 has room up to 2446, XFS up to 2486
KINDS = {
    stat.S_IFDIR: tree.FOLDER,
    stat.S_IFREG: tree.FILE,
    stat.S_IFLNK: tree.SYMLINK,
    stat.S_IFIFO: tree.PIPE,
    stat.S_IFSOCK: tree.SOCKET,
    stat.S_IFCHR: tree.CHARACTER,
    stat.S_IFBLK: tree.DEVICE,
}


class Status(Protocol):
    """What fstat(2) says of an entry."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_rdev(self) -> int: ...


def row_of(
    path: bytes, status: Status, target: bytes, xattrs: Tuple[Tuple[bytes, bytes], ...]
) -> tree.Row:
    """An entry as a row without hashes. target: of a symlink."""
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    return tree.Row(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == tree.FILE else 0,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
        links=status.st_nlink,
        device=status.st_rdev if kind in (tree.CHARACTER, tree.DEVICE) else 0,
        target=target,
        xattrs=xattrs,
    )


class Found(NamedTuple):
    """An entry: an O_PATH descriptor, which stands for it whatever becomes of its name, and what
    fstat(2) says."""

    path: bytes
    descriptor: int
    status: os.stat_result

    @property
    def kind(self) -> bytes:
        return KINDS[stat.S_IFMT(self.status.st_mode)]

    @property
    def handle(self) -> str:
        """A path that leads to the very entry, a symlink itself included: for calls that take no
        O_PATH descriptor."""
        return "/proc/self/fd/%d" % self.descriptor

    def open(self, flags: int) -> int:
        """A descriptor of its content. OSError where it is no regular file: to open a device is to
        use it."""
        if not stat.S_ISREG(self.status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fsdecode(self.path))
        return os.open(self.handle, flags)

    def content(self) -> OfFile:
        """Of a regular file, which is left as it is."""
        try:
            return OfFile(self.open(os.O_RDONLY | os.O_NOATIME))
        except PermissionError:  # a file system that is not asked for that, NFS say
            return OfFile(self.open(os.O_RDONLY))

    def xattrs(self) -> Tuple[Tuple[bytes, bytes], ...]:
        """The attributes that travel, sorted by name."""
        try:
            names = sorted(map(os.fsencode, os.listxattr(self.handle)))
        except OSError as error:
            if error.errno == errno.ENOTSUP:  # vfat, say
                return ()
            raise
        pairs = []
        for name in filter(tree.is_kept, names):
            try:
                pairs.append((name, os.getxattr(self.handle, name)))
            except OSError as error:
                if error.errno != errno.ENODATA:  # removed since it was listed
                    raise
        return tuple(pairs)

    def row(self) -> tree.Row:
        """As a row without hashes."""
        target = b""
        if self.status.st_mtime_ns >= _END_NS:
            raise RemoteError(
                "VerifyError",
                "the time of a file in a volume is after the year 2262",
                repr(os.fsdecode(self.path))[:1000],
                "portkit cannot represent that time, which is usually a mistake of a program. "
                "Give the file another one with `touch`, and try again.",
            )
        if self.kind == tree.SYMLINK:
            target = os.readlink(b"", dir_fd=self.descriptor)
        return row_of(self.path, self.status, target, self.xattrs())


class Root:
    """An open folder. mounts: paths below it where something is mounted."""

    def __init__(self, path: object) -> None:
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise RemoteError("HostError", "the path of a folder is not absolute", repr(path)[:200])
        try:
            # The user's own path may lead over symlinks: /var/lib/docker is often one.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RemoteError(
                "HostError",
                "the folder does not exist",
                str(error),
                "It was removed or renamed on that host. Put it back and try again. A Move that "
                "still needs it can be rolled back: `portkit moves` lists its id.",
            ) from error
        self.key = os.fsencode(os.readlink("/proc/self/fd/%d" % self.descriptor))
        if self.key == b"/":
            self.close()
            raise RemoteError(
                "HostError", "the root of a host's file system cannot be a volume", repr(path)
            )
        self.mounts = mounts.below(self.key)
        self._last: Tuple[bytes, int] = (b"", os.dup(self.descriptor))

    def close(self) -> None:
        """Free what it holds open."""
        os.close(self.descriptor)
        if hasattr(self, "_last"):
            os.close(self._last[1])

    def __enter__(self) -> "Root":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def provable(self) -> bool:
        """Whether its file system proves that a file has not changed."""
        return keeps_ctime(self.descriptor)

    def walk(self) -> Walk:
        """All of its entries."""
        return Walk(self)

    def folder(self, path: bytes) -> int:
        """A descriptor of a folder of the tree, for dir_fd; it holds until the next call."""
        if self._last[0] != path:
            opened = self._walk_to(path)
            os.close(self._last[1])
            self._last = (path, opened)
        return self._last[1]

    def forget(self) -> None:
        """A folder was removed: what is remembered may be none any more."""
        os.close(self._last[1])
        self._last = (b"", os.dup(self.descriptor))

    def _walk_to(self, path: bytes) -> int:
        here, done = os.dup(self.descriptor), b""
        try:
            for name in tree.steps(path):
                done = done + b"/" + name if done else name
                if done in self.mounts:
                    raise OSError(errno.EXDEV, "something is mounted there", os.fsdecode(done))
                below = os.open(name, _ENTRY | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    def place(self, path: bytes) -> Tuple[int, bytes]:
        """The folder that an entry is in, and its name there; not for the folder itself."""
        tree.steps(path)
        if not path or path in self.mounts:
            raise OSError(errno.EXDEV, "it is a mount point", os.fsdecode(path))
        parent, _, name = path.rpartition(b"/")
        return self.folder(parent), name

    @contextmanager
    def entry(self, path: bytes) -> Iterator[Found]:
        """An entry of the tree, for a block."""
        if path:
            folder, name = self.place(path)
            descriptor = os.open(name, _ENTRY, dir_fd=folder)
        else:
            descriptor = os.open(b".", _ENTRY, dir_fd=self.descriptor)
        try:
            yield Found(path, descriptor, os.fstat(descriptor))
        finally:
            os.close(descriptor)


class Walk:
    """All entries of a folder, each folder before what is in it. vanished: how many were gone when
    they were looked at. An entry's descriptor holds until the next one is taken."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.vanished = 0

    def entries(self) -> Iterator[Found]:
        """Found for each; for a mount point, one of the kind MOUNT: see `mounted`."""
        levels: List[Tuple[bytes, int, Iterator[bytes]]] = []
        try:
            yield from self._walk(levels)
        finally:
            for _, descriptor, _ in levels:
                os.close(descriptor)

    def _walk(self, levels: List[Tuple[bytes, int, Iterator[bytes]]]) -> Iterator[Found]:
        with self._root.entry(b"") as top:
            yield top
            levels.append(_listed(b"", top.descriptor))
        while levels:
            path, folder, names = levels[-1]
            name = next(names, None)
            if name is None:
                os.close(folder)
                levels.pop()
                continue
            below = path + b"/" + name if path else name
            try:
                descriptor = os.open(name, _ENTRY, dir_fd=folder)
            except FileNotFoundError:
                self.vanished += 1
                continue
            try:
                found = Found(below, descriptor, os.fstat(descriptor))
                yield found
                if found.kind == tree.FOLDER and below not in self._root.mounts:
                    check_depth(below, len(levels))
                    levels.append(_listed(below, descriptor))
            except FileNotFoundError:  # the folder was removed before it could be listed
                self.vanished += 1
            finally:
                os.close(descriptor)


def _listed(path: bytes, descriptor: int) -> Tuple[bytes, int, Iterator[bytes]]:
    folder = beneath.quietly(b".", os.O_RDONLY | os.O_DIRECTORY, descriptor)
    return path, folder, iter(sorted(map(os.fsencode, os.listdir(folder))))


def check_depth(path: bytes, depth: int) -> None:
    """HostError where a folder is in so many that its entries cannot travel."""
    if depth >= tree.MAX_DEPTH or len(path) > tree.MAX_PATH - tree.MAX_NAME - 1:
        raise RemoteError(
            "HostError",
            "a folder contains too many levels of folders",
            "%r..." % path[:200],
            "Move the deepest folders out of it, or move them by other means.",
        )
