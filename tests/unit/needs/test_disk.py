"""Disk files that others made: their headers, their partition tables, and hostile ones."""

import fcntl
import os
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import process
from portkit.errors import AppError, ConflictError, PortkitError, VerifyError
from portkit.model.disk import DiskFile, DiskFormat, Inside, TableKind
from portkit.needs import disk, partition_table, qcow2
from tests import disks

BOOTABLE = bytes(disks.bootable())
SECTOR_OF_MAIN = 512


def written(folder: Path, data: bytes, name: str = "a.qcow2") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(folder: Path, data: bytes, name: str = "a.qcow2") -> DiskFile:
    return disk.read(written(folder, data, name), within=False)


def test_a_raw_disk(tmp_path: Path) -> None:
    found = read(tmp_path, BOOTABLE, "a.img")
    assert (found.format, found.virtual_bytes) == (DiskFormat.RAW, len(BOOTABLE))
    layout = found.layout
    assert layout is not None
    assert (layout.table, layout.signature, layout.code) == (TableKind.GPT, True, "other")
    assert [(p.type, p.active, p.fat) for p in layout.partitions] == [
        (disks.ESP, True, True),
        (disks.LINUX, False, False),
    ]
    assert not layout.faults


@pytest.mark.parametrize("version", [2, 3])
def test_a_qcow2_is_read_through_its_tables(tmp_path: Path, version: int) -> None:
    found = read(tmp_path, disks.qcow2(BOOTABLE, version=version))
    assert found.layout == read(tmp_path, BOOTABLE, "a.raw").layout
    assert found.qcow2 is not None
    assert (found.qcow2.version, found.qcow2.cluster_bytes) == (version, 4096)


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "compat=0.10"),
        ("-c",),
        ("-c", "-o", "compression_type=zstd,cluster_size=256k"),
        ("-o", "extended_l2=on,cluster_size=128k"),
        ("-o", "cluster_size=512"),
    ],
)
def test_what_qemu_img_writes(tmp_path: Path, words: tuple[str, ...]) -> None:
    raw, path = written(tmp_path, BOOTABLE, "a.raw"), tmp_path / "a.qcow2"
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *words, raw, path], timeout=60)
    found = disk.read(path, within=False)
    assert found.layout == disk.read(raw, within=False).layout
    told = found.qcow2
    assert told is not None
    with path.open("rb") as file:
        content = qcow2.Clusters(file, told, path.stat().st_size).read(0, 1 << 20)
    assert content == BOOTABLE[: 1 << 20]


def test_what_stands_elsewhere_is_told_and_never_opened(tmp_path: Path) -> None:
    itself = tmp_path / "a.qcow2"
    name = os.fsencode(itself)
    found = read(tmp_path, disks.qcow2(BOOTABLE, backing=name))
    assert found.qcow2 is not None
    assert found.qcow2.backing == str(itself)
    assert found.layout is None
    for data in (
        disks.qcow2(BOOTABLE, features=1 << 2),
        disks.qcow2(BOOTABLE, extension=0x44415441),
    ):
        told = read(tmp_path, data).qcow2
        assert told is not None
        assert told.data_file
    told = read(tmp_path, disks.qcow2(BOOTABLE, backing=b'json:{"driver":"nbd"}\x1b[2J')).qcow2
    assert told is not None
    assert told.backing == 'json:{"driver":"nbd"}[2J'


def test_features(tmp_path: Path) -> None:
    told = read(tmp_path, disks.qcow2(BOOTABLE, features=1 << 3 | 1 << 1, kind=1)).qcow2
    assert told is not None
    assert (told.compression, told.incompatible) == ("zstd", (1, 3))
    strange = read(tmp_path, disks.qcow2(BOOTABLE, features=1 << 3 | 1 << 40, kind=9))
    assert strange.qcow2 is not None
    assert strange.qcow2.compression == "type 9"
    assert strange.layout is None
    luks = read(tmp_path, disks.qcow2(BOOTABLE, method=2)).qcow2
    assert luks is not None
    assert luks.encryption == "luks"


