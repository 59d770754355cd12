"""x-portkit.needs: what an App states of its host, and back in a bundle's words."""

from dataclasses import replace
from pathlib import Path

import pytest

from portkit import app as apps
from portkit.bundle.described import read, render
from portkit.errors import AppError
from portkit.model import App, Stated

NEEDS = """
    x-portkit:
      needs:
        kernel: "5.10"
        cpu: x86-64-v3
        sysctls: {vm.max_map_count: 262144, vm.swappiness: "<=10", vm.panic_on_oom: "=0"}
        modules: [wireguard]
        devices: [/dev/net/tun]
        huge_pages: 512m
        shared_memory: 1g
        open_files: 65536
        ipv6: true
"""
STATED = Stated(
    kernel=(5, 10, 0),
    cpu_level=3,
    sysctls={"vm.max_map_count": 262144, "vm.panic_on_oom": 0},
    sysctls_most={"vm.swappiness": 10, "vm.panic_on_oom": 0},
    modules=("wireguard",),
    devices=("/dev/net/tun",),
    huge_page_bytes=512 << 20,
    shm_bytes=1 << 30,
    open_files=65536,
    ipv6=True,
)


def loaded(folder: Path, text: str) -> App:
    (folder / "compose.yaml").write_text("services:\n  a:\n    image: x\n" + text)
    return apps.load(folder)


def test_everything_that_can_be_stated(tmp_path: Path) -> None:
    app = loaded(tmp_path, NEEDS)
    assert app.services[0].stated == STATED
    told = render(app, ["sha256:" + "1" * 64])
    assert read(told, "x").services[0].stated == STATED
    assert loaded(tmp_path, "    x-portkit: {memory: 512m}\n").services[0].stated == Stated()


@pytest.mark.parametrize(
    "needs",
    [
        "{kernel: 5.10}",
        "{kernel: new}",
        "{cpu: x86-64-v9}",
        "{cpu: 3}",
        "{sysctls: {vm.max_map_count: -1}}",
        "{sysctls: {'a/b': 1}}",
        "{sysctls: {vm.swappiness: '<10'}}",
        "{sysctls: {vm.swappiness: '<=-1'}}",
        "{modules: ['../x']}",
        "{devices: [/etc/passwd]}",
        "{huge_pages: many}",
        "{ipv6: perhaps}",
        "{colour: red}",
        "[kernel]",
    ],
)
def test_what_is_none(tmp_path: Path, needs: str) -> None:
    with pytest.raises(AppError):
        loaded(tmp_path, f"    x-portkit: {{needs: {needs}}}\n")


def test_the_process_has_it_too(tmp_path: Path) -> None:
    from tests.factories import IMAGE

    spec = apps.resolve_all(loaded(tmp_path, NEEDS), [replace(IMAGE)])
    assert spec.front.stated == STATED
