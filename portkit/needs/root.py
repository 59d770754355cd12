"""The files of an image, by their path as a process in it sees them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from portkit.package import tarball
from portkit.package.tarball import Member
from portkit.package.tree import Node, Tree

_LINKS = 40  # as the kernel follows
_PARTS = 2048  # of one path: PATH_MAX is 4096 bytes


@dataclass(frozen=True)
class Entry:
    """A file or folder; path has no symlinks in it."""

    path: str
    node: Node

    @property
    def is_file(self) -> bool:
        return self.node.kind == tarball.FILE


class Root:
    """A tree, read as by a process whose root it is."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def find(self, path: str) -> Entry | None:
        """What is there, symlinks followed within the image; None where nothing is."""
        found = self._walk(path)
        return found if isinstance(found, Entry) else None

    def resolved(self, path: str) -> str:
        """The path without the symlinks in it. Where nothing is there, those before the gap are
        followed: it is the path that would have to be there."""
        found = self._walk(path)
        return found.path if isinstance(found, Entry) else found

    def passed(self, path: str) -> list[Entry]:
        """The folders in which a name of the path, or of a link on the way, is looked up."""
        found: list[Entry] = []
        self._walk(path, found)
        return found

    def in_the_way(self, path: str) -> str:
        """The file that is where a path has a folder; "" where there is none."""
        parts = path.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            found = self.find("/" + "/".join(parts[:count]))
            if found is None:
                return ""
            if not found.node.folder:
                return found.path
        return ""

    def _walk(self, path: str, passed: list[Entry] | None = None) -> Entry | str:
        """What is there, or the path of what is not. passed: is given the folders on the way."""
        trail: list[tuple[str, Node]] = [("", self._tree.root)]
        pending = _steps(path)
        followed = 0
        while pending:
            if len(pending) > _PARTS:
                return path
            name = pending.pop()
            if name == "..":
                trail = trail[:-1] or trail[:1]
                continue
            here, folder = trail[-1]
            if passed is not None:
                passed.append(Entry(here or "/", folder))
            node = folder.children.get(name)
            if node is None:
                return posixpath.normpath("/".join((here, name, *reversed(pending))))
            if node.kind == tarball.SYMLINK:
                followed += 1
                if followed > _LINKS:
                    return path
                if node.link.startswith("/"):
                    trail = trail[:1]
                pending += _steps(node.link)
                continue
            trail.append((f"{here}/{name}", node))
        return Entry(trail[-1][0] or "/", trail[-1][1])

    def file(self, path: str) -> Entry | None:
        """The regular file that is there."""
        entry = self.find(path)
        return entry if entry is not None and entry.is_file else None

    def names(self, path: str) -> list[str]:
        """What is in a folder; nothing where there is none."""
        entry = self.find(path)
        return sorted(entry.node.children) if entry is not None else []

    def headers(self, entry: Entry) -> Member | None:
        """The headers of a file or a folder; None for a folder that no layer names."""
        return self._tree.member(entry.node)

    def member(self, entry: Entry) -> Member:
        """The headers of a file."""
        member = self._tree.member(entry.node)
        assert member is not None, "only folders have none"
        return member

    def read(self, entry: Entry, offset: int, size: int) -> bytes:
        """Bytes of a file; fewer where it ends."""
        member = self.member(entry)
        size = min(size, member.size - offset)
        if offset < 0 or size <= 0:
            return b""
        file = self._tree.layers[entry.node.layer]
        if member.pieces is None:
            file.seek(member.data + offset)
            return file.read(size)
        out, place = bytearray(size), member.data
        for begin, length in member.pieces:
            low, high = max(begin, offset), min(begin + length, offset + size)
            if low < high:
                file.seek(place + low - begin)
                out[low - offset : high - offset] = file.read(high - low)
            place += length
        return bytes(out)

    def text(self, path: str, limit: int) -> str:
        """The beginning of a text file; "" where there is none."""
        entry = self.file(path)
        return "" if entry is None else self.read(entry, 0, limit).decode("utf-8", "replace")


def joined(folder: str, name: str) -> str:
    """A path that may be relative to a folder. `..` stays: it means another place behind a link."""
    return name if name.startswith("/") else posixpath.join(folder, name)


def _steps(path: str) -> list[str]:
    """Its names, the first of them last."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]
