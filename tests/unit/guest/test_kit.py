"""The kernel modules of the initrd are in an order in which each can be loaded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import ToolError
from portkit.guest import kit

NEEDS = {"net": "failover,core", "failover": "core", "core": "", "disk-io": "core"}


def test_a_module_comes_after_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NEEDS:
        (tmp_path / f"{name}.ko").touch()

    def modinfo(argv: list[str], **_: Any) -> SimpleNamespace:
        return SimpleNamespace(text=f"{NEEDS[Path(argv[-1]).stem]}\n")

    monkeypatch.setattr(kit.process, "run", modinfo)
    found = list(dict.fromkeys(kit._with_needs(("net", "disk_io"), tmp_path)))
    assert found == ["core", "failover", "net", "disk_io"]
    with pytest.raises(ToolError, match="lacks a module"):
        list(kit._with_needs(("gone",), tmp_path))
