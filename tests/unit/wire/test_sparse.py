"""What the data of a file with holes is, also of one that changes while it is looked at."""

import os
from pathlib import Path

import pytest

from portkit.wire import sparse


def test_a_file_that_is_cut_off_meanwhile_has_no_more_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(range(256)) * 64)
    seek = os.lseek

    def cut(descriptor: int, position: int, how: int) -> int:
        if how == os.SEEK_HOLE:
            os.truncate(path, 0)
        return seek(descriptor, position, how)

    with path.open("rb") as file:
        monkeypatch.setattr(os, "lseek", cut)
        assert list(sparse.extents(file.fileno())) == []
