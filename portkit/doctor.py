"""What the machine that runs portkit has and lacks, with the command that fixes it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from portkit import kvm, process
from portkit.architecture import AMD64
from portkit.errors import ToolError
from portkit.guest.boot_partition import BIOS_LOADER, UEFI_LOADER
from portkit.guest.kit import cache_root
from portkit.needs import inside
from portkit.remote import aside_records, leases
from portkit.text import printable


@dataclass(frozen=True)
class Check:
    """One thing that was looked for.

    needed: portkit does not work without it. found: where it is, or why not. fix: a command or a
    sentence for when it is not `ok`.
    """

    name: str
    ok: bool
    needed: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Tool:
    """A program, the Debian package that has it, and what portkit uses it for."""

    program: str
    package: str
    why: str
    needed: bool = True


TOOLS = (
    Tool("ssh", "openssh-client", "reaching hosts"),
    Tool("qemu-img", "qemu-utils", "writing qcow2"),
    Tool("apt-get", "apt", "fetching the kernel of the GuestKit"),
    Tool("sfdisk", "fdisk", "the partitions of disks"),
    Tool("mkfs.vfat", "dosfstools", "the boot partition of disks"),
    Tool("mcopy", "mtools", "the boot partition of disks"),
    Tool("syslinux", "syslinux", "the boot loader of disks"),
    Tool("modinfo", "kmod", "the kernel modules of the GuestKit"),
    Tool(AMD64.qemu, "qemu-system-x86", "trying KVM on this machine", needed=False),
    Tool("mmdebstrap", "mmdebstrap", "making lab hosts", needed=False),
    Tool("ip", "iproute2", "the lab's network", needed=False),
)
DOCKER = Tool("docker", "docker.io", "building images on this machine", needed=False)
PODMAN = Tool("podman", "podman", "running images on this machine without Docker", needed=False)
PODMAN_SOCKET = Path("/run/podman/podman.sock")
LIBGUESTFS = "python3-guestfs guestfsd"

MODULES = (
    ("libvirt", "pip install 'portkit[disk]'  (first: apt-get install libvirt-dev pkg-config gcc)"),
    ("ziglang", "pip install 'portkit[disk]'"),
)

FILES = (
    (BIOS_LOADER, "syslinux-common", "BIOS boot"),
    (UEFI_LOADER, "systemd-boot-efi", "UEFI boot"),
)

KERNELS = Path("/boot")
_IMPORT_S = 30.0  # a library that hangs while it is loaded must not hang the doctor
_ENGINE_S = 30.0  # nor an engine that does not answer


def examine() -> list[Check]:
    """Look at everything. It takes some seconds, or kvm.DEADLINE_S where KVM hangs."""
    return [
        *(check_tool(tool) for tool in TOOLS),
        *(check_module(name, fix) for name, fix in MODULES),
        *(check_file(path, package, why) for path, package, why in FILES),
        check_docker(DOCKER),
        check_podman(PODMAN),
        check_libguestfs(),
        check_kvm(),
        *check_set_aside(),
        *check_markers(),
    ]


def check_set_aside() -> list[Check]:
    """Of this machine as the target of Moves: the records of what volumes had before, where one of
    them cannot be read. None where all can."""
    return [
        Check(
            "volumes set aside",
            False,
            False,
            f"{path} cannot be read",
            f"See what is in that file. What it set aside is beside each volume: portkit-was-"
            f"{Path(path).stem}",
        )
        for path in aside_records.unreadable()
    ]


def check_markers() -> list[Check]:
    """Of this machine as a host of Moves: the markers that cannot be read. None where all can."""
    return [
        Check(
            "marker of a Move", False, False, f"{error.details} ({error.brief})", error.resolution
        )
        for error in leases.unreadable().values()
    ]


def ready(checks: Iterable[Check]) -> bool:
    """Whether everything that is needed is there."""
    return all(check.ok or not check.needed for check in checks)


def check_tool(tool: Tool) -> Check:
    """Whether a program is in PATH."""
    path = shutil.which(tool.program)
    return Check(
        tool.program,
        path is not None,
        tool.needed,
        path or f"not found ({tool.why})",
        f"apt-get install {tool.package}",
    )


def check_module(name: str, fix: str, env: Mapping[str, str] | None = None) -> Check:
    """Whether a Python module can be imported.

    Only an import shows that the library of a module fits this version of Python. It is done in a
    process of its own, because a library that does not fit can end the process.
    """
    # -P (Python 3.11): the working folder is not searched, where a file may have that name.
    argv = [sys.executable, "-P", "-c", f"import {name}"]
    try:
        done = process.run(argv, env=env, timeout=_IMPORT_S, check=False)
        ok, found = done.code == 0, _last_words(done)
    except ToolError as error:
        ok, found = False, error.brief
    return Check(f"python {name}", ok, True, "importable" if ok else found, fix)


def check_docker(tool: Tool) -> Check:
    """Whether a container engine answers the program that asks it here."""
    argv = [tool.program, "version", "--format", "{{.Server.Version}}"]
    fix = "systemctl start docker, or let this user reach its socket: adduser USER docker"
    return _check_engine(tool, argv, fix)


def check_podman(tool: Tool, socket: Path = PODMAN_SOCKET) -> Check:
    """Whether Podman is here, and its service listens where portkit asks it."""
    argv = [tool.program, "version", "--format", "{{.Version}}"]
    fix = "Run that command: it prints why. Usually reinstalling helps: apt-get install --reinstall"
    check = _check_engine(tool, argv, f"{fix} {tool.package}")
    if not check.ok:
        return check
    try:
        listens = stat.S_ISSOCK(socket.stat().st_mode)
    except PermissionError:
        found = f"{check.found}; this user may not look into {socket.parent}"
        return replace(check, ok=False, found=found, fix="Run portkit doctor as root.")
    except (FileNotFoundError, NotADirectoryError):
        listens = False
    if listens:
        return check
    found = f"{check.found}; nothing listens at {socket}"
    return replace(check, ok=False, found=found, fix="systemctl enable --now podman.socket")


def _check_engine(tool: Tool, argv: Sequence[str], fix: str) -> Check:
    there = check_tool(tool)
    if not there.ok:
        return there
    try:
        done = process.run(argv, timeout=_ENGINE_S, check=False)
        ok = done.code == 0
        version = printable(done.text.strip(), 60)
        found = f"{there.found}, engine {version}" if ok else _last_words(done)
    except ToolError as error:
        ok, found = False, error.brief
    return Check(tool.program, ok, tool.needed, found, fix)


def check_libguestfs() -> Check:
    """Whether the Python that looks into disks of others has libguestfs, and what starts it."""
    argv = [inside.python(), "-I", "-c", "import guestfs"]
    try:
        done = process.run(argv, timeout=_IMPORT_S, check=False)
        ok, found = done.code == 0, _last_words(done)
    except ToolError as error:
        ok, found = False, error.brief
    if ok and not shutil.which("guestfsd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        ok, found = False, "guestfsd not found (its appliance is made of it)"
    found = f"{argv[0]} has it" if ok else f"{found} (looking into disks of others)"
    return Check("libguestfs", ok, False, found, f"apt-get install {LIBGUESTFS}")


def _last_words(done: process.Completed) -> str:
    said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.code}"
    return printable(said.splitlines()[-1], 300)


def check_file(path: Path, package: str, why: str) -> Check:
    """Whether a file of a Debian package is there."""
    there = path.is_file()
    found = str(path) if there else f"not found ({why})"
    return Check(why, there, True, found, f"apt-get install {package}")


def check_kvm(device: Path = kvm.DEVICE, deadline_s: float = kvm.DEADLINE_S) -> Check:
    """Whether a kernel runs under KVM here: /dev/kvm alone proves nothing (see `portkit.kvm`)."""
    without = "Disks boot under emulation, which is slower. Enable nested virtualisation for KVM."
    cached = sorted((cache_root() / "kernels").glob("*/boot/vmlinuz-*"))
    # A kit's own kernel first: it is the one that disks will boot.
    kernels = [*cached[-1:], *sorted(KERNELS.glob("vmlinuz-*"))[-1:]]
    if device.exists() and not kernels:
        fix = f"portkit pack fetches one; or apt-get install {AMD64.kernel}  ({without})"
        return Check("kvm", False, False, f"not tried: no kernel in {KERNELS}", fix)
    proof = kvm.prove(kernels[0] if kernels else KERNELS, device=device, deadline_s=deadline_s)
    return Check("kvm", proof.works, False, proof.reason, "" if proof.works else without)
