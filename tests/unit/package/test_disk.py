import os
import stat
import struct
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import process
from portkit.errors import AppError, SpaceError, VerifyError
from portkit.guest.kit import GuestKit
from portkit.model import Artifact, Form, ImageConfig
from portkit.package.disk import _WORKER, _boot_files, _write, layout
from portkit.package.save import check_header
from portkit.store import Store

MIB = 1 << 20


@given(st.integers(0, 1 << 44))
def test_partitions_fit_and_do_not_touch(content: int) -> None:
    found = layout(content)
    assert found.size % MIB == 0
    assert found.boot[0] * 512 == MIB
    assert found.boot[1] < found.root[0]
    assert found.root[0] % 2048 == 0
    assert (found.root[1] + 1) * 512 <= found.size - 34 * 512, "room for GPT's second copy"
    assert (found.root[1] - found.root[0] + 1) * 512 > content * 1.2 + 400 * MIB


def test_what_was_asked_for_is_kept_or_refused() -> None:
    assert layout(100 * MIB, 1024 * MIB).size == 1024 * MIB
    with pytest.raises(AppError, match="too small"):
        layout(100 * MIB, 120 * MIB)


def test_the_worker_runs_nothing_of_the_folder_that_the_user_is_in(tmp_path: Path) -> None:
    for name in ("json", "guestfs", "portkit"):
        (tmp_path / f"{name}.py").write_text("print('ran')\nraise SystemExit(9)\n")
    done = process.run(_WORKER, cwd=tmp_path, input=b"no plan", check=False)
    assert done.code == 1
    assert b"JSONDecodeError" in done.stderr, "it has read its plan with the real json"
    assert done.stdout == b""


def test_a_disk_that_has_no_room_here_is_not_begun(tmp_path: Path) -> None:
    """hostile input 40"""
    config, unused = ImageConfig("x", "amd64", "linux", ()), cast(Any, None)
    image = Artifact(Form.IMAGE, "x", config, (), 1 << 60, 1 << 60)
    store = Store(tmp_path / "store")
    with pytest.raises(SpaceError, match="no room in the Store of this machine"):
        _write(image, b"", unused, store, tmp_path / "raw", tmp_path, None, unused)
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


@pytest.mark.parametrize("mask", [0o000, 0o377])
def test_what_goes_to_the_boot_partition_is_private(tmp_path: Path, mask: int) -> None:
    """The default configuration holds the image's environment."""
    (tmp_path / "k").write_bytes(b"")
    kit = GuestKit("x", "amd64", "6.1", tmp_path / "k", tmp_path / "k", tmp_path)
    folder = tmp_path / "own"
    folder.mkdir()
    before = os.umask(mask)
    try:
        rows = _boot_files(kit, b"PASSWORD=hunter2", folder)
    finally:
        os.umask(before)
    made = [path for path, _ in rows if path.parent == folder]
    assert len(made) == len(list(folder.iterdir())) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
