"""The layers of an image -> one tar of the tree that they make, without mounting anything.

Source: OCI image-spec v1.1, layer.md (whiteouts, opaque folders), and what Docker's engine does
where that is silent: parents are followed through symlinks inside the tree, a folder over a
folder keeps the children, anything else over a folder takes them away.
"""

from __future__ import annotations

import copy
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from portkit.errors import VerifyError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_XATTR = "SCHILY.xattr."
_LINKS = 40  # as the kernel: more symlinks on the way to a file are a loop
_ENTRIES = 5_000_000
_CHUNK = 1 << 20
_LAST_TIME = (1 << 63) // 10**9  # Go's: 64 bits of nanoseconds


@dataclass(eq=False)
class _Node:
    """An inode: what a tar says of it, which layer holds its content, its children by name."""

    info: tarfile.TarInfo
    layer: int
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def folder(self) -> bool:
        return self.info.isdir()


def flatten(layers: Sequence[Path], out: BinaryIO) -> int:
    """Write the tree of the layers (tars, bottom first) to `out` as one PAX tar; its entries.

    Owners are numbers, names of users empty; extended attributes are SCHILY.xattr records.
    Raises VerifyError when a layer is malformed or names something outside the tree.
    """
    with ExitStack() as stack:
        bundles = []
        for layer in layers:
            try:
                bundles.append(stack.enter_context(tarfile.open(layer, "r:")))
            except (tarfile.TarError, OverflowError, MemoryError) as error:
                raise _malformed(layer, f"it is no tar: {error}") from error
        root = _Node(_folder_info(), 0)
        for index, bundle in enumerate(bundles):
            _Layer(root, index, layers[index]).apply(bundle)
        count = 0
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as target:
            for info, node in _entries(root):
                content = None
                if info.isreg():
                    content = bundles[node.layer].extractfile(node.info)
                try:
                    target.addfile(info, content)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    # tarfile's own, for a member that ends too early.
                    raise _malformed(layers[node.layer], str(error)) from error
                count += 1
        return count


def _folder_info() -> tarfile.TarInfo:
    info = tarfile.TarInfo("")
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


class _Layer:
    """One layer being laid over the tree. What it brings is not touched by its own whiteouts."""

    def __init__(self, root: _Node, index: int, path: Path) -> None:
        self._root = root
        self._index = index
        self._path = path
        self._own: set[_Node] = set()

    def apply(self, bundle: tarfile.TarFile) -> None:
        try:
            for count, info in enumerate(bundle):
                if count > _ENTRIES:
                    raise _malformed(self._path, f"it has more than {_ENTRIES} entries")
                self._entry(info)
        except (tarfile.TarError, EOFError, ValueError, OverflowError, MemoryError) as error:
            raise _malformed(self._path, str(error)) from error

    def _parts(self, name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise _malformed(self._path, f"{name[:200]!r} leads out of the tree")
        return parts

    def _entry(self, info: tarfile.TarInfo) -> None:
        parts = self._parts(info.name)
        if not parts:
            if info.isdir():
                self._root.info = info
            return
        parent = self._walk(parts[:-1])
        name = parts[-1]
        if name == _OPAQUE:
            self._clear(parent)
        elif name.startswith(_WHITEOUT):
            self._whiteout(parent, name.removeprefix(_WHITEOUT), info.name)
        elif info.islnk():
            self._link(parent, name, info)
        else:
            self._put(parent, name, info)

    def _put(self, parent: _Node, name: str, info: tarfile.TarInfo) -> None:
        if not (info.isreg() or info.isdir() or info.issym() or info.isdev()):
            raise _malformed(self._path, f"{info.name[:200]!r} is of an unknown kind")
        before = parent.children.get(name)
        node = _Node(info, self._index)
        if before is not None and before.folder and node.folder:
            node.children = before.children
        parent.children[name] = node
        self._own.add(node)

    def _link(self, parent: _Node, name: str, info: tarfile.TarInfo) -> None:
        parts = self._parts(info.linkname)
        found = self._walk(parts[:-1]).children.get(parts[-1]) if parts else None
        if found is None or found.folder:
            raise _malformed(
                self._path, f"{info.name[:200]!r} links to {info.linkname[:200]!r}, no file there"
            )
        parent.children[name] = found
        self._own.add(found)

    def _whiteout(self, parent: _Node, name: str, said: str) -> None:
        if name in ("", ".", ".."):
            raise _malformed(self._path, f"{said[:200]!r} is a whiteout of nothing")
        node = parent.children.get(name)
        if node is None or node not in self._own:
            parent.children.pop(name, None)
        elif node.folder:
            self._clear(node)

    def _clear(self, folder: _Node) -> None:
        """Take away what lower layers put there; what this one did stays."""
        for name, node in list(folder.children.items()):
            if node not in self._own:
                del folder.children[name]
            elif node.folder:
                self._clear(node)

    def _walk(self, parts: Sequence[str]) -> _Node:
        """The folder of these names; missing ones are made, symlinks followed inside the tree."""
        trail = [self._root]
        pending = list(reversed(parts))
        followed = 0
        while pending:
            name = pending.pop()
            if name == "..":
                trail = trail[:-1] or [self._root]
                continue
            node = trail[-1].children.get(name)
            if node is None:
                node = _Node(_folder_info(), self._index)
                trail[-1].children[name] = node
                self._own.add(node)
            if node.info.issym():
                followed += 1
                if followed > _LINKS:
                    raise _malformed(self._path, f"{'/'.join(parts)[:200]!r}: a loop of symlinks")
                if node.info.linkname.startswith("/"):
                    trail = [self._root]
                steps = [step for step in node.info.linkname.split("/") if step not in ("", ".")]
                pending += reversed(steps)
                continue
            if not node.folder:
                raise _malformed(self._path, f"{'/'.join(parts)[:200]!r}: {name!r} is no folder")
            trail.append(node)
        return trail[-1]


def _entries(root: _Node) -> Iterator[tuple[tarfile.TarInfo, _Node]]:
    """Every path with its own header, folders before their children; a second path to an inode
    is a hard link to the first."""
    first: dict[_Node, str] = {}
    pending: list[tuple[str, _Node]] = [("", root)]
    while pending:
        path, node = pending.pop()
        info = _header(node, path or ".")
        if node in first:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, first[node], 0
            info.pax_headers = {}
        elif not node.folder:
            first[node] = path
        yield info, node
        for name in sorted(node.children, reverse=True):
            pending.append((f"{path}/{name}" if path else name, node.children[name]))


def _header(node: _Node, path: str) -> tarfile.TarInfo:
    info = copy.copy(node.info)
    info.name = path
    info.uname = info.gname = ""
    if not 0 <= info.mtime <= _LAST_TIME:
        info.mtime = 0  # as Docker does
    if not info.isreg() and not info.issym():
        info.linkname = ""
    if info.isreg():
        info.type = tarfile.REGTYPE  # a sparse member is read with its zeros
    # The other records (path, size, mtime...) are made anew; overlayfs' own marks are not content.
    info.pax_headers = {
        key: value
        for key, value in node.info.pax_headers.items()
        if key.startswith(_XATTR) and not key.startswith(_XATTR + "trusted.overlay.")
    }
    return info


def _malformed(layer: Path, why: str) -> VerifyError:
    return VerifyError(
        "a layer of the image is malformed",
        details=f"sha256:{layer.name[:64]}: {why}",
        resolution="Build or pull the image again.",
    )
