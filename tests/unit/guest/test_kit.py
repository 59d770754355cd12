"""The kernel modules of the initrd are in an order in which each can be loaded."""

import lzma
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import ToolError
from portkit.guest import foreign, kit

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


def test_modules_as_debian_13_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed, and below /usr/lib alone."""
    modules = kit._places(tmp_path, "6.12")[1]
    modules.mkdir(parents=True)
    assert modules == tmp_path / "usr/lib/modules/6.12"
    for name in (*kit._MODULES, *kit._OF_SEVERAL):
        (modules / f"{name}.ko.xz").write_bytes(lzma.compress(f"code of {name}".encode()))
    (tmp_path / "init").touch()
    (modules / "modules.builtin").touch()
    monkeypatch.setattr(kit.process, "run", lambda *_, **__: SimpleNamespace(text="\n"))
    made = kit._initrd(tmp_path / "init", modules, (), False)
    assert b"modules/virtio_blk.ko\0" in made
    assert b"code of virtio_blk" in made


def test_what_the_kernel_has_built_in_is_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "kernel/drivers/acpi/button.ko\nkernel/drivers/char/virtio-rng.ko\n"
    (tmp_path / "modules.builtin").write_text(rows)
    names = {*kit._MODULES, *kit._OF_SEVERAL} - {"button", "virtio-rng"}
    for name in names:
        (tmp_path / f"{name}.ko").write_bytes(name.encode())
    monkeypatch.setattr(kit.process, "run", lambda argv, **_: SimpleNamespace(text="\n"))
    (tmp_path / "init").write_bytes(b"init")
    made = kit._initrd(tmp_path / "init", tmp_path, (), False)
    assert b"modules/virtio_blk.ko" in made
    assert b"button" not in made
    assert b"virtio-rng" not in made


def test_apt_is_asked_for_another_architecture_with_lists_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> SimpleNamespace:
        asked.append(argv)
        return SimpleNamespace(text="amd64\n")

    lists = tmp_path / "lists"
    lists.mkdir()
    os.utime(lists, (1, 1))
    monkeypatch.setattr(foreign, "_LISTS", lists)
    monkeypatch.setattr(foreign.process, "run", run)
    assert foreign.options(tmp_path, "amd64") == []
    words = foreign.options(tmp_path, "arm64")
    assert f"Dir::State={tmp_path}/apt-arm64" in words
    assert "APT::Architecture=arm64" in words

    def updates() -> int:
        return sum(argv[-1] == "update" for argv in asked)

    foreign.options(tmp_path, "arm64")
    assert updates() == 1, "they are there"
    later = (tmp_path / "apt-arm64/updated").stat().st_mtime + 10
    os.utime(lists, (later, later))
    foreign.options(tmp_path, "arm64")
    assert updates() == 2, "the machine's own are newer"
