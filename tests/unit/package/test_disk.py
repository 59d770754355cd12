import io
import json
import os
import stat
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit import process
from portkit.architecture import AMD64
from portkit.errors import AppError, SpaceError, VerifyError
from portkit.guest import boot_partition
from portkit.guest.kit import GuestKit
from portkit.model import Artifact, Form, ImageConfig, RunSpec
from portkit.package.disk import _write, build
from portkit.package.partitions import layout
from portkit.package.save import check_header
from portkit.store import Store
from tests.factories import IMAGE

MIB = 1 << 20


@given(st.integers(0, 1 << 44))
def test_partitions_fit_and_do_not_touch(content: int) -> None:
    found = layout(content)
    assert found.size % MIB == found.root_start % MIB == found.root_bytes % MIB == 0
    assert found.root_start >= boot_partition.START + boot_partition.BYTES
    assert found.root_start + found.root_bytes <= found.size - 34 * 512, "GPT's second copy"
    assert found.root_bytes > content * 1.2 + 400 * MIB


def test_a_little_more_content_moves_nothing() -> None:
    sizes = {layout(300 * MIB + more).root_bytes for more in range(0, 64 * MIB, MIB)}
    assert len(sizes) == 2


def test_what_was_asked_for_is_kept_or_refused() -> None:
    assert layout(100 * MIB, 1024 * MIB).size == 1024 * MIB
    with pytest.raises(AppError, match="too small"):
        layout(100 * MIB, 120 * MIB)


def test_a_disk_that_has_no_room_here_is_not_begun(tmp_path: Path) -> None:
    """hostile input 40"""
    config, unused = ImageConfig("x", "amd64", "linux", ()), cast(Any, None)
    image = Artifact(Form.IMAGE, "x", (config,), (), 1 << 60, 1 << 60)
    store = Store(tmp_path / "store")
    with pytest.raises(SpaceError, match="the Store of this machine does not have enough space"):
        _write(image, b"", unused, store, tmp_path / "raw", None, "key", unused, layered=False)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def header(**changed: Any) -> bytes:
    row = {"magic": b"QFI\xfb", "version": 3, "backing": 0, "bits": 18, "features": 8, "kind": 1}
    row |= changed
    head = struct.pack(">4sIQII", row["magic"], row["version"], row["backing"], 0, row["bits"])
    return head.ljust(72, b"\0") + struct.pack(
        ">QQQIIB7x", row["features"], 0, 0, 4, 112, row["kind"]
    )


def test_the_header_that_pack_asks_for() -> None:
    check_header(header())


@pytest.mark.parametrize(
    "changed",
    [
        {"magic": b"QFI\0"},
        {"version": 2},
        {"backing": 4096},
        {"bits": 16},
        {"features": 0},
        {"features": 9},
        {"features": 12},
        {"features": 24},
        {"kind": 0},
    ],
)
def test_any_other_header_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(VerifyError):
        check_header(header(**changed))


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(VerifyError):
        check_header(data)


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> GuestKit:
    """A kit whose kernel is none, with a boot partition like any other."""
    folder = tmp_path_factory.mktemp("kit")
    for name in ("kernel", "initrd", "loader"):
        (folder / name).write_bytes((name.encode() * 500)[:440])
    parts = [folder / name for name in ("kernel", "initrd", "boot")]
    boot_partition.make(AMD64, boot_partition.UEFI_LOADER, *parts)
    files_of = (folder / name for name in ("kernel", "initrd", "boot", "loader"))
    return GuestKit("sha256:" + "5" * 64, "amd64", "6.1", *files_of, folder)


SPEC = cast(RunSpec, apps.defaults(replace(IMAGE, cmd=("/serve",))))


