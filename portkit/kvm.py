"""Whether KVM works on this machine, learnt by running a kernel in it under a deadline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portkit import process
from portkit.architecture import AMD64
from portkit.errors import ToolError

DEVICE = Path("/dev/kvm")
# Seconds, four times what a kernel takes to give up under emulation, which is far slower than KVM.
DEADLINE_S = 8.0


@dataclass(frozen=True)
class Proof:
    """works: only where a kernel was heard under it. reason: what was seen."""

    works: bool
    reason: str


def prove(kernel: Path, *, device: Path = DEVICE, deadline_s: float = DEADLINE_S) -> Proof:
    """Run a kernel under KVM until it gives up for want of a root, or the deadline passes.

    Neither that the device opens nor that firmware runs proves anything: on a machine with broken
    nested KVM a 16-bit ROM ended at once and as it should, and a kernel hung for ever. A kernel
    without a root panics after 2 s under emulation, and panic=-1 with -no-reboot ends QEMU.
    """
    if not device.exists():
        return Proof(False, f"no {device}")
    argv = [AMD64.qemu, "-accel", "kvm", "-m", "256", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-no-reboot", "-serial", "stdio"]
    argv += ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        done = process.run(argv, timeout=deadline_s, check=False)
    except ToolError as error:
        return Proof(False, f"does not work: {error.brief}")
    return judge(done)


def judge(done: process.Completed) -> Proof:
    """KVM works only if the kernel itself was heard on the serial line and QEMU ended well."""
    if done.code == 0 and b"Linux version" in done.stdout:
        return Proof(True, "a kernel ran under it")
    reason = done.stderr.decode("utf-8", "replace").strip()[:200] or "the kernel printed nothing"
    return Proof(False, f"does not work: {reason}")
