"""The index of bases: what a full disk does to it."""

import errno
import os
from pathlib import Path

import pytest

from portkit.errors import SpaceError
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer.bases import Base, Bases
from portkit.transfer.deliver import deliver
from portkit.transfer.index import Index
from portkit.transfer.resume import Link
from tests.unit.transfer.far import Far


def refuse(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fallocate(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fallocate)


def test_a_full_disk_is_told(near: Store, far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole in the table would be a SIGBUS once it is written to."""
    base, blob = near.put_bytes(os.urandom(50_000)), near.put_bytes(os.urandom(50_000))
    with Bases(near, [Base(base.digest, base.size)]) as known:
        refuse(errno.ENOSPC, monkeypatch)
        with pytest.raises(SpaceError):
            deliver(blob, near, Link(far.remote), known, NullObserver(), lambda count: None)


def test_a_table_that_cannot_grow_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = os.urandom(4096)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(block)
    large.write_bytes(os.urandom(16 << 20))
    with small.open("rb") as first, large.open("rb") as second:
        index = Index([first.fileno()], tmp_path)
        refuse(errno.ENOSPC, monkeypatch)
        with pytest.raises(OSError, match="space"):
            index.extend([second.fileno()])
        assert index.find(block) == (0, 0, 4096)
        index.close()


def test_a_file_system_that_cannot_set_room_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = os.urandom(4096)
    (tmp_path / "base").write_bytes(block)
    refuse(errno.EOPNOTSUPP, monkeypatch)
    with (tmp_path / "base").open("rb") as base:
        index = Index([base.fileno()], tmp_path)
        assert index.find(block) == (0, 0, 4096)
        index.close()
