"""Rows, blocks and changes as they travel: what they are, they are again; all else is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.wire import tree
from portkit.wire.blocks import Block, Want, runs, unpack_block, unpack_want
from portkit.wire.tree import Row

TOP = Row(b"", tree.FOLDER)
DIGEST = hashlib.sha256(b"x").digest()
FILE = Row(b"a", tree.FILE, size=5, hashes=DIGEST)
WANT = Want(b"a", 1, tree.BLOCK, DIGEST)
BLOCK = Block(b"a", 1, 8192, 1, 2, DIGEST, bytes(4096))


def stream(*rows: Row) -> list[bytes]:
    return [tree.record(tree.pack(row)) for row in rows]


@given(
    names=st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=3),
    size=st.integers(0, 3 * tree.BLOCK),
    numbers=st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3),
    value=st.binary(max_size=100),
    mtime=st.integers(-(2**63), 2**63 - 1),
    cut=st.integers(1, 40),
)
def test_a_row_comes_back(
    names: list[bytes], size: int, numbers: list[int], value: bytes, mtime: int, cut: int
) -> None:
    path = b"/".join(name.translate(None, b"\0/") or b"n" for name in names)
    if any(name in (b".", b"..") for name in path.split(b"/")):
        path = b"n"
    row = Row(
        path,
        tree.FILE,
        mode=numbers[0] & 0o7777,
        uid=numbers[1],
        gid=numbers[2],
        size=size,
        mtime_ns=mtime,
        xattrs=((b"user.a", value),),
        hashes=DIGEST * tree.blocks_of(size),
    )
    packed = tree.record(tree.pack(row))
    pieces = [packed[at : at + cut] for at in range(0, len(packed), cut)]
    assert [tree.unpack(each) for each in tree.records(pieces)] == [row]


@pytest.mark.parametrize(
    "path",
    [b"/etc", b"..", b"a/../b", b"a//b", b"a/", b".", b"a\0b", b"x" * 256, b"a/" * 2048, b"./a"],
)
def test_paths_that_lead_elsewhere(path: bytes) -> None:
    with pytest.raises(ValueError, match="path"):
        tree.unpack(tree.pack(FILE._replace(path=path)))
    with pytest.raises(ValueError, match="path"):
        unpack_want(WANT._replace(path=path).pack())
    with pytest.raises(ValueError, match="path"):
        unpack_block(BLOCK._replace(path=path).pack())
    with pytest.raises(ValueError, match="path"):
        tree.unpack_change(tree.pack_change(tree.REMOVE, FILE._replace(path=path)))
    link = Row(b"l", tree.LINK, target=path)
    with pytest.raises(ValueError, match="path"):
        tree.unpack(tree.pack(link))


@pytest.mark.parametrize(
    "row",
    [
        FILE._replace(kind=b"?"),
        FILE._replace(mode=0o10000),
        FILE._replace(size=tree.MAX_SIZE + 1),
        FILE._replace(size=tree.BLOCK + 1),
        FILE._replace(hashes=b""),
        FILE._replace(target=b"x"),
        TOP._replace(path=b"a", hashes=DIGEST),
        Row(b"a", tree.SYMLINK),
        Row(b"a", tree.SYMLINK, target=b"x\0y"),
        Row(b"a", tree.SYMLINK, target=b"x" * 4096),
        FILE._replace(xattrs=((b"security.selinux", b""),)),
        FILE._replace(xattrs=((b"system.other", b""),)),
        FILE._replace(xattrs=((b"user.\0", b""),)),
        FILE._replace(xattrs=((b"user.b", b""), (b"user.a", b""))),
        FILE._replace(xattrs=((b"user.a", b""), (b"user.a", b""))),
        FILE._replace(xattrs=((b"user.a", bytes(65537)),)),
        FILE._replace(xattrs=tuple((b"user.%05d" % n, b"") for n in range(7000))),
    ],
)
def test_rows_that_there_cannot_be(row: Row) -> None:
    with pytest.raises(ValueError, match=r"entry|attribute|target"):
        tree.unpack(tree.pack(row))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "empty"),
        ([FILE], "no folder"),
        ([TOP, TOP], "twice"),
        ([TOP, FILE, FILE], "twice"),
        ([TOP, FILE._replace(path=b"b/a")], "no folder"),
        ([TOP, Row(b"l", tree.SYMLINK, target=b"/"), FILE._replace(path=b"l/a")], "no folder"),
        ([TOP, FILE, FILE._replace(path=b"a/a")], "no folder"),
        ([TOP, Row(b"m", tree.MOUNT), FILE._replace(path=b"m/a")], "no folder"),
        ([TOP, Row(b"l", tree.LINK, target=b"gone")], "no file"),
        ([TOP, Row(b"l", tree.LINK, target=b"l")], "no file"),
        ([TOP._replace(kind=tree.MOUNT)], "begin"),
    ],
)
def test_rows_of_no_tree(rows: list[Row], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tree.read_index(stream(*rows))


def test_rows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_ENTRIES", 10)
    rows = [TOP, *(FILE._replace(path=b"%d" % n) for n in range(10))]
    with pytest.raises(ValueError, match="more than 10"):
        tree.read_index(stream(*rows))
    with pytest.raises(ValueError, match="longer"):
        list(tree.records([bytes(8)] * 100, most=100))
    with pytest.raises(ValueError, match="longer"):
        list(tree.records([b"\xff" * 8]))
    with pytest.raises(ValueError, match="within"):
        list(tree.records([b"\0\0\0\5abc"]))


@pytest.mark.parametrize(
    ("read", "payload"),
    [
        (unpack_want, WANT._replace(length=0).pack()),
        (unpack_want, WANT._replace(length=tree.BLOCK + 1).pack()),
        (unpack_want, WANT._replace(number=1 << 60).pack()),
        (unpack_want, WANT._replace(hints=bytes(tree.HINT)).pack()),
        (unpack_block, BLOCK._replace(number=1 << 60).pack()),
        (unpack_block, BLOCK._replace(fresh=3).pack()),
        (unpack_block, BLOCK._replace(holes=4).pack()),
        (unpack_block, BLOCK._replace(data=bytes(4095)).pack()),
        (unpack_block, BLOCK._replace(data=bytes(4097)).pack()),
        (unpack_block, BLOCK.pack() + b"x"),
        (tree.unpack_change, b"?" + tree.pack(TOP)),
        (tree.unpack_change, b""),
        (tree.unpack, tree.pack(FILE) + b"x"),
        (tree.unpack, tree.pack(FILE)[:-1]),
        (tree.unpack, b""),
    ],
)
def test_payloads_that_are_none(read: Callable[[bytes], object], payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(payload)


def test_wants_and_blocks_come_back() -> None:
    want = WANT._replace(hints=bytes(tree.HINT * tree.PAGES))
    assert unpack_want(want.pack()) == want
    assert unpack_block(BLOCK.pack()) == BLOCK
    assert tree.unpack_change(tree.pack_change(tree.MAKE, FILE)) == (
        tree.MAKE,
        FILE._replace(hashes=b""),
    )


def test_runs_of_pages() -> None:
    assert runs(0b1011, 3 * 4096 + 5) == [(0, 8192), (3 * 4096, 5)]
    assert runs(0, tree.BLOCK) == []
