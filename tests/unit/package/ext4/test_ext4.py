"""File systems that are written without a kernel, judged by e2fsprogs."""

import io
import itertools
import os
import re
import struct
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import process
from portkit.errors import VerifyError
from portkit.package import ext4, tarball
from portkit.package.ext4 import directory, extents, tables, xattr
from portkit.package.ext4.extents import Run
from portkit.package.ext4.geometry import GROUP, geometry
from portkit.package.flatten import flattened
from portkit.wire.sparse import write_at
from tests.unit.package.layers import folders

MIB = 1 << 20
XATTR = "SCHILY.xattr."
Row = tuple[tarfile.TarInfo, bytes]


def row(name: str, data: bytes = b"", **fields: object) -> Row:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def folder(name: str) -> Row:
    return row(name, type=tarfile.DIRTYPE, mode=0o755)


def layer(path: Path, rows: list[Row]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for info, data in rows:
            out.addfile(info, io.BytesIO(data))
    return path


def written(
    place: Path, *layers: list[Row], size: int = 64 * MIB, uuid: bytes = b"0123456789abcdef"
) -> Path:
    """A file system of these layers; e2fsck has nothing to say."""
    paths = [layer(place / f"layer{number}", rows) for number, rows in enumerate(layers)]
    return written_of(place, paths, size, uuid)


def written_of(place: Path, paths: list[Path], size: int, uuid: bytes = bytes(16)) -> Path:
    out = place / "out.ext4"
    with flattened(paths) as tree, out.open("w+b") as file:
        file.truncate(size)
        ext4.write(ext4.plan(tree), file, 0, size, uuid=uuid, label=b"here")
    process.run(["e2fsck", "-f", "-n", out], timeout=120)
    return out


def debugfs(image: Path, command: str) -> bytes:
    return process.run(["debugfs", "-R", command, image], timeout=60).stdout


NAMES = st.text(st.sampled_from("ab\u00e9\udcff \n"), min_size=1, max_size=60)
FILES = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE]),
        st.integers(0, 9000),
        st.dictionaries(
            st.sampled_from(["user.a", "user.bb", "security.capability", "trusted.x", "odd.y"]),
            st.text(st.sampled_from("xyz\udc80"), max_size=300),
        ),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(FILES, max_size=4))