def change(at: int, form: str, value: int) -> bytes:
    data = disks.qcow2(BOOTABLE)
    struct.pack_into(form, data, at, value)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"QFI\xfb",
        b"x" * 5000,
        bytes(disks.qcow2(BOOTABLE)[:-70000]),
        change(4, ">I", 4),  # version
        bytes(disks.qcow2(BOOTABLE, backing=b"x" * 2000)),  # QEMU takes 1023
        change(20, ">I", 40),  # cluster bits
        change(24, ">Q", 1 << 60),  # virtual size
        change(24, ">Q", 0),
        change(36, ">I", 1 << 31),  # entries of L1
        change(40, ">Q", 1 << 50),  # where L1 is
        change(40, ">Q", 100),
        change(56, ">I", 1 << 30),  # clusters of references
        change(60, ">I", 1 << 30),  # snapshots
        change(96, ">I", 60),  # refcount order
        change(100, ">I", 1 << 20),  # bytes of the header
        change(104, ">B", 1),  # compressed otherwise, without its bit
    ],
)
def test_absurd_qcow2s_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises((VerifyError, AppError)) as caught:
        read(tmp_path, data)
    assert caught.value.resolution


def test_a_format_is_stated_and_not_two_at_once(tmp_path: Path) -> None:
    both = disks.qcow2(BOOTABLE)
    both[510:512] = b"\x55\xaa"
    for data, name in (
        (disks.qcow2(BOOTABLE), "a.raw"),
        (both, "a.qcow2"),
        (b"KDMV" + BOOTABLE, "a.raw"),
        (BOOTABLE + b"conectix".ljust(512, b"\0"), "a.raw"),
        (b"vhdxfile" + BOOTABLE, "a.img"),
    ):
        with pytest.raises(AppError, match="not, or not only"):
            read(tmp_path, data, name)
    with pytest.raises(AppError, match="cannot tell the format"):
        read(tmp_path, BOOTABLE, "a.disk")
    assert disk.read(written(tmp_path, BOOTABLE, "a.disk"), DiskFormat.RAW, within=False).layout


def test_a_table_for_larger_sectors() -> None:
    unit, sectors = 4096, 600
    small = disks.gpt(sectors, [(disks.ESP, 64, 99, 0), (disks.LINUX, 100, 500, 0)])
    disk = bytearray(sectors * unit)
    for number in range(sectors):  # the same sectors, eight times as large
        disk[number * unit : number * unit + 512] = small[number * 512 : (number + 1) * 512]
    for at in (2, sectors - 33):
        disk[at * unit : at * unit + 128 * 128] = small[at * 512 : at * 512 + 128 * 128]
    disk[64 * unit : 64 * unit + 512] = disks.signed(disks.FAT_SECTOR)
    found = layout_of(bytes(disk))
    assert (found.sector_bytes, found.damaged, found.faults) == (unit, False, ())
    assert [(part.start, part.fat) for part in found.partitions] == [
        (64 * unit, True),
        (100 * unit, False),
    ]
    assert layout_of(bytes(BOOTABLE)).sector_bytes == 512


DESCRIPTION = (
    b'# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 4096 FLAT "a-flat.vmdk" 0\n'
)


@pytest.mark.parametrize(
    ("name", "data", "brief", "cure"),
    [
        ("a.iso", bytes(32769) + b"CD001", "CD or DVD", "CD-ROM"),
        ("a.raw", bytes(32769) + b"CD001" + bytes(9000), "CD or DVD", "CD-ROM"),
        ("a.vmdk", DESCRIPTION, "which are not beside it", "Copy these files"),
        ("a-flat.vmdk", BOOTABLE, "does not describe itself", "--disk-format raw"),
        ("a-s001.vmdk", b"KDMV" + bytes(99), "does not describe itself", "that names it"),
        ("a.vmdk", DESCRIPTION.replace(b"ffffffff", b"12ab34cd"), "only the changes", "snapshots"),
        ("a.vmdk", b"KDMV" + DESCRIPTION, "reads no VMDK", "convert -f vmdk"),
        ("a.qcow", b"QFI\xfb\0\0\0\1", "reads no QCOW", "convert -f qcow "),
        ("a.qcow2", b"QFI\xfb\0\0\0\1" + bytes(99), "stated format", "convert -f qcow "),
        ("a.img", b"QFI\xfb\0\0\0\3" + bytes(99), "stated format", "--disk-format qcow2"),
        ("a.qcow2", disks.mbr([]), "stated format", "--disk-format raw"),
        ("a.qcow2", b"x" * 5000, "begin as a qcow2", "--disk-format raw"),
        ("a.raw", b"vhdxfile" + BOOTABLE, "stated format", "convert -f vhdx "),
    ],
)
def test_what_is_no_disk_that_portkit_reads(
    tmp_path: Path, name: str, data: bytes, brief: str, cure: str
) -> None:
    with pytest.raises((AppError, VerifyError)) as caught:
        read(tmp_path, data, name)
    assert brief in caught.value.brief
    assert cure in caught.value.resolution


