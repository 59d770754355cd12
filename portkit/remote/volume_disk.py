"""A VM's volume: an ext4 disk, empty or with the content of a folder, made without mounting it.

`mke2fs -d` of e2fsprogs 1.47.0 keeps owners, modes, links, holes, attributes, ACLs, pipes, sockets
and devices. It does not keep what its root is, parts of a second, and years after 2038, which are
in the same field (seen by hand): debugfs sets these.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from portkit.remote import engine, store
from portkit.wire import beneath
from portkit.wire.frames import RemoteError

# Runs a tool within so many seconds; what it prints. EngineError when it fails.
Run = Callable[[List[str], float], bytes]

_NAME = re.compile(r"pkv[0-9]{1,3}")
_EMPTY_S = 600.0
# Content is copied at 20 MB a second by a slow disk: 1 TB in that time.
_FULL_S = 50_000.0
# mke2fs sets one inode aside for so many bytes (mke2fs.conf, inode_ratio).
_BYTES_PER_INODE = 16384
_ROOT_INODE = 2
_MOST_LEVELS = 10_000
# A name cannot hold "/", so that nothing in it can look like the end of an entry.
_ENTRY = re.compile(rb"/([0-9]+)/([0-7]+)/(-?[0-9]+)/(-?[0-9]+)/([^/]*)/([0-9]*)/\n")
_ATTRIBUTE = re.compile(r"[a-z]+\.[A-Za-z0-9_.:@+-]{1,200}")
_LOW = 0xFFFFFFFF  # the bits of a time in seconds that i_mtime has
_EPOCH_BITS = 2  # of i_mtime_extra: the seconds' bits 32 and 33; above them are the nanoseconds
_EPOCH = (1 << _EPOCH_BITS) - 1


def name_of(row: Dict[str, object]) -> str:
    """A volume's name, checked: it becomes a file's name and a label."""
    name = row["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RemoteError("HostError", "the name of a volume is not valid", repr(name)[:100])
    return name


def make(path: Path, row: Dict[str, object], own_root: Path, run: Run) -> None:
    """Make the disk of a volume at `path`. row: name, bytes, and, where it is not to be empty,
    folder: its content, below `own_root` or a Docker volume's. SpaceError when it does not fit."""
    # -F: it is a file and no device. -m 0: no blocks are kept back for root, as the app may be
    # another user. The label is how the guest's init finds the disk.
    words = ["mkfs.ext4", "-q", "-F", "-m", "0", "-L", name_of(row)]
    folder = None if row.get("folder") is None else content(row["folder"], own_root)
    size = int(str(row["bytes"]))
    with path.open("wb") as file:
        # Sparse: it takes room as it is written to.
        file.truncate(size)
    if folder is None:
        run([*words, str(path)], _EMPTY_S)
        return
    # The default for a small disk is blocks of 1 KiB, in which not every attribute has room.
    inodes = max(size // _BYTES_PER_INODE, _sizes(folder)[0] * 9 // 8 + 1024)
    run([*words, "-b", "4096", "-N", str(inodes), "-d", folder, str(path)], _FULL_S)
    _debugfs(path, _missing(path, folder, run), run, write=True)
    run(["e2fsck", "-fn", str(path)], _FULL_S)


def content(folder: object, own_root: Path) -> str:
    """A folder that may become a disk; HostError for any other of the host's."""
    if isinstance(folder, str) and os.path.isabs(folder) and os.path.isdir(folder):
        real = os.path.realpath(folder)
        if real == folder and (
            real.startswith("%s/" % os.path.realpath(str(own_root))) or _is_a_volume(real)
        ):
            return folder
    raise RemoteError(
        "HostError",
        "the folder of a volume's content belongs neither to portkit nor to a Docker volume",
        repr(folder)[:300],
        "Copy the content to a folder of portkit's first.",
    )


def _is_a_volume(folder: str) -> bool:
    volumes = os.path.realpath(str(engine.root(engine.get_object("/info")) / "volumes"))
    steps = folder[len(volumes) + 1 :].split("/")
    return folder.startswith(volumes + "/") and len(steps) == 2 and steps[1] == "_data"


def used(folder: str) -> int:
    """Bytes that the files of a folder take on this host's disk."""
    return _sizes(folder)[1]


def _sizes(folder: str) -> Tuple[int, int]:
    """How many files and folders are in it, and the bytes that they take."""
    count, blocks, pending = 1, 0, [b""]
    while pending:
        path = pending.pop()
        with _opened(folder, path) as here, beneath.listing(here.place) as quiet:
            for entry in os.scandir(quiet):
                count += 1
                blocks += entry.stat(follow_symlinks=False).st_blocks
                if entry.is_dir(follow_symlinks=False):
                    pending.append(_joined(path, os.fsencode(entry.name)))
    return count, blocks * 512  # inode(7): whatever the blocks of the file system


def _missing(path: Path, folder: str, run: Run) -> Iterator[str]:
    """The commands of debugfs that set what mke2fs left out."""
    yield from _root(folder)
    level = [(_ROOT_INODE, b"")]
    for _ in range(_MOST_LEVELS):
        if not level:
            return
        listed = _list(path, [inode for inode, _ in level], run)
        below = []
        for (_, where), entries in zip(level, listed):
            with _opened(folder, where) as here:
                for inode, name, is_folder in entries:
                    time_ns = here.time_ns(name)
                    if time_ns is None:
                        continue
                    yield from _time(inode, time_ns)
                    if is_folder:
                        below.append((inode, _joined(where, name)))
        level = below
    raise RemoteError("EngineError", "the folders of a volume are nested too deeply", folder)


def _root(folder: str) -> Iterator[str]:
    row = os.stat(folder)
    yield "sif <2> mode 0%o" % row.st_mode
    yield "sif <2> uid %d" % row.st_uid
    yield "sif <2> gid %d" % row.st_gid
    yield "sif <2> mtime @%d" % (row.st_mtime_ns // 10**9 & _LOW)
    yield "sif <2> mtime_extra %d" % extra_time(row.st_mtime_ns)
    for name in sorted(os.listxattr(folder)):
        if not _ATTRIBUTE.fullmatch(name):
            raise RemoteError(
                "EngineError",
                "an attribute of a volume's own folder has a name that debugfs does not accept",
                "%s: %s" % (folder, ascii(name)[:300]),
                "Remove it there: setfattr -x.",
            )
        value = store.temporary()
        value.write_bytes(os.getxattr(folder, name))
        yield "ea_set -f %s <2> %s" % (value, name)


def _time(inode: int, time_ns: int) -> Iterator[str]:
    """Nothing for whole seconds before 2038. From 1.47.2 on, mke2fs makes later ones that year."""
    extra = extra_time(time_ns)
    if extra & _EPOCH:
        yield "sif <%d> mtime @%d" % (inode, time_ns // 10**9 & _LOW)
    if extra:
        yield "sif <%d> mtime_extra %d" % (inode, extra)


def extra_time(time_ns: int) -> int:
    """What ext4 keeps beside the lower 32 bits of a time in seconds. Source: Linux, fs/ext4/ext4.h
    (ext4_encode_extra_time)."""
    seconds, rest = divmod(time_ns, 10**9)
    low = (seconds & _LOW) - (1 << 32 if seconds & 0x80000000 else 0)
    return ((seconds - low) >> 32 & _EPOCH) | rest << _EPOCH_BITS


def _list(path: Path, inodes: List[int], run: Run) -> "List[List[Tuple[int, bytes, bool]]]":
    """(inode, name, whether it is a folder) of the entries of each folder."""
    said = _debugfs(path, ("ls -p <%d>" % inode for inode in inodes), run)
    found, position = [], 0
    for inode in inodes:
        entries = []
        echo = b"debugfs: ls -p <%d>\n" % inode
        if not said.startswith(echo, position):
            raise _confused(said[position : position + 300])
        position += len(echo)
        match = _ENTRY.match(said, position)
        while match is not None:
            position = match.end()
            # Inode 0 is room for an entry; lost+found has much of it.
            if match[1] != b"0" and match[5] not in (b".", b".."):
                entries.append((int(match[1]), match[5], int(match[2], 8) >> 12 == 4))
            match = _ENTRY.match(said, position)
        position += said.startswith(b"\n", position)
        found.append(entries)
    if position != len(said):
        raise _confused(said[position : position + 300])
    return found


def _debugfs(path: Path, commands: Iterator[str], run: Run, *, write: bool = False) -> bytes:
    """Run them in one go; what it prints behind its greeting. It goes on after an error and says
    so in the output alone: where it writes, nothing but the commands themselves may be there."""
    script = store.temporary()
    rows = list(commands)
    script.write_text("".join(row + "\n" for row in rows))
    try:
        said = run(["debugfs", *(["-w"] if write else []), "-f", str(script), str(path)], _FULL_S)
    finally:
        script.unlink()
    greeting, _, rest = said.partition(b"\n")
    if not greeting.startswith(b"debugfs "):
        raise _confused(said[:300])
    if write and rest != "".join("debugfs: %s\n" % row for row in rows).encode():
        odd = [line for line in rest.split(b"\n") if not line.startswith(b"debugfs: ")]
        raise _confused(b"\n".join(odd)[:300])
    return rest


def _confused(said: bytes) -> RemoteError:
    return RemoteError(
        "EngineError",
        "debugfs did not do what portkit requested",
        said.decode("utf-8", "replace"),
        "Install e2fsprogs 1.46 or newer on the host.",
    )


class _opened:
    """A folder below another, as long as a `with` block runs."""

    def __init__(self, folder: str, path: bytes) -> None:
        top = os.fsencode(folder)
        flags = os.O_PATH | os.O_DIRECTORY
        self._here = beneath.look_at(top, path) if path else os.open(top, flags)
        self.place = b"/proc/self/fd/%d" % self._here

    def __enter__(self) -> _opened:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._here)

    def time_ns(self, name: bytes) -> Optional[int]:
        """When an entry was changed last; None for lost+found, which mke2fs makes."""
        try:
            row = os.stat(name, dir_fd=self._here, follow_symlinks=False)
        except FileNotFoundError:
            if name == b"lost+found":
                return None
            raise
        return row.st_mtime_ns


def _joined(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
