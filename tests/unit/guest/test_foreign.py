"""Lists of packages for an architecture that is not this machine's."""

from pathlib import Path

import pytest

from portkit import process
from portkit.errors import ToolError
from portkit.guest import foreign


def sources(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """apt knows this source of packages and no other."""
    (folder / "sources.list").write_text(line)
    (folder / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "/dev/null";\n'
        'Acquire::Retries "0"; Acquire::http::Proxy "DIRECT";\n'
    )
    monkeypatch.setattr(process, "_KEPT", (*process._KEPT, "APT_CONFIG"))
    monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))


def test_lists_that_cannot_be_fetched_are_not_taken_for_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tmp_path / "apt-riscv64" / "updated"
    sources(tmp_path, monkeypatch, "deb http://127.0.0.1:9/debian stable main\n")
    for _ in range(2):
        with pytest.raises(ToolError, match="apt-get"):
            foreign.options(tmp_path, "riscv64")
        assert not done.exists()
    sources(tmp_path, monkeypatch, "")
    assert "APT::Architecture=riscv64" in foreign.options(tmp_path, "riscv64")
    assert done.exists()
