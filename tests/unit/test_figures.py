"""The code keeps the figures that it has reached: `scripts/figures.py` prints them."""

from pathlib import Path

import pytest

from scripts import figures


@pytest.fixture(scope="module")
def product() -> figures.Figures:
    return figures.figures()


def test_functions_are_short(product: figures.Figures) -> None:
    assert product.median_length <= 10
    length, where = product.functions[0]
    assert length <= 60, where


def test_what_is_public_is_documented(product: figures.Figures) -> None:
    assert product.documented_share >= 0.9


def test_any_is_at_edges(product: figures.Figures) -> None:
    assert product.any_per_1000 <= 5


def test_what_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room/module.py").write_text(
        '"""A module."""\n\n'
        "from typing import Any\n\n\n"
        "# A reason.\n"
        "def public(value: Any) -> Any:\n"
        '    """Documented."""\n'
        "    return value  # why\n\n\n"
        "class Bare:\n"
        "    def method(self) -> None: ...\n\n"
        "    def _own(self) -> None: ...\n"
    )
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    found = figures.figures(("room",))
    assert [length for length, _ in found.functions] == [3, 1, 1]
    assert (found.documented, found.public) == (2, 4)
    assert (found.code_lines, found.comments, found.any_uses) == (8, 2, 2)
