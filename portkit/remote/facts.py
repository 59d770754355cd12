"""What this host is and has, read without changing anything."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from portkit.remote import engine, engine_facts, linux, store
from portkit.remote.channel import Channel
from portkit.wire.json_types import JsonObject

_KVM_SECONDS = 15.0
# Where distributions install the firmware (Debian and Ubuntu, Red Hat, SUSE, Arch), by the machine
# of uname(2); libvirt chooses the file itself by its descriptors.
_UEFI = {
    "x86_64": (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/qemu/ovmf-x86_64-code.bin",
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    ),
    "aarch64": (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw",
        "/usr/share/qemu/aavmf-aarch64-code.bin",
        "/usr/share/edk2/aarch64/QEMU_CODE.fd",
    ),
}
_TCP_LISTEN, _UDP_BOUND = "0A", "07"  # include/net/tcp_states.h
TOOLS = ("qemu-img", "mkfs.ext4", "prlimit")  # what instances.py runs
LIBVIRT_SOCKETS = ("/var/run/libvirt/libvirt-sock", "/var/run/libvirt/virtqemud-sock")
# What only a trial shows, which may take long. It stays true while `kept_mark` is the same.
KEPT = ("accelerator", "accelerator_note")
_KVM = "/dev/kvm"
_EMULATOR = "qemu-system-"
# Red Hat's QEMU, which is for the machine's own processor alone, and in nobody's PATH.
_RED_HAT = "/usr/libexec/qemu-kvm"
# How a kernel of the host runs under KVM: what QEMU needs for it, and the kernel's console. The
# host's own interrupt controller, where the architecture has several.
_TRIALS: Dict[str, Tuple[List[str], str]] = {
    "x86_64": ([], "ttyS0"),
    "aarch64": (["-machine", "virt,gic-version=max", "-cpu", "host"], "ttyAMA0"),
}
_KERNELS = ("/boot/vmlinuz-%s", "/usr/lib/modules/%s/vmlinuz", "/lib/modules/%s/vmlinuz")
_PACKED_IN_EFI = b"zimg"  # drivers/firmware/efi/libstub/zboot-header.S: not every QEMU unpacks it
# What uname(2) says, in Go's words; riscv64, ppc64le and s390x are the same in both.
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",  # a 32-bit personality on 64 bits
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "loongarch64": "loong64",
}


def gather(args: JsonObject, channel: Channel) -> JsonObject:
    """The fields of portkit.model.Facts but for host and endpoint."""
    release = _os_release()
    memory = _meminfo()
    row: JsonObject = {
        "os_id": release.get("ID", "unknown"),
        "os_version": release.get("VERSION_ID", release.get("VERSION_CODENAME", "")),
        "os_name": release.get("PRETTY_NAME", "unknown"),
        "architecture": architecture(os.uname().machine),
        "kernel": os.uname().release,
        # Those that this process may use: a container or a cpuset may have fewer than the machine.
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": memory.get("MemTotal", 0),
        "memory_available_bytes": memory.get("MemAvailable", 0),
        "swap_bytes": memory.get("SwapTotal"),
        "store_free_bytes": _free(store.ROOT),
        "python": sys.version.split()[0],
        "loop_s": loop_s(),
        "uefi": any(os.path.exists(path) for path in _UEFI.get(os.uname().machine, ())),
        "missing_tools": [name for name in TOOLS if shutil.which(name, path=tool_path()) is None],
        "unprivileged_port_start": _unprivileged_port_start(),
        "listening": listening("tcp"),
        "listening_udp": listening("udp"),
        "addresses": addresses(),
        "linux": linux.gather(args.get("ask")),
    }
    row.update(_docker())
    row.update(_virtual())
    row["kept_mark"] = _kept_mark(row)
    known = args.get("kept")
    if isinstance(known, dict) and known.get("kept_mark") == row["kept_mark"]:
        row.update({name: known[name] for name in KEPT}, was_kept=True)
    else:
        row["accelerator"], row["accelerator_note"] = accelerator(row["qemu_binary"])
    del row["qemu_binary"]
    row["libvirt_socket"] = libvirt_socket()
    return row


def architecture(machine: str) -> str:
    """The name that images have for a machine."""
    return _MACHINES.get(machine, machine)


def _kept_mark(row: JsonObject) -> str:
    """What a trial of the accelerator depends on: this start of the kernel, QEMU, the device."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    device = os.stat(_KVM).st_mode if os.path.exists(_KVM) else 0
    return "%s %s %s %o" % (boot, row["kernel"], row.get("qemu_version"), device)