def test_a_vmdk_with_its_parts_and_a_hybrid_cd(tmp_path: Path) -> None:
    written(tmp_path, BOOTABLE, "a-flat.vmdk")
    with pytest.raises(AppError, match="reads no VMDK"):
        read(tmp_path, DESCRIPTION, "a.vmdk")
    cd = bytearray(BOOTABLE)
    cd[32769:32774] = b"CD001"
    assert read(tmp_path, bytes(cd), "a.raw").layout, "as on a USB stick"


def test_names(tmp_path: Path) -> None:
    (tmp_path / "folder.img").mkdir()
    written(tmp_path, b"x", "a:1.raw")
    assert disk.is_disk("old.qcow2")
    assert disk.is_disk("installer.iso")
    assert disk.is_disk(f"{tmp_path}/a:1.raw")
    for name in ("shop", "registry:5000/app:2.raw", f"{tmp_path}/folder.img", "a.portkit"):
        assert not disk.is_disk(name)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.raw")
    for name in ("pipe.raw", "absent.raw", "."):
        with pytest.raises(AppError):
            disk.read(tmp_path / name, DiskFormat.RAW)


def layout_of(data: bytes) -> partition_table.Layout:
    return partition_table.layout(lambda at, count: data[at : at + count], len(data))


def test_one_damaged_copy_of_a_gpt_is_no_end() -> None:
    for at in (SECTOR_OF_MAIN + 60, len(BOOTABLE) - 512 + 60):
        data = bytearray(BOOTABLE)
        data[at] ^= 1
        found = layout_of(bytes(data))
        assert len(found.partitions) == 2
        assert not found.damaged
        assert "checksum" in found.faults[0]
    data[SECTOR_OF_MAIN + 60] ^= 1
    found = layout_of(bytes(data))
    assert found.damaged
    assert found.partitions == ()


def test_places_that_are_in_no_file(tmp_path: Path) -> None:
    rows = [(disks.ESP, (1 << 64) - 9, (1 << 64) - 1, 0), (disks.LINUX, 1 << 62, 1 << 63, 0)]
    found = read(tmp_path, bytes(disks.gpt(4096, rows)), "a.raw").layout
    assert found
    assert len(found.faults) == 2


def test_a_partition_behind_the_end() -> None:
    found = layout_of(disks.mbr([(0x80, 0x83, 1, 1 << 20)], disks.CODE) + bytes(4096))
    assert found.table is TableKind.MBR
    assert "and the disk at 4608" in found.faults[0]


def test_logical_partitions_that_lead_back_end() -> None:
    data = bytearray(64 * 512)
    data[:512] = disks.mbr([(0x80, 0x83, 1, 1), (0, 5, 8, 50)], b"Missing operating system")
    data[8 * 512 : 9 * 512] = disks.mbr([(0, 0x82, 1, 1), (0, 5, 4, 9)])
    data[12 * 512 : 13 * 512] = disks.mbr([(0, 0x83, 1, 1), (0, 5, 0, 9)])
    found = layout_of(bytes(data))
    assert [(p.type, p.start // 512) for p in found.partitions] == [
        ("83", 1),
        ("82", 9),
        ("83", 13),
    ]
    assert found.code == "active"


def test_boot_code() -> None:
    assert layout_of(disks.mbr([(0, 0x83, 1, 1)])).code == ""
    assert layout_of(disks.mbr([(0, 0x83, 1, 1)], b"\xebc GRUB ")).code == "grub"
    fat = disks.signed(disks.FAT_SECTOR)
    assert layout_of(fat).fat
    assert layout_of(disks.signed(disks.FAT_SECTOR + b" This is not a bootable disk.")).code == ""
    assert layout_of(bytes(8192)).table is TableKind.NONE


QCOW2 = bytes(disks.qcow2(BOOTABLE))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 120), st.integers(4096, 4300), st.integers(8192, 12288)),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, len(QCOW2)),
)
def test_mutated_qcow2s(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(QCOW2 if cut % 3 else QCOW2[:cut])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = read(Path(folder), bytes(data))
        except PortkitError as error:
            assert error.brief
        else:
            assert found.virtual_bytes > 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(440, 1300), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 5000),
)
def test_mutated_tables(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(BOOTABLE[: cut if cut % 2 else None])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), bytes(data) or b"x", "a.raw").layout
    assert found
    assert len(found.partitions) <= 1024


