"""What tells a host's kernel from that of an App."""

import os
from pathlib import Path
from typing import Any

import pytest

from portkit.host import answers
from portkit.remote import kernel


def test_this_very_kernel_and_namespaces() -> None:
    channel: Any = None
    row = kernel.identity({}, channel)
    assert row["release"] == os.uname().release
    assert row["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert row["since"].isdigit()
    assert row["since"] == kernel.identity({}, channel)["since"]
    assert row["namespaces"]["pid"] == str(Path("/proc/self/ns/pid").readlink())
    assert answers.wrong("kernel.identity", {**row, "engine_since": None})
    assert not any("children" in name for name in row["namespaces"])
    assert answers.wrong("kernel.identity", row) == ""
    assert answers.wrong("kernel.identity", {**row, "namespaces": ["pid"]})


def test_one_start_of_docker_is_told_from_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel: Any = None
    file = tmp_path / "docker.pid"
    monkeypatch.setattr(kernel, "_DOCKERD", file)

    def since() -> str:
        return str(kernel.identity({}, channel)["engine_since"])

    assert since() == "", "there is none"
    file.write_text(f"{os.getpid()}\n")
    mine = since()
    assert mine.split()[0] == kernel.identity({}, channel)["boot_id"]
    assert mine == since()
    file.write_text("1")  # a parent may have been started within the same tick
    assert since() not in ("", mine)
    for text in ("", "\u00b2", "-1", "4194305"):  # no process has so high a number
        file.write_text(text)
        assert since() == ""
