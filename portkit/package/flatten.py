"""The layers of an image -> one tar of the tree that they make, without mounting anything.

Engines unpack each layer into a folder of its own and let overlayfs lay these over each other. So
it is done here: a tree for each layer, in which parents are followed through the layer's own
symlinks alone, and then the rules of overlayfs. Sources: OCI image-spec v1.1, layer.md (whiteouts,
opaque folders); moby, pkg/archive/archive.go; containerd, pkg/archive/tar.go; Linux,
Documentation/filesystems/overlayfs.rst. Where engines differ, docs/disk.md says what is done.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from portkit.errors import VerifyError
from portkit.package import acl, tarball
from portkit.package.tarball import XATTR, Member

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_OVERLAY = XATTR + "trusted.overlay."
# With these a folder shows other content than its layers have, and engines do not agree on it.
_OVERLAY_MARKS = tuple(_OVERLAY + name for name in ("opaque", "redirect", "metacopy"))
_LINKS = 40  # as the kernel: more symlinks on the way to a file are a loop
_PATH_BYTES, _NAME_BYTES = 4096, 255  # PATH_MAX and NAME_MAX of Linux: no engine can make more
_NODES = 1_000_000  # of the whole tree; each takes some 250 bytes of memory
_HOLE_BYTES = 1 << 30  # of all sparse files, which are written with their zeros
_LAST_TIME = (1 << 63) // 10**9  # Go's: 64 bits of nanoseconds
_HIDDEN = b"w"  # the kind of a whiteout, and of the device 0:0, which overlayfs takes for one


class _Node:
    """An inode: in which layer its headers and content are (-1: a folder that no layer names)."""

    __slots__ = ("children", "header", "kind", "layer", "link", "names", "opaque")

    def __init__(self, kind: bytes, layer: int = -1, header: int = -1, link: str = "") -> None:
        self.kind, self.layer, self.header, self.link = kind, layer, header, link
        self.children: dict[str, _Node] = {} if kind == tarball.FOLDER else _NONE
        self.names = 1
        self.opaque = False

    @property
    def folder(self) -> bool:
        return self.kind == tarball.FOLDER


_NONE: dict[str, _Node] = {}  # the children of what is no folder


def flatten(layers: Sequence[Path], out: BinaryIO) -> int:
    """Write the tree of the layers (tars, bottom first) to `out` as one PAX tar; its entries.

    Owners are numbers, names of users empty; extended attributes are SCHILY.xattr records, POSIX
    ACLs SCHILY.acl records. Raises VerifyError when a layer is malformed or asks for too much.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(layer.open("rb")) for layer in layers]
        root, budget = _Node(tarball.FOLDER), _Budget()
        for index, (path, file) in enumerate(zip(layers, files, strict=True)):
            try:
                own = _Layer(index, budget).read(file)
            except ValueError as error:
                raise _malformed(path, str(error)) from None
            _merge(root, own)
        return _write(root, files, out)


class _Budget:
    """What one tree may take."""

    def __init__(self) -> None:
        self.nodes, self.holes = _NODES, _HOLE_BYTES

    def take(self, *, holes: int = 0) -> None:
        self.nodes -= 1
        self.holes -= holes
        if self.nodes < 0:
            raise ValueError(f"the image has more than {_NODES} files and folders")
        if self.holes < 0:
            raise ValueError(f"its sparse files have more than {_HOLE_BYTES} bytes of holes")


class _Layer:
    """The tree of one layer alone."""

    def __init__(self, index: int, budget: _Budget) -> None:
        self._index = index
        self._budget = budget
        self._root = _Node(tarball.FOLDER)

    def read(self, file: BinaryIO) -> _Node:
        """ValueError when the layer is malformed."""
        for member in tarball.members(file):
            self._entry(member)
        return self._root

    def _entry(self, member: Member) -> None:
        # A file that is replaced counts as well: a layer of one name a billion times is none.
        self._budget.take(holes=member.size - member.stored if member.pieces is not None else 0)
        parts = _parts(member.name)
        if not parts:
            return  # a container's root is the engine's own folder: 0755, of root
        parent, name = self._walk(parts[:-1]), parts[-1]
        if name == _OPAQUE:
            parent.opaque = True
        elif name.startswith(_WHITEOUT):
            self._whiteout(parent, name.removeprefix(_WHITEOUT), member)
        elif member.kind == tarball.HARDLINK:
            self._link(parent, name, member)
        else:
            self._put(parent, name, member)

    def _put(self, parent: _Node, name: str, member: Member) -> None:
        for key in _OVERLAY_MARKS:
            if key in member.xattrs:
                raise ValueError(
                    f"{member.name[:200]!a} has overlayfs' own mark {key.removeprefix(XATTR)}, "
                    "which some engines obey and others do not"
                )
        acl.check(member)
        kind = member.kind
        if kind == tarball.CHAR and member.device == (0, 0):
            kind = _HIDDEN
        link = member.link if kind == tarball.SYMLINK else ""
        if len(link.encode("utf-8", "surrogateescape")) >= _PATH_BYTES:
            raise ValueError(f"{member.name[:200]!a} is a symlink to a path that is too long")
        node = _Node(kind, self._index, member.header, link)
        before = parent.children.get(name)
        if before is not None and before.folder and node.folder:
            node.children, node.opaque = before.children, before.opaque
        parent.children[name] = node

    def _link(self, parent: _Node, name: str, member: Member) -> None:
        parts = _parts(member.link)
        found = self._walk(parts[:-1]).children.get(parts[-1]) if parts else None
        if found is None or found.folder or found.kind == _HIDDEN:
            raise ValueError(
                f"{member.name[:200]!a} links to {member.link[:200]!a}, no file of this layer"
            )
        found.names += 1
        parent.children[name] = found

    def _whiteout(self, parent: _Node, name: str, member: Member) -> None:
        if name in ("", ".", ".."):
            raise ValueError(f"{member.name[:200]!a} is a whiteout of nothing")
        # What the layer itself brings is not touched by its whiteouts.
        parent.children.setdefault(name, _Node(_HIDDEN))

    def _walk(self, parts: Sequence[str]) -> _Node:
        """The folder of these names; missing ones are made, the layer's own symlinks followed."""
        trail = [self._root]
        pending = list(reversed(parts))
        followed = 0
        while pending:
            name = pending.pop()
            if name == "..":
                trail = trail[:-1] or [self._root]
                continue
            node = trail[-1].children.get(name)
            if node is None or node.kind == _HIDDEN:
                node = self._made(hiding=node is not None)
                trail[-1].children[name] = node
            if node.kind == tarball.SYMLINK:
                followed += 1
                if followed > _LINKS:
                    raise ValueError(f"{'/'.join(parts)[:200]!a} is a loop of symlinks")
                if node.link.startswith("/"):
                    trail = [self._root]
                steps = [step for step in node.link.split("/") if step not in ("", ".")]
                pending += reversed(steps)
                continue
            if not node.folder:
                raise ValueError(f"{'/'.join(parts)[:200]!a}: {name[:80]!a} is no folder")
            trail.append(node)
        return trail[-1]

    def _made(self, *, hiding: bool) -> _Node:
        """A folder that the layer does not name. hiding: it has a whiteout of that name."""
        self._budget.take()
        node = _Node(tarball.FOLDER)
        node.opaque = hiding
        return node


