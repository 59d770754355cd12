from pathlib import Path

from portkit import kvm
from portkit.process import Completed


def test_no_device_is_no_kvm(tmp_path: Path) -> None:
    proof = kvm.prove(tmp_path / "kernel", device=tmp_path / "kvm")
    assert not proof.works
    assert "no " in proof.reason


def test_kvm_is_believed_only_when_a_kernel_was_heard() -> None:
    assert kvm.judge(Completed(0, b"[0.0] Linux version 6.1", b"")).works
    silent = kvm.judge(Completed(0, b"", b""))
    assert not silent.works
    assert "printed nothing" in silent.reason
    failed = kvm.judge(Completed(1, b"Linux version", b"no KVM for you"))
    assert not failed.works
    assert "no KVM for you" in failed.reason
