"""Files and folders of their owner alone."""

import os
import stat
from pathlib import Path

import pytest

from portkit.errors import PortkitError
from portkit.files import private_folder
from portkit.move.journal import Journal


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_a_folder_is_private_under_any_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        private_folder(tmp_path / "new", setting="PORTKIT_STORE")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_one_that_is_there_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "old")
    private_folder(tmp_path / "link", setting="PORTKIT_STORE")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o700


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for name in ("file", "nowhere"):
        with pytest.raises(PortkitError, match="cannot be trusted") as caught:
            private_folder(tmp_path / name, setting="PORTKIT_STATE")
        assert "PORTKIT_STATE" in caught.value.resolution


def test_a_journal_of_somebody_else_is_not_believed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PortkitError, match="belongs to user 12345"):
        Journal(tmp_path).add("pk-000000000001", app="shop", source="a", target="b", plan={})
