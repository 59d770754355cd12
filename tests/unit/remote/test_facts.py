"""What is found out about QEMU and KVM on hosts of several kinds."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from portkit.remote import facts


def on(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    machine: str,
    *,
    kernel: bytes = b"MZ" + bytes(98),
) -> list[list[str]]:
    """A host of that machine with KVM and its own kernel. Answers the commands that are run."""
    ran: list[list[str]] = []

    def run(argv: list[str], **_: object) -> SimpleNamespace:
        ran.append(argv)
        return SimpleNamespace(returncode=0, stdout=b"[0.0] Linux version 6.1")

    (folder / "vmlinuz-6.1").write_bytes(kernel)
    (folder / "kvm").touch()
    told = SimpleNamespace(machine=machine, release="6.1")
    monkeypatch.setattr(os, "uname", lambda: told)
    monkeypatch.setattr(facts, "_KVM", str(folder / "kvm"))
    monkeypatch.setattr(facts, "_KERNELS", (f"{folder}/absent-%s", f"{folder}/vmlinuz-%s"))
    monkeypatch.setattr(facts, "subprocess", SimpleNamespace(run=run, TimeoutExpired=TimeoutError))
    return ran


@pytest.mark.parametrize(
    ("machine", "console", "words"),
    [("x86_64", "ttyS0", []), ("aarch64", "ttyAMA0", ["virt,gic-version=max", "host"])],
)
def test_kvm_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, console: str, words: list[str]
) -> None:
    ran = on(monkeypatch, tmp_path, machine)
    assert facts.accelerator("/q") == ("kvm", "a kernel ran under it")
    (argv,) = ran
    assert argv[0] == "/q"
    assert set(words) < set(argv)
    assert f"console={console} panic=-1" in argv
    assert f"{tmp_path}/vmlinuz-6.1" in argv


def test_where_kvm_cannot_be_tried_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = on(monkeypatch, tmp_path, "riscv64")
    assert facts.accelerator("/q")[1].endswith("portkit has no trial for riscv64")
    assert facts.accelerator(None)[1].endswith("there is no QEMU for riscv64")
    on(monkeypatch, tmp_path, "aarch64", kernel=b"MZ\0\0zimg" + bytes(99))
    assert "no kernel of this host" in facts.accelerator("/q")[1], "not every QEMU unpacks it"
    (tmp_path / "kvm").unlink()
    assert facts.accelerator("/q") == ("tcg", "/dev/kvm is not there")
    assert not ran


def test_red_hats_qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    qemu = tmp_path / "qemu-kvm"
    qemu.write_text("#!/bin/sh\necho QEMU emulator version 9.0.0 '(qemu-kvm-9.0.0-10.el9)'\n")
    monkeypatch.setattr(facts, "_RED_HAT", str(qemu))
    monkeypatch.setenv("PATH", "/nowhere")
    assert facts.emulator(os.uname().machine) is None, "it cannot be run"
    qemu.chmod(0o755)
    row = facts._virtual()
    assert row["qemu_binary"] == str(qemu)
    assert row["qemu_version"] == "9.0.0"
    assert row["emulators"] == [facts.architecture(os.uname().machine)]


def test_the_networks_that_a_qemu_was_built_with() -> None:
    text = "Available netdev backend types:\nsocket\nuser\ntap\nbridge"
    assert facts.netdevs(text) == ["bridge", "socket", "tap", "user"]
    assert facts.netdevs("") is None
    assert facts.netdevs("qemu: invalid option") is None