def test_holes_are_no_content(tmp_path: Path) -> None:
    path = written(tmp_path, BOOTABLE, "a.raw")
    os.truncate(path, 1 << 30)
    found = disk.read(path, within=False)
    assert found.file_bytes == 1 << 30
    assert found.stored_bytes <= len(BOOTABLE) + 4096


@pytest.mark.parametrize(
    ("byte", "refused"), [(100, False), (101, True), (103, True), (201, False)]
)
def test_a_disk_that_a_vm_may_write_to_is_refused(tmp_path: Path, byte: int, refused: bool) -> None:
    path = written(tmp_path, BOOTABLE, "a.raw")
    with path.open("r+b") as file:
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, lock)
        if refused:
            with pytest.raises(ConflictError, match="a VM has it open"):
                disk.read(path, within=False)
        else:
            disk.read(path, within=False)
    disk.read(path, within=False)


def test_a_disk_that_qemu_has_open(tmp_path: Path) -> None:
    path = written(tmp_path, BOOTABLE, "a.raw")
    words = ["qemu-io", "-f", "raw", str(path)]
    with process.popen(words, stdin=process.PIPE, stdout=process.PIPE) as qemu:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        qemu.stdin.write(b"length\n")
        qemu.stdin.flush()
        qemu.stdout.readline()  # it has opened the disk when it answers
        with pytest.raises(ConflictError, match="a VM has it open"):
            disk.read(path, within=False)
        qemu.stdin.close()
    disk.read(path, within=False)


@pytest.mark.parametrize("how", ["replaced", "written", "gone"])
def test_a_disk_that_changes_while_it_is_read(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, BOOTABLE, "a.raw")

    def look(*_: object) -> Inside:
        if how == "replaced":
            written(tmp_path, BOOTABLE, "b.raw").rename(path)
        elif how == "gone":
            path.unlink()
        else:
            os.utime(path, (1, 1))
        return Inside(looked=True)

    monkeypatch.setattr(disk, "look", look)
    with pytest.raises(ConflictError, match="changed or replaced"):
        disk.read(path)


@pytest.mark.parametrize(
    ("begin", "word"),
    [
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"PK\3\4", "unzip"),
        (b"x".ljust(257, b"\0") + b"ustar\x0000", "tar xf"),
    ],
)
def test_a_disk_in_another_file_is_refused(tmp_path: Path, begin: bytes, word: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(begin.ljust(1 << 16, b"\1"))
    with pytest.raises(AppError, match="not a disk") as seen:
        disk.read(path, within=False)
    assert word in str(seen.value.resolution)
    sector = begin.ljust(510, b"\0")[:510] + b"\x55\xaa"
    path.write_bytes(sector.ljust(1 << 16, b"\1"))
    disk.read(path, within=False)  # a boot sector may begin like that


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.vmdk", "-f vmdk -O qcow2 a.vmdk a.qcow2"),
        ("a.vhd", "-f vpc"),
        ("a.ova", "tar xf a.ova"),
        ("a.disk", "--disk-format"),
    ],
)
def test_the_name_of_another_format_says_how_to_convert_it(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / name).write_bytes(b"KDMV")
    assert disk.is_disk(str(tmp_path / name)) is not name.endswith(".disk")
    with pytest.raises(AppError) as seen:
        disk.read(tmp_path / name, within=False)
    assert words in str(seen.value.resolution)