def _parts(name: str) -> list[str]:
    """The steps of a name below the root. `..` is taken away as the engines do it: in the text,
    before a symlink is looked at, and never above the root."""
    if len(name.encode("utf-8", "surrogateescape")) > _PATH_BYTES:
        raise ValueError(f"{name[:100]!a}... is longer than a path can be")
    parts = [part for part in posixpath.normpath("/" + name).split("/") if part]
    for part in parts:
        if len(part.encode("utf-8", "surrogateescape")) > _NAME_BYTES:
            raise ValueError(f"{part[:100]!a}... is longer than a name can be")
    return parts


def _merge(lower: _Node, upper: _Node) -> None:
    """Lay a layer over what is below it, as overlayfs shows both. Neither is recursive: a tree may
    be two thousand folders deep."""
    pending = [(lower, upper)]
    while pending:
        below, above = pending.pop()
        for name, node in above.children.items():
            under = below.children.get(name)
            if node.kind == _HIDDEN:
                below.children.pop(name, None)
            elif node.folder and under is not None and under.folder and not node.opaque:
                if node.header >= 0:
                    under.layer, under.header = node.layer, node.header
                pending.append((under, node))
            else:
                if node.folder and node.header < 0 and under is not None and under.folder:
                    node.layer, node.header = under.layer, under.header
                _uncover(node)
                below.children[name] = node


def _uncover(tree: _Node) -> None:
    """Without the whiteouts in it: there is nothing below any more."""
    pending = [tree]
    while pending:
        folder = pending.pop()
        hidden = [name for name, node in folder.children.items() if node.kind == _HIDDEN]
        for name in hidden:
            del folder.children[name]
        pending += [node for node in folder.children.values() if node.folder]


# ---------------------------------------------------------------- writing


def _write(root: _Node, files: Sequence[BinaryIO], out: BinaryIO) -> int:
    count = 0
    for path, node, first in _entries(root):
        try:
            _write_one(path, node, first, files, out)
        except tarball.TarError as error:
            raise _malformed(Path(files[node.layer].name), str(error)) from None
        count += 1
    out.write(bytes(2 * tarfile.BLOCKSIZE))
    return count


def _write_one(
    path: str, node: _Node, first: str, files: Sequence[BinaryIO], out: BinaryIO
) -> None:
    member = None if node.header < 0 else tarball.member_at(files[node.layer], node.header)
    info = _info(path, member)
    if first:
        info.type, info.linkname, info.size, info.pax_headers = tarfile.LNKTYPE, first, 0, {}
    out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    if member is not None and info.isreg():
        for data in tarball.content(files[node.layer], member):
            out.write(data)
        out.write(bytes(-info.size % tarfile.BLOCKSIZE))


def _entries(root: _Node) -> Iterator[tuple[str, _Node, str]]:
    """Every path with its inode, folders before their children; and, for the second path to an
    inode, the first: it is a hard link."""
    first: dict[_Node, str] = {}
    pending: list[tuple[str, _Node]] = [("", root)]
    while pending:
        path, node = pending.pop()
        yield path or ".", node, first.get(node, "")
        if node.names > 1:
            first.setdefault(node, path)
        for name in sorted(node.children, reverse=True):
            pending.append((f"{path}/{name}" if path else name, node.children[name]))


def _info(path: str, member: Member | None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    if member is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info
    info.type, info.mode, info.size = member.kind, member.mode, member.size
    info.uid, info.gid = member.uid, member.gid
    info.devmajor, info.devminor = member.device
    info.linkname = member.link if member.kind == tarball.SYMLINK else ""
    # What no engine can set it sets to 0.
    info.mtime = member.mtime if 0 <= member.mtime <= _LAST_TIME else 0
    info.pax_headers = acl.records(
        {key: value for key, value in member.xattrs.items() if not key.startswith(_OVERLAY)},
        member.mode,
    )
    return info


def _malformed(layer: Path, why: str) -> VerifyError:
    return VerifyError(
        "a layer of the image is malformed",
        details=f"sha256:{layer.name[:64]}: {why}",
        resolution="Build or pull the image again.",
    )