def made(kit: GuestKit, folder: Path, spec: RunSpec | None = SPEC) -> Path:
    """A disk of an image of one small layer, in a Store of its own."""
    folder.mkdir()
    store = Store(folder / "store")
    info = tarfile.TarInfo("etc/motd")
    info.size = 6
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as out:
        out.addfile(info, io.BytesIO(b"hello\n"))
    blob = store.put_bytes(layer.getvalue())
    image = replace(IMAGE, diff_ids=(blob.digest,))
    artifact = Artifact(Form.IMAGE, image.digest, (image,), (blob,), blob.size, blob.size)
    return store.path(build(artifact, spec, kit, store).digest)


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o377])
def test_the_same_bytes_in_other_circumstances(
    kit: GuestKit, tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = made(kit, tmp_path / "here")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    before = os.umask(mask)
    try:
        there = made(kit, tmp_path / "there")
        (tmp_path / "again").mkdir(mode=0o700, exist_ok=True)
        parts = (kit.kernel, kit.initrd, tmp_path / "again/boot")
        boot_partition.make(AMD64, boot_partition.UEFI_LOADER, *parts)
    finally:
        os.umask(before)
    assert here.name == there.name, "a blob's name is the digest of its content"
    assert kit.boot.read_bytes() == (tmp_path / "again/boot").read_bytes()


def test_the_disk_in_the_eyes_of_others(kit: GuestKit, tmp_path: Path) -> None:
    disk = made(kit, tmp_path / "made")
    table = json.loads(process.run(["sfdisk", "--json", disk], timeout=60).stdout)
    rows = table["partitiontable"]["partitions"]
    assert [row["name"] for row in rows] == ["portkit-boot", "portkit-root"]
    assert rows[0]["attrs"] == "LegacyBIOSBootable"
    for number, (row, check) in enumerate(zip(rows, (FAT, EXT4), strict=True)):
        with disk.open("rb") as file, (tmp_path / f"part{number}").open("wb") as out:
            file.seek(row["start"] * 512)
            out.write(file.read(row["size"] * 512))
        process.run([*check, tmp_path / f"part{number}"], timeout=60)
    listed = process.run(
        ["mdir", "-a", "-b", "-/", "-i", tmp_path / "part0", "::"], timeout=60
    ).text
    for name in ("vmlinuz", "initrd", "ldlinux.sys", "EFI/BOOT/BOOTX64.EFI", "syslinux.cfg"):
        assert f"::/{name}\n" in listed
    config = process.run(["mtype", "-i", tmp_path / "part0", "::/default.img"], timeout=60).stdout
    assert len(config) == boot_partition.SLOT_BYTES
    assert config.startswith(b"070701")
    assert b"/serve" in config
    motd = ["debugfs", "-R", "cat /etc/motd", tmp_path / "part1"]
    assert process.run(motd, timeout=60).stdout == b"hello\n"
    assert disk.stat().st_blocks * 512 < 8 * MIB, "what is empty is a hole"


FAT = ("fsck.vfat", "-n")
EXT4 = ("e2fsck", "-f", "-n")


def test_a_disk_without_a_command_has_an_empty_slot(kit: GuestKit, tmp_path: Path) -> None:
    with made(kit, tmp_path / "made", None).open("rb") as file:
        file.seek(boot_partition.START)
        slot = boot_partition.slot(file.read(512))
        file.seek(boot_partition.START + slot)
        assert file.read(boot_partition.SLOT_BYTES) == bytes(boot_partition.SLOT_BYTES)


def test_defaults_that_do_not_fit_are_refused(kit: GuestKit, tmp_path: Path) -> None:
    large = replace(SPEC, env=(("A", "x" * boot_partition.SLOT_BYTES),))
    with pytest.raises(AppError, match="too large for a disk"):
        made(kit, tmp_path / "made", large)


def test_a_disk_is_private(kit: GuestKit, tmp_path: Path) -> None:
    """The default configuration holds the image's environment."""
    disk = made(kit, tmp_path / "made")
    assert stat.S_IMODE(disk.stat().st_mode) & 0o077 == 0
