"""An ext4 disk read without mounting it gives what the folder gives that it was made of."""

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import process
from portkit.remote import (
    crc32c,
    ext4_blocks,
    ext4_image,
    ext4_journal,
    volumes,
)
from portkit.remote import volume_stream as stream
from portkit.remote.volume_known import NOTHING, Known
from portkit.remote.volume_tree import Root
from portkit.wire import tree
from portkit.wire.frames import RemoteError
from portkit.wire.tree import Row
from tests import odd_folder

pytestmark = pytest.mark.usefixtures("root")
Rows = dict[bytes, Row]


def rows_of(opened: volumes.Tree) -> Rows:
    """What a scan says."""
    with opened as root, stream.threads() as pool:
        rows = list(volumes._Scan(root, Known(root.key, NOTHING), pool).rows())
    assert [row.path for row in rows] == sorted((row.path for row in rows), key=tree.order)
    return {row.path: row for row in rows}


def on_disk(disk: Path) -> Rows:
    """Through what a host tells, which the near end checks as anybody's word."""
    rows = rows_of(ext4_image.Image(str(disk)))
    tree.read_index([tree.record(tree.pack(row)) for row in rows.values()])
    return rows


def essence(rows: Rows) -> Rows:
    return {path: tree.essence(row) for path, row in rows.items()}


def assert_equal(disk: Rows, folder: Rows) -> None:
    here, there = essence(disk), essence(folder)
    odd = {path: (row, there.get(path)) for path, row in here.items() if row != there.get(path)}
    assert odd == {}
    assert set(here) == set(there)


def disk_of(folder: Path, disk: Path, *options: str, size: int = 32 << 20) -> Path:
    """As somebody else makes one."""
    with disk.open("wb") as file:
        file.truncate(size)
    process.run(["mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", folder, disk])
    # Of the folder itself it takes nothing.
    debugfs(disk, f"sif <2> mtime @{int(folder.stat().st_mtime)}")
    return disk


