"""The layers of images -> the tree that they make together, without mounting anything.

Engines unpack each layer into a folder of its own and let overlayfs lay these over each other. So
it is done here: a tree for each layer, in which parents are followed through the layer's own
symlinks alone, and then the rules of overlayfs. Sources: OCI image-spec v1.1, layer.md (whiteouts,
opaque folders); moby, pkg/archive/archive.go; containerd, pkg/archive/tar.go; Linux,
Documentation/filesystems/overlayfs.rst. Where engines differ, docs/disk.md says what is done.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from portkit.errors import VerifyError
from portkit.package import acl, tarball
from portkit.package.tarball import XATTR, Member
from portkit.package.tree import WHITEOUT, Node, Tree

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# With these a folder shows other content than its layers have, and engines do not agree on it.
_OVERLAY_MARKS = tuple(
    f"{XATTR}trusted.overlay.{name}" for name in ("opaque", "redirect", "metacopy")
)
_LINKS = 40  # as the kernel: more symlinks on the way to a file are a loop
_PATH_BYTES, _NAME_BYTES = 4096, 255  # PATH_MAX and NAME_MAX of Linux: no engine can make more
_FILE_BYTES = (
    1 << 32
) * 4096 - 4096  # of one file on ext4: where engines keep theirs, and on a disk
_NODES = 600_000  # members of all layers: each takes up to 480 bytes, and 300 MiB are enough


@contextmanager
def flattened(layers: Sequence[Path]) -> Iterator[Tree]:
    """The tree that the layers (tars, bottom first) make, as long as the block runs.

    Raises VerifyError when a layer is malformed or asks for too much.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(layer.open("rb")) for layer in layers]
        tree, budget = Tree(files), _Budget()
        for index, (path, file) in enumerate(zip(layers, files, strict=True)):
            try:
                own = _Layer(index, budget, tree).read(file)
            except ValueError as error:
                raise _malformed(path, str(error)) from None
            _merge(tree.root, own)
        yield tree


