"""The folder in which overlayfs keeps what a container has changed.

An engine's own list is not enough: it compares size and time alone, and its export has of all
attributes only capabilities, and whole seconds (moby, pkg/archive/changes_unix.go, archive.go). The
names in this folder are those of every file that was written to. Where its folders stand for others
(redirect_dir) or hide what the image has, what is in it is still for the engine to say.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional

from portkit.remote import engine
from portkit.wire import beneath
from portkit.wire.json_types import JsonObject

_KEPT = ("user.", "system.posix_acl_access", "system.posix_acl_default", "security.capability")
# By which a folder stands for another one, or hides what the image has in it. Source: the kernel's
# Documentation/filesystems/overlayfs.rst.
_OTHER = tuple(
    "%s.overlay.%s" % (space, what)
    for space in ("trusted", "user")  # "user" with the mount option userxattr
    for what in ("redirect", "opaque")
)
_MOST = 1_000_000  # names
_MOUNTS_LIMIT = 4 << 20


class Upper:
    """One such folder. The app may change it at any time, and make links that lead out of it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def listed(self) -> Optional[Dict[str, bool]]:
        """The path of all that is in it -> whether the container has deleted that; bytes that are
        no UTF-8 as lone surrogates. None where only the engine can tell what is in it: where a
        folder stands for another one or hides what the image has, where a file has several names,
        and where something cannot be read."""
        found: Dict[str, bool] = {}
        pending = [""]
        try:
            while pending:
                path = pending.pop()
                if len(found) > _MOST:
                    return None
                with self._seen(path) as place, beneath.listing(place) as here:
                    if any(name in _OTHER for name in os.listxattr(here)):
                        return None
                    for entry in os.scandir(here):
                        below = path + "/" + entry.name if path else entry.name
                        row = entry.stat(follow_symlinks=False)
                        found[below] = _is_whiteout(row)
                        if stat.S_ISDIR(row.st_mode):
                            pending.append(below)
                        elif row.st_nlink != 1:
                            return None
        except OSError:  # it has just gone, or is damaged
            return None
        return found

    def written(self) -> Iterator[str]:
        """The path of each file that was written to or made, and of each folder with attributes of
        its own; bytes that are no UTF-8 as lone surrogates."""
        pending = [""]
        for _ in range(_MOST):
            if not pending:
                return
            path = pending.pop()
            for name, is_folder in self._entries(path):
                below = path + "/" + name if path else name
                if is_folder:
                    pending.append(below)
                if not is_folder or self.attributes(below):
                    yield below
        raise engine.malformed("a container", "it has more than %d folders" % _MOST)

    def attributes(self, path: str) -> Dict[str, str]:
        """The extended attributes that a layer keeps, by name; bytes as in `written`."""
        try:
            with self._seen(path) as place:
                names = [name for name in sorted(os.listxattr(place)) if name.startswith(_KEPT)]
                return {
                    name: os.getxattr(place, name).decode("utf-8", "surrogateescape")
                    for name in names
                }
        except OSError:  # it is not here, or has just gone
            return {}

    def time_ns(self, path: str) -> Optional[int]:
        """When it was changed last; None where it is not here."""
        try:
            with self._seen(path) as place:
                return os.stat(place).st_mtime_ns
        except OSError:
            return None

    def _entries(self, path: str) -> "List[tuple[str, bool]]":
        """(name, whether it is a folder) without whiteouts, which are devices 0:0."""
        found = []
        try:
            with self._seen(path) as place, beneath.listing(place) as here:
                for entry in os.scandir(here):
                    row = entry.stat(follow_symlinks=False)
                    if not _is_whiteout(row):
                        found.append((entry.name, stat.S_ISDIR(row.st_mode)))
        except OSError:  # it has just gone
            return []
        return sorted(found)

    @contextmanager
    def _seen(self, path: str) -> Iterator[str]:
        """A path that leads to what is here now and to nothing else."""
        if path:
            here = beneath.look_at(os.fsencode(self.folder), os.fsencode(path))
        else:
            here = os.open(self.folder, os.O_PATH | os.O_DIRECTORY)
        try:
            yield "/proc/self/fd/%d" % here
        finally:
            os.close(here)


def _is_whiteout(row: os.stat_result) -> bool:
    return stat.S_ISCHR(row.st_mode) and row.st_rdev == 0


def find(row: JsonObject) -> Optional[Upper]:
    """The folder of a container (what its inspect says); None where the engine keeps another one,
    and in the containerd store where the container does not run."""
    driver = engine.fields(row, "GraphDriver")
    folder = engine.text(engine.fields(driver, "Data"), "UpperDir")
    if folder:
        # The engine's word, but only about its own folder.
        own = str(engine.root(engine.get_object("/info"))) + "/"
        if not folder.startswith(own) or ".." in folder.split("/"):
            return None
    else:
        folder = _mounted(engine.fields(row, "State").get("Pid"))
    return Upper(folder) if folder and os.path.isdir(folder) else None


def _mounted(pid: object) -> str:
    """The upper folder of a process's root, "" where that is no overlayfs."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 1:
        return ""
    try:
        with open("/proc/%d/mountinfo" % pid, encoding="utf-8", errors="surrogateescape") as file:
            return upper_of(file.read(_MOUNTS_LIMIT))
    except OSError:  # it has just ended
        return ""


def upper_of(mounts: str) -> str:
    """The upper folder of the root in a mountinfo (proc_pid_mountinfo(5)); "" for none."""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) > 4 and fields[4] == "/" and rest[0] == "overlay" and len(rest) > 2:
            for option in rest[2].split(","):
                # Where it has a character that is written as an escape, it is no engine's.
                if option.startswith("upperdir=/") and "\\" not in option:
                    return option[len("upperdir=") :]
    return ""