def small(folder: Path) -> Path:
    """A few of everything that root is not needed for, with whole seconds."""
    folder.mkdir()
    (folder / "a").write_bytes(b"A" * 5000)
    (folder / "empty").write_bytes(b"")
    sub = folder / "sub"
    (sub / "below").mkdir(parents=True)
    os.link(folder / "a", sub / "b")
    (sub / "short").symlink_to("a")
    (sub / "long").symlink_to("n" * 100)
    os.setxattr(folder / "a", "user.small", b"1")
    os.setxattr(folder / "a", "user.large", b"L" * 500)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(300 << 10)
        file.write(b"data" * 2000)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 1_600_000_000), follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `in` and, of it, `sealed.raw` with checksums and `plain.raw` without."""
    place = tmp_path_factory.mktemp("ext4")
    folder = small(place / "in")
    disk_of(folder, place / "sealed.raw", "-b", "1024", size=4 << 20)
    disk_of(folder, place / "plain.raw", "-b", "1024", "-O", "^metadata_csum", size=4 << 20)
    return place


@pytest.mark.skipif(os.geteuid() != 0, reason="other owners and devices need root")
def test_a_volume_s_disk_is_read_as_the_folder_that_it_was_made_of(tmp_path: Path) -> None:
    folder = tmp_path / "content"
    disk = odd_folder.disk_of(folder, tmp_path)
    there = rows_of(Root(str(folder)))
    here = on_disk(disk)
    assert_equal(here, there)
    assert all(here[path].links == there[path].links for path in here if here[path].kind == b"f")
    holes = {path: row.hashes.count(tree.HOLE) for path, row in here.items()}
    assert holes[b"sparse"] == there[b"sparse"].hashes.count(tree.HOLE) > 300


def test_the_folder_that_mke2fs_makes_is_left_out_only_as_it_made_it(tmp_path: Path) -> None:
    disk = disk_of(small(tmp_path / "in"), tmp_path / "disk")
    assert b"lost+found" not in on_disk(disk)
    process.run(["debugfs", "-w", "-R", f"write {tmp_path / 'in' / 'a'} lost+found/mine", disk])
    assert b"lost+found/mine" in on_disk(disk)


@pytest.mark.parametrize(
    "options",
    [
        ("-b", "1024"),
        ("-b", "2048", "-O", "^64bit"),
        ("-b", "4096", "-I", "128"),
        ("-O", "^metadata_csum"),
        ("-O", "metadata_csum_seed,large_dir"),
        ("-O", "^flex_bg", "-g", "1024", "-b", "1024"),
        ("-O", "^has_journal,huge_file"),
        ("-O", "^extent,^64bit,^metadata_csum", "-b", "1024"),
    ],
)
def test_other_forms_of_ext4_are_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = small(tmp_path / "in")
    assert_equal(on_disk(disk_of(folder, tmp_path / "d", *options)), rows_of(Root(str(folder))))


@pytest.mark.parametrize("options", [("-b", "1024"), ("-b", "1024", "-O", "^metadata_csum")])
def test_folders_with_an_index_are_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    folder = tmp_path / "in"
    (folder / "many").mkdir(parents=True)
    for number in range(600):
        (folder / "many" / f"a name that takes some room {number}").touch()
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 1_600_000_000))
    disk = disk_of(folder, tmp_path / "d", *options)
    process.run(["e2fsck", "-fyD", disk], check=False)  # 1: it has changed something
    there = rows_of(Root(str(folder)))
    assert_equal(on_disk(disk), there)
    with ext4_image.Image(str(disk)) as image, image.entry(b"many") as found:
        assert found.status.flags & 0x1000, "it has one"


def test_blocks_are_those_of_the_folder(tmp_path: Path) -> None:
    folder = small(tmp_path / "in")
    disk = disk_of(folder, tmp_path / "d")
    with ext4_image.Image(str(disk)) as image, Root(str(folder)) as root:
        for name in (b"a", b"sparse", b"sub/b", b"empty"):
            with image.entry(name) as mine, root.entry(name) as theirs:
                here, there = mine.content(), theirs.content()
                for number in range(17):
                    data = here.block(number)
                    assert data == there.block(number)
                    assert here.holes(number, len(data)) == there.holes(number, len(data))
                    assert here.block(number, 100) == data[:100]
                there.close()
        with pytest.raises(FileNotFoundError), image.entry(b"sub/none"):
            pass
        with pytest.raises(NotADirectoryError), image.entry(b"a/b"):
            pass


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copy(sample / "plain.raw", tmp_path / "copy.raw"))


def debugfs(disk: Path, *commands: str) -> None:
    for command in commands:
        process.run(["debugfs", "-w", "-R", command, disk])


@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [
        ("ssv state 2", "ConflictError", "has errors"),
        ("feature encrypt", "VerifyError", "cannot read"),
        ("feature inline_data", "VerifyError", "cannot read"),
        ("ssv feature_incompat 0x800002c2", "VerifyError", "cannot read"),
        ("ssv blocks_count 4000000000", "VerifyError", "damaged"),
        ("ssv inodes_per_group 3", "VerifyError", "damaged"),
        ("ssv log_block_size 30", "VerifyError", "damaged"),
        ("ln /sub /sub/below/loop", "VerifyError", "damaged"),
        ("ln /sub /other", "VerifyError", "damaged"),
        ("sif /a block[0] 0xdead", "VerifyError", "damaged"),
        ("sif /a block[5] 0xfffffff0", "VerifyError", "damaged"),
        ("sif /a links_count 0", "VerifyError", "damaged"),
        ("sif /a mode 0040755", "VerifyError", "damaged"),
        ("sif /a flags 0x10080000", "VerifyError", "cannot read"),
        ("sif /a flags 0", "VerifyError", "damaged"),
        ("sif /sub size 0x7ffff000", "VerifyError", "damaged"),
        ("sif /sub/long size 200000", "VerifyError", "damaged"),
        ("sif /a file_acl 3999999", "VerifyError", "damaged"),
        ("sif /a size 0x10000000000000", "HostError", "too large"),
        ("sif /a mtime_extra 3", "VerifyError", "cannot read"),
    ],
)
def test_what_is_odd_is_an_error_that_says_so(
    copy: Path, command: str, kind: str, said: str
) -> None:
    debugfs(copy, command)
    with pytest.raises(RemoteError) as caught:
        on_disk(copy)
    assert caught.value.kind == kind
    assert said in caught.value.brief
    assert caught.value.details
    assert caught.value.resolution


def journaled(disk: Path, changed: Path, place: Path, opened: str) -> list[int]:
    """Bring a disk to what another one is, but in its journal alone; numbers of the blocks."""
    old, new = disk.read_bytes(), changed.read_bytes()
    starts = range(1024, len(old), 1024)
    blocks = [at // 1024 for at in starts if old[at : at + 1024] != new[at : at + 1024]]
    content, script = place / "content", place / "script"
    content.write_bytes(b"".join(new[n * 1024 : (n + 1) * 1024] for n in blocks))
    script.write_text(f"{opened}\njw -b {','.join(map(str, blocks))} {content}\njc\n")
    process.run(["debugfs", "-w", "-f", script, disk])
    return blocks


CHANGES = ("sif /a mtime @1700000000", "ln /sub/short /other", "rm /empty")


# What debugfs is told of a journal: its checksums.
@pytest.mark.parametrize("opened", ["jo", "jo -c -v 3"])
def test_what_is_in_the_journal_alone_is_read_from_there(
    sample: Path, tmp_path: Path, opened: str
) -> None:
    kind = "sealed" if "-c" in opened else "plain"
    before, after = (Path(shutil.copy(sample / f"{kind}.raw", tmp_path / n)) for n in "ab")
    debugfs(after, *CHANGES)
    # Content as with data=journal: of the kind that a journal has to escape.
    with ext4_image.Image(str(after)) as image, image.entry(b"a") as found:
        at = image.runs(found.status, set())[0].physical
    with after.open("r+b") as file:
        file.seek(at * 1024)
        file.write(b"\xc0\x3b\x39\x98 and more")
    blocks = journaled(before, after, tmp_path, opened)
    wanted = on_disk(after)
    assert wanted != on_disk(sample / f"{kind}.raw")
    with ext4_image.Image(str(before)) as image:
        assert len(image._pending) == len(blocks)
        assert sum(escaped for _, escaped in image._pending.values()) == 1
    assert on_disk(before) == wanted
    # A later transaction gives one of the blocks away; then it was never committed.
    script = tmp_path / "script"
    script.write_text(f"{opened}\njw -r {blocks[-1]}\njc\n")
    process.run(["debugfs", "-w", "-f", script, before])
    with ext4_image.Image(str(before)) as image:
        assert len(image._pending) == len(blocks) - 1
    data = before.read_bytes()
    commit = data.rindex(struct.pack(">II", ext4_journal.MAGIC, 2))
    before.write_bytes(data[:commit] + bytes(1024) + data[commit + 1024 :])
    with ext4_image.Image(str(before)) as image:
        assert len(image._pending) == len(blocks)


def test_a_journal_has_no_block_twice(sample: Path, tmp_path: Path) -> None:
    disk, after = (Path(shutil.copy(sample / "plain.raw", tmp_path / n)) for n in "ab")
    debugfs(after, *CHANGES)
    journaled(disk, after, tmp_path, "jo")
    with ext4_image.Image(str(disk)) as image:
        first = image.runs(image._inode(8), set())[0].physical
        at = image._tables[0] * image.fs.block + 7 * image.fs.inode_size + 40
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<HHHHI", 0xF30A, 2, 4, 0, 0))
        for logical in (0, 512):
            file.write(struct.pack("<IHHI", logical, 512, 0, first))
    with pytest.raises(RemoteError) as caught:
        on_disk(disk)
    assert caught.value.details == "its journal has a block twice"


@pytest.mark.parametrize("torn", ["its data", "its descriptor"])
def test_a_transaction_that_was_cut_off_is_the_end_of_the_journal(
    sample: Path, tmp_path: Path, torn: str
) -> None:
    disk, after = (Path(shutil.copy(sample / "sealed.raw", tmp_path / n)) for n in "ab")
    debugfs(after, *CHANGES)
    blocks = journaled(disk, after, tmp_path, "jo -c -v 3")
    wanted = on_disk(disk)
    script = tmp_path / "script"
    script.write_text(f"jo -c -v 3\njw -b {blocks[0]},{blocks[1]} {tmp_path / 'content'}\njc\n")
    process.run(["debugfs", "-w", "-f", script, disk])
    data = bytearray(disk.read_bytes())
    begun = data.rindex(struct.pack(">II", ext4_journal.MAGIC, 1))
    commit = data.rindex(struct.pack(">II", ext4_journal.MAGIC, 2))
    assert commit == begun + 3 * 1024
    at = begun + 1024 if torn == "its data" else begun + 900
    data[at : at + 100] = b"x" * 100
    disk.write_bytes(data)
    with pytest.raises(RemoteError, match="damaged"):  # it was committed
        on_disk(disk)
    data[commit : commit + 1024] = bytes(1024)
    disk.write_bytes(data)
    assert on_disk(disk) == wanted
    with ext4_image.Image(str(disk)) as image:
        assert len(image._pending) == len(blocks)


def test_what_a_kernel_reads_is_read(sample: Path, copy: Path) -> None:
    before = on_disk(copy)
    debugfs(copy, "sif /sub/b mtime_extra 0xfffffffd", "sif /sparse extra_isize 0")
    debugfs(copy, "set_block_group 0 flags 1")
    debugfs(copy, "ea_set /sub/below user.gone 1", "sif /sub/below extra_isize 0")
    after = on_disk(copy)
    late = 1_600_000_000 + (1 << 32)
    assert after.pop(b"a").mtime_ns == late * 10**9 + 10**9 - 1
    assert after.pop(b"sub/b").target == b"a"
    assert after.pop(b"sub/below").xattrs == ()
    assert after.keys() == before.keys() - {b"a", b"sub/b", b"sub/below"}
    assert essence(after).items() <= essence(before).items()


def test_a_group_without_inodes_counts_where_it_has_a_checksum(sample: Path, copy: Path) -> None:
    debugfs(copy, "feature uninit_bg", "set_block_group 0 flags 1")
    with pytest.raises(RemoteError) as caught:
        on_disk(copy)
    assert "group 0, which has none" in caught.value.details


def place_of(disk: Path, name: bytes) -> int:
    """Of an inode on the disk."""
    with ext4_image.Image(str(disk)) as image, image.entry(name) as found:
        group, index = divmod(found.status.st_ino - 1, image.fs.group_inodes)
        return image._tables[group] * image.fs.block + index * image.fs.inode_size


def add_run(disk: Path, name: bytes, logical: int, blocks: int) -> None:
    """One more for an entry that has one; of no content where it has more than 32768."""
    at = place_of(disk, name) + 40
    with disk.open("r+b") as file:
        file.seek(at + 2)
        file.write(struct.pack("<H", 2))
        file.seek(at + 24)
        file.write(struct.pack("<IHHI", logical, blocks, 0, 1000))


def test_a_folder_has_no_more_blocks_than_the_disk(copy: Path) -> None:
    add_run(copy, b"sub", 5000, 32768 + 2500)
    on_disk(copy)
    add_run(copy, b"sub/below", 5000, 32768 + 2500)
    with pytest.raises(RemoteError) as caught:
        on_disk(copy)
    assert caught.value.details == "its files have more blocks than it has"


def test_a_file_of_two_names_says_so(copy: Path) -> None:
    debugfs(copy, "ln /empty /other")
    with pytest.raises(RemoteError) as caught:
        on_disk(copy)
    assert caught.value.details.endswith("has more names than it says")


@pytest.mark.parametrize(
    ("name", "most", "said"),
    [
        ("MAX_ENTRIES", 8, "more than 8 entries"),
        ("MAX_ENTRIES", 3, "more than 3 entries"),
        ("MAX_INDEX", 500, "too large for an index"),
    ],
)
def test_what_no_index_has_room_for_ends_early(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int, said: str
) -> None:
    monkeypatch.setattr(ext4_image.tree, name, most)
    with ext4_image.Image(str(copy)) as image, pytest.raises(RemoteError, match=said):
        list(image.entries())


def test_values_of_attributes_do_not_overlap() -> None:
    rows = b"".join(
        struct.pack("<BBHIII", 1, 1, 100, 0, 60, 0) + bytes([letter, 0, 0, 0]) for letter in b"abc"
    )
    data = (bytes(32) + rows).ljust(200, b"\0")
    with pytest.raises(RemoteError, match="damaged"):
        ext4_blocks._attributes(data.replace(b"c\0", b"d\0")[:160], 32)
    assert len(ext4_blocks._attributes(data, 32)) == 3


@pytest.mark.parametrize("name", [b"s/t", b"..\0", b".\0\0", b"sub", b"a\0b"])
def test_names_that_lead_elsewhere(sample: Path, copy: Path, name: bytes) -> None:
    data = copy.read_bytes()
    before = struct.pack("<BB", 5, 1) + b"empty"
    assert data.count(before) == 1
    short = name.rstrip(b"\0") if name.startswith(b".") else name
    copy.write_bytes(
        data.replace(before, struct.pack("<BB", len(short), 1) + short.ljust(5, b"\0"))
    )
    with pytest.raises(RemoteError, match="damaged"):
        on_disk(copy)


def test_a_disk_that_was_cut_off(sample: Path, copy: Path) -> None:
    os.truncate(copy, (4 << 20) - 1024)
    with pytest.raises(RemoteError, match="damaged"):
        on_disk(copy)
    os.truncate(copy, 100)
    with pytest.raises(RemoteError, match="cannot read"):
        on_disk(copy)


def test_what_is_no_disk(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for path in ("relative", str(tmp_path), *map(str, tmp_path.iterdir()), str(tmp_path / "none")):
        with pytest.raises(RemoteError) as caught:
            ext4_image.Image(path)
        assert caught.value.kind == "HostError"


slow = settings(max_examples=100, deadline=None)
bytes_of = st.tuples(st.integers(0, 1 << 20), st.integers(0, 255))
changed = st.lists(bytes_of, min_size=1, max_size=4)


class Altered:
    """A disk, and where it is not zero. A block that is a `with` has some of that changed."""

    def __init__(self, disk: Path) -> None:
        self.disk, self._data = disk, disk.read_bytes()
        blocks = range(1024, len(self._data), 1024)
        used = [at for at in blocks if any(self._data[at : at + 1024])]
        words = (at + n for at in used for n in range(0, 1024, 4))
        self._used = [at for at in words if any(self._data[at : at + 4])]

    @contextmanager
    def by(self, changes: list[tuple[int, int]]) -> Iterator[Path]:
        places = [self._used[n // 4 % len(self._used)] + n % 4 for n, _ in changes]
        with self.disk.open("r+b", buffering=0) as file:
            for at, (_, value) in zip(places, changes, strict=True):
                os.pwrite(file.fileno(), bytes([value]), at)
            try:
                yield self.disk
            finally:
                for at in places:
                    os.pwrite(file.fileno(), self._data[at : at + 1], at)


@pytest.fixture(scope="module", params=["in place", "in its journal"])
def plain(sample: Path, request: pytest.FixtureRequest) -> Altered:
    disk = Path(shutil.copy(sample / "plain.raw", sample / "one.raw"))
    if request.param == "in its journal":
        changed = Path(shutil.copy(disk, sample / "changed.raw"))
        debugfs(changed, *CHANGES)
        journaled(disk, changed, sample, "jo")
    return Altered(disk)


@pytest.fixture(scope="module")
def sealed(sample: Path) -> tuple[Altered, Rows]:
    disk = Path(shutil.copy(sample / "sealed.raw", sample / "two.raw"))
    return Altered(disk), outside(on_disk(disk))


def outside(rows: Rows) -> Rows:
    """Without content, which has no checksums in ext4, and where long symlinks lead."""
    return {path: row._replace(hashes=b"", target=b"") for path, row in rows.items()}


@slow
@given(changes=changed)
def test_any_change_gives_a_tree_or_an_error(
    plain: Altered, changes: list[tuple[int, int]]
) -> None:
    with plain.by(changes) as disk:
        try:
            on_disk(disk)
        except RemoteError as error:
            assert error.details
            assert error.resolution


@slow
@given(changes=changed)
def test_with_checksums_a_change_of_names_owners_and_places_is_found(
    sealed: tuple[Altered, Rows], changes: list[tuple[int, int]]
) -> None:
    altered, before = sealed
    with altered.by(changes) as disk:
        try:
            found = on_disk(disk)
        except RemoteError:
            return
    assert outside(found) == before


@given(st.binary(max_size=300), st.integers(0, 0xFFFFFFFF))
def test_checksums_can_be_continued(data: bytes, seed: int) -> None:
    theirs = __import__("crc32c").crc32c(data, seed ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    assert crc32c.extend(seed, data) == theirs
    half = len(data) // 2
    assert crc32c.extend(crc32c.extend(seed, data[:half]), data[half:]) == theirs
