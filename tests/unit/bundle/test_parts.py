"""Bundles in parts, and parts that do not belong together."""

import os
import shutil
from pathlib import Path

import pytest

from portkit.bundle import Bundle, is_bundle, write
from portkit.errors import AppError, ConflictError, VerifyError
from portkit.model import Artifact, Form
from portkit.store import Store
from tests.unit.bundle.samples import FACTS, packed_app

SIZE = 64 << 10


@pytest.fixture
def parts(tmp_path: Path, near: Store, artifacts: dict[Form, Artifact]) -> list[Path]:
    made = write(tmp_path / "x.portkit", packed_app(artifacts), near, FACTS, part_bytes=SIZE)
    assert len(made) > 1
    return made


def test_there_and_back(
    parts: list[Path], near: Store, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    assert [path.name for path in parts][:2] == ["x.portkit.001", "x.portkit.002"]
    assert all(path.stat().st_size <= SIZE for path in parts)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in parts)
    assert not list((near.root / "tmp").glob("*/*"))
    assert is_bundle(parts[0])
    assert not is_bundle(parts[1])
    far = Store(tmp_path / "far")
    with Bundle(parts[0]) as bundle:
        assert {form: bundle.artifact(form, far) for form in bundle.forms} == artifacts


@pytest.mark.parametrize("which", [0, 1, -1])
def test_damage_is_named(parts: list[Path], which: int) -> None:
    path, data = parts[which], parts[which].read_bytes()
    for at in (3, 40, 2000, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(VerifyError) as caught:
            Bundle(parts[0])
        assert path.name in caught.value.details
    for wrong in (data[:-1], data + b"x", b"", data[:100]):
        path.write_bytes(wrong)
        with pytest.raises(VerifyError) as caught:
            Bundle(parts[0])
        assert path.name in caught.value.details


def test_a_part_that_is_missing_or_swapped(parts: list[Path]) -> None:
    shutil.copy(parts[0], parts[1])
    with pytest.raises(VerifyError, match=r"x\.portkit\.002"):
        Bundle(parts[0])
    parts[1].unlink()
    with pytest.raises(VerifyError, match=r"x\.portkit\.002"):
        Bundle(parts[0])
    os.mkfifo(parts[1])
    with pytest.raises(VerifyError, match=r"x\.portkit\.002"):
        Bundle(parts[0])


def test_a_part_of_another_bundle(
    parts: list[Path], near: Store, tmp_path: Path, artifacts: dict[Form, Artifact]
) -> None:
    one = {Form.IMAGE: artifacts[Form.IMAGE]}
    others = write(tmp_path / "y.portkit", packed_app(one), near, FACTS, part_bytes=SIZE)
    shutil.copy(others[1], parts[1])
    with pytest.raises(VerifyError, match="another bundle"):
        Bundle(parts[0])


def test_sizes_and_places(
    parts: list[Path], near: Store, tmp_path: Path, artifacts: dict[Form, Artifact]
) -> None:
    with pytest.raises(AppError, match="parts of that size"):
        write(tmp_path / "z.portkit", packed_app(artifacts), near, FACTS, part_bytes=1000)
    with pytest.raises(ConflictError):
        write(tmp_path / "x.portkit", packed_app(artifacts), near, FACTS, part_bytes=SIZE)
    assert not list(tmp_path.glob(".*"))
    assert not list((near.root / "tmp").glob("*/*"))