@contextmanager
def stacked(chains: Sequence[tuple[Path, ...]]) -> Iterator[Tree]:
    """A tree for each chain in `layers/0`, `layers/1`, ..., as long as the block runs.

    A chain is the layers (tars, bottom first) from the lowest of an image up to one of it; its tree
    has what its last layer brings. overlayfs makes an image's tree of those of all its chains. The
    chains that a chain begins with come before it. Raises VerifyError as `flattened` does.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(chain[-1].open("rb")) for chain in chains]
        tree, budget = Tree(files, stacked=True), _Budget()
        folder = tree.root.children["layers"] = Node(tarball.FOLDER)
        made: dict[tuple[Path, ...], Node] = {}
        for index, (chain, file) in enumerate(zip(chains, files, strict=True)):
            try:
                own = _Layer(index, budget, tree).read(file)
            except ValueError as error:
                raise _malformed(chain[-1], str(error)) from None
            below = [made[chain[:length]] for length in range(len(chain) - 1, 0, -1)]
            _inherit(own, below)
            folder.children[str(index)] = made[chain] = own
        yield tree


def _inherit(own: Node, below: Sequence[Node]) -> None:
    """Folders that a layer does not name are as those under them. below: the trees of the lower
    layers, the next first."""
    pending = [(own, below)]
    while pending:
        folder, lower = pending.pop()
        for name, node in folder.children.items():
            if not node.folder:
                continue
            under = list(_folders(name, lower))
            if node.header < 0 and under:
                node.layer, node.header = under[0].layer, under[0].header
            # A folder that hides what is below keeps the mode and the owner of what it hides.
            pending.append((node, [] if node.opaque else under))


def _folders(name: str, lower: Sequence[Node]) -> Iterator[Node]:
    """What overlayfs merges into a folder of that name: those below, down to the first that is
    none or hides the others."""
    for each in lower:
        node = each.children.get(name)
        if node is None:
            continue
        if not node.folder:
            return
        yield node
        if node.opaque:
            return


class _Budget:
    """How many files one tree may have."""

    def __init__(self) -> None:
        self._nodes = _NODES

    def take(self) -> None:
        self._nodes -= 1
        if self._nodes < 0:
            raise ValueError(f"the image has more than {_NODES} files and folders")


class _Layer:
    """The tree of one layer alone."""

    def __init__(self, index: int, budget: _Budget, tree: Tree) -> None:
        self._index = index
        self._budget = budget
        self._tree = tree
        self._root = Node(tarball.FOLDER, index)

    def read(self, file: BinaryIO) -> Node:
        """ValueError when the layer is malformed."""
        for member in tarball.members(file):
            self._entry(member)
        return self._root

    def _entry(self, member: Member) -> None:
        # A file that is replaced counts as well: a layer of one name a billion times is none.
        self._budget.take()
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

    def _put(self, parent: Node, name: str, member: Member) -> None:
        for key in _OVERLAY_MARKS:
            if key in member.xattrs:
                raise ValueError(
                    f"{member.name[:200]!a} has overlayfs' own mark {key.removeprefix(XATTR)}, "
                    "which some engines obey and others do not"
                )
        acl.check(member)
        if member.size > _FILE_BYTES:
            raise ValueError(
                f"{member.name[:200]!a} has {member.size} bytes, at most {_FILE_BYTES}"
            )
        kind = member.kind
        if kind == tarball.CHAR and member.device == (0, 0):
            kind = WHITEOUT
        link = member.link if kind == tarball.SYMLINK else ""
        if kind == tarball.SYMLINK and not link:
            raise ValueError(f"{member.name[:200]!a} is a symlink to nothing")
        if len(link.encode("utf-8", "surrogateescape")) >= _PATH_BYTES:
            raise ValueError(f"{member.name[:200]!a} is a symlink to a path that is too long")
        node = Node(kind, self._index, self._index, member.header, link)
        self._tree.keep(self._index, member)
        before = parent.children.get(name)
        if before is not None and before.folder and node.folder:
            node.children, node.opaque = before.children, before.opaque
        parent.children[name] = node

    def _link(self, parent: Node, name: str, member: Member) -> None:
        parts = _parts(member.link)
        found = self._walk(parts[:-1]).children.get(parts[-1]) if parts else None
        if found is None or found.folder or found.kind == WHITEOUT:
            raise ValueError(
                f"{member.name[:200]!a} links to {member.link[:200]!a}, no file of this layer"
            )
        found.names += 1
        parent.children[name] = found

    def _whiteout(self, parent: Node, name: str, member: Member) -> None:
        if name in ("", ".", ".."):
            raise ValueError(f"{member.name[:200]!a} is a whiteout of nothing")
        # What the layer itself brings is not touched by its whiteouts.
        parent.children.setdefault(name, Node(WHITEOUT, self._index))

    def _walk(self, parts: Sequence[str]) -> Node:
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
            if node is None or node.kind == WHITEOUT:
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

    def _made(self, *, hiding: bool) -> Node:
        """A folder that the layer does not name. hiding: it has a whiteout of that name."""
        self._budget.take()
        node = Node(tarball.FOLDER, self._index)
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


def _merge(lower: Node, upper: Node) -> None:
    """Lay a layer over what is below it, as overlayfs shows both. Neither is recursive: a tree may
    be two thousand folders deep."""
    pending = [(lower, upper)]
    while pending:
        below, above = pending.pop()
        for name, node in above.children.items():
            under = below.children.get(name)
            if node.kind == WHITEOUT:
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


def _uncover(tree: Node) -> None:
    """Without the whiteouts in it: there is nothing below any more."""
    pending = [tree]
    while pending:
        folder = pending.pop()
        hidden = [name for name, node in folder.children.items() if node.kind == WHITEOUT]
        for name in hidden:
            del folder.children[name]
        pending += [node for node in folder.children.values() if node.folder]


def _malformed(layer: Path, why: str) -> VerifyError:
    return VerifyError(
        "a layer of the image is malformed",
        details=f"sha256:{layer.name[:64]}: {why}",
        resolution="Build or pull the image again.",
    )
