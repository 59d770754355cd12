from pathlib import Path

import pytest

from portkit.remote import instances, leases, store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of portkit on a host, with nothing in it."""
    monkeypatch.setattr(store, "ROOT", tmp_path / "store")
    monkeypatch.setattr(store, "TEMPORARY", [])
    monkeypatch.setattr(leases, "ROOT", tmp_path / "moves")
    monkeypatch.setattr(instances, "ROOT", tmp_path / "instances")
    return tmp_path
