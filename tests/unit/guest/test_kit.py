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


def test_what_a_disk_for_other_hosts_has_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its drivers are loaded after those of every disk, and a file tells init to ask for an
    address; the initrd of every other disk stays as it was."""
    for name in (*kit._MODULES, *kit._OF_SEVERAL, "vmxnet3"):
        (tmp_path / f"{name}.ko").write_bytes(name.encode())
    (tmp_path / "init").touch()
    (tmp_path / "modules.builtin").touch()
    monkeypatch.setattr(kit.process, "run", lambda *_, **__: SimpleNamespace(text="\n"))
    usual = kit._initrd(tmp_path / "init", tmp_path, (), False)
    more = kit._initrd(tmp_path / "init", tmp_path, ("vmxnet3",), True)
    assert b"\nvmxnet3.ko\n" in more
    assert b"dhcp\0" in more
    assert b"vmxnet3" not in usual
    assert b"dhcp\0" not in usual
