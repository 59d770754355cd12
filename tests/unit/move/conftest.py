"""Each test has a journal of its own: one that fails must not be what the next one meets."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTKIT_STATE", str(tmp_path / "state"))