def loop_s() -> float:
    """Seconds that a small loop takes here now, by the wall clock: the median of three.

    0.02 to 0.04 on processors of 2020 and later, whatever the Python. `portkit.health` compares.
    """
    return sorted(_loop() for _ in range(3))[1]


def _loop() -> float:
    begun = time.monotonic()
    number = 0
    for step in range(400_000):
        number = (number * 31 + step) & 0xFFFF
    return round(time.monotonic() - begun, 4)


def tool_path() -> str:
    """A login's PATH may lack the folders of the administrator's tools."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def _os_release() -> Dict[str, str]:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    return os_release(text)


def os_release(text: str) -> Dict[str, str]:
    """os-release(5), values without their quotes. Pure."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}


def _meminfo() -> Dict[str, int]:
    """/proc/meminfo in bytes."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3}


def _unprivileged_port_start() -> int:
    """ip(7): the first port that a program without rights may bind."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _free(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(str(path)).free


def _docker() -> JsonObject:
    info = engine.info()
    if info is None:
        return {}
    containerd, version = engine.containerd_store(info), engine.get_object("/version")
    podman = engine.podman(info)
    # Another program than runc may start Podman's containers.
    other = podman and engine.text(info, "DefaultRuntime") != "runc"
    runc = [] if other else engine_facts.runc_command(tool_path())
    networks = engine.get_rows("/networks")
    return {
        "docker_version": engine.text(info, "ServerVersion") or None,
        "docker_store": "containerd" if containerd else engine.text(info, "Driver") or None,
        "docker_free_bytes": _free(engine.root(info)),
        "networks": sorted({engine.text(row, "Name") for row in networks}),
        "subnets": engine_facts.subnets(networks),
        "network_kinds": engine_facts.network_kinds(networks),
        "volumes": sorted({engine.text(row, "Name") for row in engine.volumes()}),
        "docker_buildx": bool(_output(["docker", "buildx", "version"])),
        "engine": {
            **engine_facts.of_info(info),
            "init": engine_facts.init(info, tool_path()),
            **engine_facts.of_version(version),
            **engine_facts.of_runc(_output(runc or ["false"])),
            **(engine_facts.of_podman() if podman else {}),
        },
    }


def _output(argv: List[str]) -> str:
    """Standard output of a short command, "" when it fails or is absent."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def _virtual() -> JsonObject:
    binary = emulator(os.uname().machine)
    row: JsonObject = {"qemu_binary": binary}
    there = {name for machine, name in _MACHINES.items() if shutil.which(_EMULATOR + machine)}
    there |= {architecture(os.uname().machine)} if binary else set()
    row["emulators"] = sorted(there)
    if binary:
        words = _output([binary, "--version"]).split()
        row["qemu_version"] = words[3] if len(words) > 3 else None
        row["netdevs"] = netdevs(_output([binary, "-machine", "none", "-netdev", "help"]))
    if libvirt_socket():
        text = _output(["virsh", "-c", "qemu:///system", "version", "--daemon"])
        lines = [line for line in text.splitlines() if line.startswith("Running against daemon")]
        row["libvirt_version"] = lines[0].split()[-1] if lines else (text and "unknown") or None
    row["qemu_user"], row["qemu_group"] = qemu_account()
    return row


def netdevs(text: str) -> Optional[List[str]]:
    """The kinds of networks that a QEMU was built with, of its own list; None where it has none."""
    title, _, rows = text.partition("\n")
    return sorted(rows.split()) if title.startswith("Available netdev") else None


def emulator(machine: str) -> Optional[str]:
    """QEMU's program for guests of this host's own architecture."""
    found = shutil.which(_EMULATOR + machine)
    return found or (_RED_HAT if os.access(_RED_HAT, os.X_OK) else None)


def libvirt_socket() -> Optional[str]:
    """The monolithic daemon's socket, else the modular one's."""
    for path in LIBVIRT_SOCKETS:
        if os.path.exists(path):
            return path
    return None


def qemu_account() -> Tuple[Optional[str], Optional[str]]:
    """User and group that libvirt runs QEMU as: qemu.conf, else the distribution's own."""
    import grp
    import pwd

    users = {entry.pw_name for entry in pwd.getpwall()}
    groups = {entry.gr_name for entry in grp.getgrall()}
    # Debian's and Ubuntu's package, and Fedora's.
    user: Optional[str] = next((name for name in ("libvirt-qemu", "qemu") if name in users), None)
    group: Optional[str] = next(
        (name for name in ("libvirt-qemu", "qemu", "kvm") if name in groups), None
    )
    try:
        lines = Path("/etc/libvirt/qemu.conf").read_text(errors="replace").splitlines()
    except (FileNotFoundError, PermissionError):
        lines = []
    for line in lines:
        key, _, value = line.partition("=")
        # "+0" means the number 0 and not a user of that name (qemu.conf's own comments).
        name = value.strip().strip('"').lstrip("+")
        if key.strip() == "user" and name:
            user = name
        elif key.strip() == "group" and name:
            group = name
    return user, group


