"""What is found to be done makes any tree of any other one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from portkit.volumes.diff import Changes, diff
from portkit.volumes.index import Index, first_difference
from portkit.wire import tree
from portkit.wire.tree import Row

BYTES = (None, 0, 1, 2)  # what a block is full of; None: it is a hole


def content(byte: int | None, length: int) -> bytes:
    """The hash of a block of that length; no two of different lengths have the same."""
    return tree.HOLE if byte is None else hashlib.sha256(bytes((byte,)) * length).digest()


@dataclass
class Inode:
    """What a name stands for, as a kernel has it."""

    row: Row
    blocks: list[bytes] = field(default_factory=list)


class Disk:
    """A tree of inodes that the changes are made in, as strictly as a kernel makes them."""

    def __init__(self, index: Index) -> None:
        self.names: dict[bytes, Inode] = {}
        for path, row in index.rows.items():
            blocks = [row.hash(n) for n in range(row.blocks)]
            known = self.names.get(row.target) if row.kind == tree.LINK else None
            self.names[path] = known or Inode(row, blocks)

    def apply(self, changes: Changes, source: Index) -> None:
        for kind, row in changes.shape:
            {tree.REMOVE: self.remove, tree.MAKE: self.make, tree.RESIZE: self.resize}[kind](row)
        for each in changes.wanted():
            file = self.names[each.want.path]
            assert file.row.kind == tree.FILE
            if each.known:
                assert file.blocks[each.want.number] != tree.HOLE
            file.blocks[each.want.number] = each.want.expected
        for row in changes.settle:
            inode = self.names[row.path]
            assert inode.row.kind == row.kind
            inode.row = row

    def remove(self, row: Row) -> None:
        assert not any(path.startswith(row.path + b"/") for path in self.names)
        del self.names[row.path]

    def make(self, row: Row) -> None:
        assert row.path not in self.names
        parent = self.names[tree.parent_of(row.path)]
        assert parent.row.kind == tree.FOLDER
        if row.kind == tree.LINK:
            self.names[row.path] = self.names[row.target]
            return
        bare = Row(row.path, row.kind, size=row.size, target=row.target, device=row.device)
        self.names[row.path] = Inode(bare, [tree.HOLE] * tree.blocks_of(row.size))

    def resize(self, row: Row) -> None:
        inode = self.names[row.path]
        blocks = inode.blocks[: tree.blocks_of(row.size)]
        cut = min(inode.row.size, row.size)
        inode.blocks = blocks + [tree.HOLE] * (tree.blocks_of(row.size) - len(blocks))
        if cut % tree.BLOCK and inode.blocks[cut // tree.BLOCK] != tree.HOLE:
            inode.blocks[cut // tree.BLOCK] = b"?" * tree.HASH
        inode.row = inode.row._replace(size=row.size)

    def index(self) -> Index:
        rows: dict[bytes, Row] = {}
        first: dict[int, bytes] = {}
        for path in sorted(self.names, key=tree.order):
            inode = self.names[path]
            name = first.setdefault(id(inode), path)
            if name != path:
                rows[path] = Row(path, tree.LINK, target=name)
            else:
                rows[path] = inode.row._replace(path=path, hashes=b"".join(inode.blocks))
        return Index(rows)


def entry(path: bytes, draw: st.DrawFn, files: list[bytes]) -> Row:
    kinds = [tree.FILE, tree.FOLDER, tree.SYMLINK, tree.CHARACTER] + [tree.LINK] * bool(files)
    kind = draw(st.sampled_from(kinds))
    if kind == tree.LINK:
        return Row(path, kind, target=draw(st.sampled_from(files)))
    row = Row(
        path,
        kind,
        mode=draw(st.sampled_from((0o644, 0o4755))),
        uid=draw(st.integers(0, 1)),
        mtime_ns=draw(st.integers(0, 1)),
        xattrs=draw(st.sampled_from(((), ((b"user.a", b"1"),)))),
        target=draw(st.sampled_from((b"x", b"y"))) if kind == tree.SYMLINK else b"",
        device=draw(st.integers(0, 1)) if kind == tree.CHARACTER else 0,
    )
    if kind == tree.FILE:
        size = draw(st.sampled_from((0, 5, tree.BLOCK, tree.BLOCK + 5, 3 * tree.BLOCK)))
        lengths = [min(tree.BLOCK, size - at) for at in range(0, size, tree.BLOCK)]
        blocks = [content(draw(st.sampled_from(BYTES)), length) for length in lengths]
        row = row._replace(size=size, hashes=b"".join(blocks), links=draw(st.sampled_from((1, 9))))
    return row


@st.composite
def trees(draw: st.DrawFn) -> Index:
    rows = {b"": Row(b"", tree.FOLDER, mode=draw(st.sampled_from((0o700, 0o755))))}
    names = draw(st.lists(st.sampled_from((b"a", b"b", b"c", b"a.b")), min_size=0, max_size=12))
    for name in names:
        folders = [path for path, row in rows.items() if row.kind == tree.FOLDER]
        folder = draw(st.sampled_from(folders))
        path = folder + b"/" + name if folder else name
        if path not in rows:
            earlier = [p for p, row in rows.items() if row.kind == tree.FILE]
            rows[path] = entry(path, draw, earlier)
    # As a walk would tell them: the first name of a file has its content.
    return Disk(Index(rows)).index()


@given(source=trees(), target=trees())
def test_the_changes_make_the_source(source: Index, target: Index) -> None:
    disk = Disk(target)
    disk.apply(diff(source, target), source)
    made = disk.index()
    assert first_difference(source, made) == ""
    assert made.digest == source.digest


@given(source=trees(), target=trees())
def test_a_hole_becomes_one(source: Index, target: Index) -> None:
    disk = Disk(target)
    disk.apply(diff(source, target), source)
    made = disk.index()
    for path, row in source.rows.items():
        for number in range(row.blocks):
            if row.hash(number) == tree.HOLE:
                assert made.rows[path].hash(number) == tree.HOLE


@given(tree_=trees())
def test_equal_folders_need_nothing(tree_: Index) -> None:
    # A name outside of the folder makes the file somebody else's: it is written anew.
    own = Index({p: _with_links(row, tree_) for p, row in tree_.rows.items()})
    found = diff(own, own)
    assert (found.shape, found.files, found.settle) == ((), (), ())
    assert (found.changed, found.deleted) == (0, 0)


def _with_links(row: Row, index: Index) -> Row:
    names = sum(row.path in (each.path, each.target) for each in index.rows.values())
    return row._replace(links=names)


@given(source=trees(), target=trees())
def test_a_difference_is_named(source: Index, target: Index) -> None:
    assert (first_difference(source, target) == "") == (source.digest == target.digest)


def test_a_file_with_a_name_elsewhere_is_left_alone() -> None:
    """Else what is not in the folder would change with it."""
    top = Row(b"", tree.FOLDER)
    mine = Row(b"a", tree.FILE, size=5, hashes=content(1, 5), links=1)
    theirs = mine._replace(links=2, hashes=content(2, 5))
    found = diff(Index({b"": top, b"a": mine}), Index({b"": top, b"a": theirs}))
    assert [kind for kind, _ in found.shape] == [tree.REMOVE, tree.MAKE]


def test_what_is_told_of_sizes() -> None:
    top = Row(b"", tree.FOLDER)
    hashes = b"".join((content(1, tree.BLOCK), tree.HOLE, content(2, tree.BLOCK)))
    mine = Row(b"a", tree.FILE, size=2 * tree.BLOCK + 5, hashes=hashes)
    old = mine._replace(
        hashes=b"".join((content(2, tree.BLOCK), content(2, tree.BLOCK), tree.HOLE))
    )
    found = diff(Index({b"": top, b"a": mine}), Index({b"": top, b"a": old}))
    assert found.sizes() == (tree.BLOCK + 5, 5)
    assert [each.known for each in found.wanted()] == [True, False, False]
    gone = old._replace(path=b"b")
    found = diff(Index({b"": top, b"a": mine}), Index({b"": top, b"b": gone}))
    assert found.sizes() == (tree.BLOCK + 5, 5)  # a block of what goes is counted for nothing
    linked = gone._replace(links=2)
    found = diff(Index({b"": top, b"a": mine}), Index({b"": top, b"b": linked}))
    assert found.sizes() == (tree.BLOCK + 5, tree.BLOCK + 5)
