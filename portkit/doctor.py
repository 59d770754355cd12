"""What the machine that runs portkit has, lacks, and the command that mends it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from portkit import process
from portkit.errors import ToolError


@dataclass(frozen=True)
class Check:
    """One thing looked for. `mend` is a command (or sentence) for when it is not `ok`."""

    name: str
    ok: bool
    needed: bool
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Tool:
    program: str
    package: str
    why: str
    needed: bool = True


TOOLS = (
    Tool("ssh", "openssh-client", "reaching hosts"),
    Tool("qemu-img", "qemu-utils", "writing qcow2"),
    Tool("apt-get", "apt", "fetching the kernel of the GuestKit"),
    Tool("qemu-system-x86_64", "qemu-system-x86", "booting disks on this machine"),
    Tool("mmdebstrap", "mmdebstrap", "making lab hosts", needed=False),
    Tool("ip", "iproute2", "the lab's network", needed=False),
    Tool("docker", "docker.io", "building images on this machine", needed=False),
)

MODULES = (
    ("libvirt", "pip install 'portkit[disk]'  (first: apt-get install libvirt-dev pkg-config gcc)"),
    ("guestfs", "apt-get install python3-guestfs, and an environment that sees it"),
    ("ziglang", "pip install 'portkit[disk]'"),
)

FILES = (
    (Path("/usr/lib/syslinux/mbr/gptmbr.bin"), "syslinux-common", "BIOS boot"),
    (Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi"), "systemd-boot-efi", "UEFI boot"),
)

KERNELS = Path("/boot")
KVM_DEADLINE_S = 8.0


def examine() -> list[Check]:
    """Look at everything; takes a second, or KVM_DEADLINE_S where KVM hangs."""
    return [
        *(check_tool(tool) for tool in TOOLS),
        *(check_module(name, mend) for name, mend in MODULES),
        *(check_file(path, package, why) for path, package, why in FILES),
        check_kvm(),
    ]


def ready(checks: Iterable[Check]) -> bool:
    """Whether nothing that is needed is missing."""
    return all(check.ok or not check.needed for check in checks)


def check_tool(tool: Tool) -> Check:
    path = shutil.which(tool.program)
    return Check(
        tool.program,
        path is not None,
        tool.needed,
        path or f"not found ({tool.why})",
        f"apt-get install {tool.package}",
    )


def check_module(name: str, mend: str) -> Check:
    spec = importlib.util.find_spec(name)
    return Check(f"python {name}", spec is not None, True, "importable" if spec else "absent", mend)


def check_file(path: Path, package: str, why: str) -> Check:
    there = path.is_file()
    found = str(path) if there else f"not found ({why})"
    return Check(why, there, True, found, f"apt-get install {package}")


def check_kvm(device: Path = Path("/dev/kvm"), deadline_s: float = KVM_DEADLINE_S) -> Check:
    """Run a kernel under KVM until it gives up for want of a root, or the deadline passes.

    Neither that the device opens nor that firmware runs proves anything: on a machine with broken
    nested KVM a 16-bit ROM ended at once and as it should, and a kernel hung for ever. A kernel
    without a root panics after 2 s under emulation, and panic=-1 with -no-reboot ends QEMU.
    """
    without = "Disks boot under emulation (slower); enable nested virtualisation for KVM."
    if not device.exists():
        return Check("kvm", False, False, "no /dev/kvm", without)
    kernels = sorted(KERNELS.glob("vmlinuz-*"))
    if not kernels:
        mend = f"apt-get install linux-image-cloud-amd64  ({without})"
        return Check("kvm", False, False, f"not tried: no kernel in {KERNELS}", mend)
    argv = [
        "qemu-system-x86_64", "-accel", "kvm", "-m", "256", "-nodefaults", "-no-user-config",
        "-display", "none", "-no-reboot", "-serial", "stdio",
        "-kernel", str(kernels[-1]), "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    try:
        done = process.run(argv, timeout=deadline_s, check=False)
    except ToolError as error:
        return Check("kvm", False, False, f"does not work: {error.brief}", without)
    return judge_kvm(done, without)


def judge_kvm(done: process.Completed, without: str) -> Check:
    """KVM works only if the kernel itself was heard on the serial line and QEMU ended well."""
    if done.code == 0 and b"Linux version" in done.stdout:
        return Check("kvm", True, False, "a kernel ran under it")
    reason = done.stderr.decode("utf-8", "replace").strip()[:200] or "the kernel was not heard"
    return Check("kvm", False, False, f"does not work: {reason}", without)
