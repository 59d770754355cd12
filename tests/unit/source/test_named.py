"""A running project that is named by the folder of its compose file."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import AppError
from portkit.source.named import named
from portkit.source.running import Running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "My Shop.v2"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("text", "variables", "name"),
    [
        ("services: {}", "", "myshopv2"),
        ("name: stall\nservices: {}", "", "stall"),
        ("name: ${STALL}-x\nservices: {}", "STALL=a", "a-x"),
        ("name: stall\nservices: {}", "COMPOSE_PROJECT_NAME=env", "env"),
        # No more is read than the name: what portkit does not support is no obstacle.
        ("services: {web: {colour: red}}", "", "myshopv2"),
    ],
)
def test_the_name_is_the_one_that_compose_gives(
    text: str, variables: str, name: str, folder: Path
) -> None:
    (folder / "compose.yaml").write_text(text)
    if variables:
        (folder / ".env").write_text(variables + "\n")
    for path in ("./My Shop.v2", str(folder), f"{folder}/"):
        assert named(f"project:{path}") == f"project:{name}"
    host: Any = SimpleNamespace(name="web1")
    assert Running(host, f"project:{folder}")._what == f"project:{name}"


def test_what_is_no_folder_stays_as_it_is(folder: Path) -> None:
    for what in ("project:shop", "container:a/b", "container:./x", "project:"):
        assert named(what) == what


def test_a_folder_without_a_compose_file(folder: Path) -> None:
    for path in (str(folder), "./nowhere", "~nobody-here/x"):
        with pytest.raises(AppError):
            named(f"project:{path}")