def accelerator(binary: Optional[str]) -> Tuple[str, str]:
    """("kvm" or "tcg", why). KVM counts only where a kernel was heard in a guest under it.

    /dev/kvm may open, answer its version and even run a boot sector to its end on machines where
    every kernel hangs. The guest is the host's own kernel without a root: it panics at once.
    """
    if not os.path.exists(_KVM):
        return "tcg", "/dev/kvm is not there"
    machine = os.uname().machine
    kernel = own_kernel()
    why = "" if binary else "there is no QEMU for %s" % machine
    why = why or ("" if machine in _TRIALS else "portkit has no trial for %s" % machine)
    why = why or ("" if kernel else "no kernel of this host in /boot that QEMU starts")
    if why:
        return "tcg", "a guest under KVM was not tried: " + why
    more, console = _TRIALS[machine]
    argv = [str(binary), "-accel", "kvm", "-m", "512", "-nodefaults", "-no-user-config", *more]
    # With panic=-1 the kernel reboots at once, which -no-reboot makes the end of QEMU, with status
    # 0.
    argv += ["-display", "none", "-no-reboot", "-serial", "stdio"]
    argv += ["-kernel", str(kernel), "-append", "console=%s panic=-1" % console]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_KVM_SECONDS)
    except subprocess.TimeoutExpired:
        return "tcg", "a guest under KVM did not end within %d s" % _KVM_SECONDS
    if done.returncode == 0 and b"Linux version" in done.stdout:
        return "kvm", "a kernel ran under it"
    return "tcg", "QEMU could not run a kernel under KVM"


def own_kernel() -> Optional[str]:
    """The file of the kernel that runs here, if QEMU starts such a file."""
    for form in _KERNELS:
        path = form % os.uname().release
        try:
            with open(path, "rb") as file:
                head = file.read(8)
        except OSError:
            continue
        if head[4:8] != _PACKED_IN_EFI:
            return path
    return None


def listening(protocol: str) -> List[Tuple[str, int]]:
    """(address, port) of the sockets of "tcp" or "udp" that take what comes from outside.

    Read from /proc/net/{tcp,udp}{,6} (proc(5)), where addresses are little-endian hex."""
    state = _TCP_LISTEN if protocol == "tcp" else _UDP_BOUND
    found = set()
    for name, family in ((protocol, socket.AF_INET), (protocol + "6", socket.AF_INET6)):
        try:
            lines = Path("/proc/net/" + name).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] != state:
                continue
            address, port = columns[1].split(":")
            # Each group of eight digits is a word of 32 bits in the host's own order, as the kernel
            # prints it with %08X.
            words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
            packed = struct.pack("=%dI" % len(words), *words)
            found.add((socket.inet_ntop(family, packed), int(port, 16)))
    return sorted(found)


def addresses() -> Optional[List[str]]:
    """The host's own addresses, without 127.0.0.0/8; None where a program may bind to others too
    (ip_nonlocal_bind of ip-sysctl), or where the kernel does not list them."""
    found = set()
    try:
        for family in ("ipv4", "ipv6"):
            switch = Path("/proc/sys/net/%s/ip_nonlocal_bind" % family)
            if switch.exists() and switch.read_text().strip() != "0":
                return None
        # "|-- 192.0.2.1" and below it "/32 host LOCAL", in each routing table (fib_trie.c).
        for line in Path("/proc/net/fib_trie").read_text().splitlines():
            words = line.split()
            if words[:1] == ["|--"]:
                address = words[1]
            elif words == ["/32", "host", "LOCAL"] and not address.startswith("127."):
                found.add(address)
        if Path("/proc/net/if_inet6").exists():
            for line in Path("/proc/net/if_inet6").read_text().splitlines():
                found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])))
    except OSError:
        return None
    return sorted(found)