def test_any_tree_is_clean(layers: list[list[tuple[str, bytes, int, dict[str, str]]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        rows = [
            [
                row(
                    name if number % 2 else f"d/{name}",
                    bytes(range(1, 251)) * (size // 250) if kind == tarfile.REGTYPE else b"",
                    type=kind,
                    linkname="t" * (size % 4000 + 1) if kind == tarfile.SYMTYPE else "",
                    mtime=float(size),
                    devmajor=size % 4096,
                    devminor=size * 20,
                    pax_headers={XATTR + key: value for key, value in xattrs.items() if value},
                )
                for number, (name, kind, size, xattrs) in enumerate(files)
            ]
            for files in layers
        ]
        written(Path(place), *rows)


def test_what_each_file_is(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    when = "1234567890.123456789"
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry)
        for entry in ((1, 6, 0xFFFFFFFF), (2, 5, 1000), (4, 4, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF))
    )
    acl += struct.pack("<HHI", 32, 4, 0xFFFFFFFF)
    rows = [
        folder("d"),
        row("d/file", data, uid=70000, gid=80000, mode=0o6751, pax_headers={"mtime": when}),
        row("d/hard", type=tarfile.LNKTYPE, linkname="d/file"),
        row("d/soft", type=tarfile.SYMTYPE, linkname="x" * 59),
        row("d/long", type=tarfile.SYMTYPE, linkname="x" * 60),
        row("d/chr", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        row("d/blk", type=tarfile.BLKTYPE, devmajor=259, devminor=70000),
        row("d/fifo", type=tarfile.FIFOTYPE),
        row("d/able", pax_headers={XATTR + "security.capability": "\x01\0\0\x02" + "y" * 16}),
        row("d/much", pax_headers={XATTR + "user.large": "L" * 3000, XATTR + "user.b": "1"}),
        row(
            "d/acl",
            mode=0o640,
            pax_headers={XATTR + "system.posix_acl_access": acl.decode("utf-8", "surrogateescape")},
        ),
    ]
    image = written(tmp_path, rows)
    assert debugfs(image, "cat /d/file") == data
    told = debugfs(image, "stat /d/file").decode()
    assert "Mode:  06751" in told
    assert re.search(r"User: +70000 +Group: +80000", told)
    assert "Links: 2" in told
    assert f"mtime: 0x499602d2:{123456789 << 2:08x}" in told
    assert 'Fast link dest: "' + "x" * 59 + '"' in debugfs(image, "stat /d/soft").decode()
    assert debugfs(image, "cat /d/long") == b"x" * 60
    assert "1:3 " in debugfs(image, "stat /d/chr").decode().replace("01:03", "1:3")
    assert "259:70000" in debugfs(image, "stat /d/blk").decode()
    assert "Type: FIFO" in debugfs(image, "stat /d/fifo").decode()
    assert "security.capability (20)" in debugfs(image, "ea_list /d/able").decode()
    assert b"L" * 3000 in debugfs(image, "ea_get /d/much user.large")
    listed = debugfs(image, "ea_list /d/acl").decode()
    assert "system.posix_acl_access (28)" in listed, "as the kernel keeps it: 5 entries, one named"


def sparse(name: str, size: int, at: int, data: bytes) -> bytes:
    """A member as GNU tar writes a sparse file (format 1.0), with one piece."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    info = tarfile.TarInfo("GNUSparseFile/x")
    info.pax_headers = {**records, "GNU.sparse.realsize": str(size)}
    content = f"1\n{at}\n{len(data)}\n".encode().ljust(512, b"\0") + data
    info.size = len(content)
    return info.tobuf(tarfile.PAX_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")


def test_holes_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(sparse("holes", 10 << 30, 5 << 30, b"here") + bytes(1024))
    with flattened([tmp_path / "layer"]) as tree, (tmp_path / "out").open("w+b") as file:
        file.truncate(64 * MIB)
        ext4.write(ext4.plan(tree), file, 0, 64 * MIB, uuid=bytes(16), label=b"")
    process.run(["e2fsck", "-f", "-n", tmp_path / "out"], timeout=60)
    told = debugfs(tmp_path / "out", "stat /holes").decode()
    assert f"Size: {10 << 30}" in told
    assert "Blockcount: 8\n" in told, "one block of 4 KiB"
    assert (tmp_path / "out").stat().st_blocks * 512 < 2 * MIB


def test_a_file_that_is_more_pieces_than_an_inode_can_tell(tmp_path: Path) -> None:
    """Two levels of the tree: 340 extents in a block, four blocks in the inode."""
    count = 1500
    data = b"".join(bytes([number % 255 + 1]) * 4096 for number in range(count))
    pieces = "".join(f"{number * 8192}\n4096\n" for number in range(count))
    head = f"{count}\n{pieces}".encode()
    info = tarfile.TarInfo("GNUSparseFile/x")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "x",
        "GNU.sparse.realsize": str(count * 8192),
    }
    content = head.ljust(-(-len(head) // 512) * 512, b"\0") + data
    info.size = len(content)
    (tmp_path / "layer").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + content + bytes(1024))
    with flattened([tmp_path / "layer"]) as tree, (tmp_path / "out").open("w+b") as file:
        file.truncate(64 * MIB)
        ext4.write(ext4.plan(tree), file, 0, 64 * MIB, uuid=bytes(16), label=b"")
    process.run(["e2fsck", "-f", "-n", tmp_path / "out"], timeout=60)
    found = debugfs(tmp_path / "out", "cat /x")
    assert found[::8192] == data[::4096]
    assert not any(found[4096::8192])


def test_many_pieces_take_one_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of a member's headers and pieces does not grow with the square of them."""
    count = 3000
    head = f"{count + 1}\n" + "".join(f"{number * 8192}\n1\n" for number in range(count))
    head += f"{count * 8192}\n0\n"
    info = tarfile.TarInfo("GNUSparseFile/x")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
    info.pax_headers["GNU.sparse.realsize"] = str(count * 8192)
    content = head.encode().ljust(-(-len(head) // 512) * 512, b"\0") + b"p" * count
    info.size = len(content)
    padded = content.ljust(-(-len(content) // 512) * 512, b"\0")
    (tmp_path / "layer").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + padded + bytes(1024))
    calls = 0
    pieces = tarball.pieces

    def counted(*args: object) -> object:
        nonlocal calls
        calls += 1
        return pieces(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(tarball, "pieces", counted)
    with flattened([tmp_path / "layer"]) as tree, (tmp_path / "out").open("w+b") as file:
        file.truncate(64 * MIB)
        ext4.write(ext4.plan(tree), file, 0, 64 * MIB, uuid=bytes(16), label=b"")
    assert calls == 1
    process.run(["e2fsck", "-f", "-n", tmp_path / "out"], timeout=60)
    assert debugfs(tmp_path / "out", "cat /x")[::8192] == b"p" * count


def test_folders_in_a_folder_until_they_are_many(tmp_path: Path) -> None:
    assert [ext4.links_of_folder(count) for count in (0, 64_998, 64_999)] == [2, 65_000, 1]
    path = tmp_path / "layer"
    path.write_bytes(folders(f"d/{number}" for number in range(64_999)))
    written_of(tmp_path, [path], 800 * MIB)


def test_an_acl_of_a_symlink_is_left_out(tmp_path: Path) -> None:
    acl = struct.pack("<IHHIHHI", 2, 1, 7, 0, 2, 7, 1000).decode("utf-8", "surrogateescape")
    headers = {XATTR + "system.posix_acl_access": acl}
    image = written(tmp_path, [row("s", type=tarfile.SYMTYPE, linkname="x", pax_headers=headers)])
    assert b"posix_acl" not in debugfs(image, "ea_list /s")


def test_a_symlink_to_nothing_is_refused(tmp_path: Path) -> None:
    path = layer(tmp_path / "layer", [row("s", type=tarfile.SYMTYPE)])
    with pytest.raises(VerifyError, match="symlink to nothing"), flattened([path]):
        pass


def test_a_disk_that_fills_up_while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """pwrite(2) writes a part then, and says so by its result alone."""
    whole, pwrite = bytes(range(256)) * 10, os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:100], at))
    with tempfile.TemporaryFile() as file:
        write_at(file.fileno(), whole, 7)
        assert os.pread(file.fileno(), 5000, 7) == whole


def test_a_folder_of_many_blocks_and_of_many_layers(tmp_path: Path) -> None:
    layers = [
        [row(f"d/{'n' * 200}{number}-{index}", b"x") for number in range(60)] for index in range(8)
    ]
    image = written(tmp_path, *layers)
    listed = debugfs(image, "ls -p /d").decode()
    assert listed.count("n" * 200) == 480


def test_what_crosses_the_copies_of_the_superblock(tmp_path: Path) -> None:
    data = b"".join(number.to_bytes(8, "little") * 512 for number in range(1, 35_000))
    image = written(tmp_path, [row("a", b"1"), row("large", data), row("z", b"2")], size=600 * MIB)
    assert debugfs(image, "cat /large") == data
    assert debugfs(image, "cat /z") == b"2"


def changed_blocks(one: Path, other: Path) -> int:
    with one.open("rb") as first, other.open("rb") as second:
        count = 0
        while block := first.read(4096):
            count += block != second.read(4096)
        return count


@pytest.mark.parametrize("more", [b"", b"y" * 5000])
def test_a_changed_line_in_an_upper_layer_leaves_the_rest(tmp_path: Path, more: bytes) -> None:
    base = [row(f"usr/{number:04}", bytes([number % 255 + 1]) * 5000) for number in range(1500)]
    ours = [row("app/a.py", b"1"), row("usr/new", b"n"), row("usr/0007", b"replaced")]
    upper = [row(f"srv/{number:03}", b"u" * 5000) for number in range(300)]
    images = []
    for number, text in enumerate((b"old line", b"new line" + more)):
        (tmp_path / str(number)).mkdir()
        mine = [*ours, row("app/main.py", text)]
        images.append(
            written(tmp_path / str(number), base, mine, upper, uuid=bytes([number + 1]) * 16)
        )
    # The file itself, its inode, the superblock with the UUID; where the count of free blocks is
    # another, the descriptors and the bits of its block; a larger one moves what its layer has
    # behind it, and no more.
    assert 0 < changed_blocks(*images) <= (9 if more else 3)


def test_one_more_file_moves_no_other_layer(tmp_path: Path) -> None:
    base = [row(f"usr/{number:04}", bytes([number % 255 + 1]) * 5000) for number in range(1500)]
    upper = [row(f"srv/{number:03}", b"u" * 5000) for number in range(300)]
    images = []
    for number, more in enumerate(([], [row("app/b.py", b"more")])):
        (tmp_path / str(number)).mkdir()
        rows = [row("app/a.py", b"1"), row("app/c.py", b"1"), *more]
        images.append(written(tmp_path / str(number), base, rows, upper))
    assert 0 < changed_blocks(*images) <= 12


def test_no_room_is_said(tmp_path: Path) -> None:
    path = layer(tmp_path / "layer", [row("large", b"x" * 40 * MIB)])
    for size in (0, 4096, MIB, 30 * MIB, 45 * MIB):
        with flattened([path]) as tree, (tmp_path / "out").open("w+b") as file:
            file.truncate(size)
            with pytest.raises(ext4.NoRoom):
                ext4.write(ext4.plan(tree), file, 0, size, uuid=bytes(16), label=b"")
            assert file.seek(0, 2) == size, "nothing is written behind it"


def test_attributes_that_no_block_holds_are_refused(tmp_path: Path) -> None:
    path = layer(tmp_path / "layer", [row("x", pax_headers={XATTR + "user.a": "v" * 5000})])
    with flattened([path]) as tree, pytest.raises(ValueError, match="attributes"):
        ext4.plan(tree)


def test_a_file_that_no_ext4_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(sparse("x", 1 << 60, 0, b"x") + bytes(1024))
    with pytest.raises(VerifyError, match="17592186040320"), flattened([tmp_path / "layer"]):
        pass


@given(st.integers(256, (16 << 40) // 4096), st.integers(0, 2_000_000))
def test_geometry(blocks: int, entries: int) -> None:
    try:
        shape = geometry(blocks * 4096, entries)
    except ValueError:
        assert entries * 256 > blocks * 4096 / 200 or blocks < 4 * GROUP
        return
    assert shape.blocks <= blocks < shape.blocks + 4096
    assert shape.groups * shape.inodes >= entries
    assert shape.inodes % 16 == 0
    assert 0 < shape.inodes <= GROUP
    assert shape.copies()[0] == 0
    assert all(shape.size(group) > shape.descriptors for group in shape.copies())


@given(st.integers(0, 400_000))
def test_blocks_of_a_tree_are_those_that_it_takes(count: int) -> None:
    rows = [Run(number * 2, number * 3, 1) for number in range(min(count, 3000))]
    blocks = list(range(extents.tree_blocks(len(rows))))
    place, made = extents.tree(rows, blocks)
    assert len(place) == 60
    assert [number for number, _ in made] == blocks
    assert all(len(data) == 4092 for _, data in made)
    assert extents.tree_blocks(count) < count / 300 + 3


def test_a_long_run_is_cut() -> None:
    parts = extents.split([Run(0, 100, 70_000)])
    assert [part.blocks for part in parts] == [32768, 32768, 4464]
    assert [part.physical - part.logical for part in parts] == [100] * 3


@given(st.lists(st.binary(min_size=1, max_size=255), max_size=300), st.booleans())
def test_entries_fill_blocks_to_their_end(names: list[bytes], first: bool) -> None:
    counts = directory.chunks(names, first)
    assert sum(counts) == len(names)
    rows: list[directory.Entry] = [(name, 12, 1) for name in names]
    if first:
        rows[:0] = [(b".", 2, 2), (b"..", 2, 2)]
        counts[0] += 2
    for count in filter(None, counts):
        block = directory.block(rows[:count], 0)
        del rows[:count]
        assert len(block) == 4096
        at = 0
        while at < 4096:
            at += struct.unpack_from("<H", block, at + 4)[0]
        assert at == 4096


@pytest.mark.parametrize(
    ("seconds", "nanoseconds"),
    [(0, 0), (1, 999_999_999), (1 << 31, 5), ((1 << 33) + 7, 0), (15032385535, 1)],
)
def test_times(seconds: int, nanoseconds: int) -> None:
    """Source of the decoding: Linux, Documentation/filesystems/ext4/inodes.rst."""
    low, extra = tables._time(seconds * 10**9 + nanoseconds)
    signed = low - (1 << 32) if low >> 31 else low
    assert signed + ((extra & 3) << 32) == seconds
    assert extra >> 2 == nanoseconds


def test_a_time_behind_the_last_is_the_last() -> None:
    assert tables._time(1 << 70) == tables._time(15032385535 * 10**9)


def test_attributes_in_the_inode_and_in_a_block() -> None:
    small, large = xattr.encode({"user.a": b"1"}), xattr.encode({"user.a": b"1" * 200})
    assert (bool(small.in_inode), bool(small.block)) == (True, False)
    assert (bool(large.in_inode), len(large.block)) == (False, 4096)
    assert xattr.encode({}) == xattr.encode({"unknown.a": b"1"}) == (b"", b"")
    names = [f"user.{''.join(pair)}" for pair in itertools.product("ab", repeat=3)]
    for length in range(1, 600, 7):
        try:
            found = xattr.encode(dict.fromkeys(names, b"v" * length))
        except ValueError:
            assert 8 * (16 + 4 + length) > 4000
        else:
            assert len(found.in_inode or found.block) in (96, 4096)
