"""The cells of the truth table, as data: artifacts, hosts, and what is done to a host before.

To add a cell, add a row to CELLS; for a new kind of artifact, add a row to ARTIFACTS.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench import compat_arm, compat_podman, compat_settings
from bench.compat_kinds import Artifact, Program, each
from portkit.model import Form
from tests import elves

IMAGE, DISK = Form.IMAGE, Form.DISK
LOADER, LIBC = "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"
MAPS = 262144
MUCH = 256 << 20


PROGRAMS = {
    "static": Program(),
    "glibc": Program(dynamic=True),
    "marked": Program(("-Wl,-z,x86-64-v3",), dynamic=True),
    "marked-v4": Program(("-Wl,-z,x86-64-v4",), dynamic=True),
    "unmarked": Program(("-mcpu=x86_64_v3", "-DSUM", "-O3", "-ffast-math")),
    "unmarked-v2": Program(("-mcpu=x86_64_v2", "-DBITS")),
    "unmarked-v4": Program(
        ("-mcpu=x86_64_v4", "-DSUM", "-O3", "-ffast-math", "-mprefer-vector-width=512")
    ),
    "ring": Program(("-DRING",)),
    "seal": Program(("-DSEAL",)),
    **compat_arm.PROGRAMS,
}
_GLIBC = (LOADER, LIBC)
_PORTS = {name: number for number, name in enumerate(("taken", "six"), 8091)}


def noted() -> Mapping[str, bytes]:
    """A program for glibc 2.35, and a library with an ABI note: only read, never started."""
    program = elves.elf(interpreter=elves.LOADER, needed=("libc.so.6", "libnoted.so"))
    library = elves.elf(soname="libnoted.so", kernel=(3, 17, 0))
    return {"/app": program, "/lib/libnoted.so": library, **elves.glibc("GLIBC_2.35")}


ARTIFACTS = {
    "static": Artifact("a static program"),
    "uefi": Artifact("the same, its disk for UEFI", portkit={"firmware": "uefi"}),
    "glibc": Artifact("a program for glibc, with it", "glibc", own=_GLIBC),
    "no-loader": Artifact("a program for glibc, in an image without its loader", "glibc"),
    "no-library": Artifact("a program for glibc, without the C library", "glibc", own=(LOADER,)),
    "script": Artifact("a script whose interpreter is not in the image", "#!/bin/sh\nexec true\n"),
    "crlf": Artifact("a script with the line ends of Windows", "#!/app\r\n"),
    "no-mode": Artifact("a program without the mode x", mode=0o644),
    "no-command": Artifact("a command that is not in the image", service={"command": ["/nothing"]}),
    # The kernel knows a program of Windows by these two letters, and refuses it.
    "windows": Artifact("an image for Windows", "MZ" + "\0" * 62, system="windows"),
    "v3-marked": Artifact("a v3 program with its note", "marked", own=_GLIBC),
    "v4-marked": Artifact("a v4 program with its note", "marked-v4", own=_GLIBC),
    "v3-unmarked": Artifact("a program with AVX2, without a note", "unmarked"),
    "v2-unmarked": Artifact("a program with SSE4.2, without a note", "unmarked-v2"),
    "v4-unmarked": Artifact("a program with AVX-512, without a note", "unmarked-v4"),
    "v2-unmarked-qemu64": Artifact(
        "a program with SSE4.2, without a note, CPU qemu64",
        "unmarked-v2",
        portkit={"cpu_model": "qemu64"},
    ),
    "seal": Artifact("a program that calls mseal where the kernel has it", "seal"),
    "io-uring": Artifact("a program that uses io_uring where it may", "ring"),
    "bubblewrap": Artifact(
        "bubblewrap as the command",
        None,
        {"command": ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "sleep", "infinity"]},
    ),
    "iptables": Artifact(
        "iptables-legacy",
        None,
        {
            "command": ["sh", "-c", "iptables -L -n > /dev/null && exec sleep infinity"],
            "cap_add": ["NET_ADMIN", "NET_RAW"],
        },
    ),
    "iptables-try": Artifact(
        "an app that tries iptables-legacy and goes on",
        None,
        {
            "command": ["sh", "-c", "iptables -L -n; exec sleep infinity"],
            "cap_add": ["NET_ADMIN", "NET_RAW"],
        },
    ),
    "attested": Artifact("a static program in an index with provenance", attested=True),
    "systemd": Artifact(
        "systemd 262 as init",
        None,
        {
            "cap_add": ["SYS_ADMIN"],
            "security_opt": ["seccomp=unconfined"],
            "tmpfs": ["/run", "/tmp"],
            "tty": True,
        },
        dockerfile="Dockerfile.systemd",
    ),
    "rpm": Artifact(
        "rpm, with an open-files limit of 2^30",
        None,
        {"command": ["sleep", "infinity"], "ulimits": {"nofile": 1 << 30}},
    ),
    "redis": Artifact(
        "redis of Debian 12: glibc 2.36, threads", None, {"command": ["redis-server"]}
    ),
    "memory": Artifact("a VM of 500 GiB", portkit={"memory": "500g"}),
    "bulk": Artifact("an image of 48 MB that no zip makes smaller", bulk=48 << 20),
    "port": Artifact("a published port", service={"ports": [f"{_PORTS['taken']}:80"]}),
    "ipv6": Artifact("a port on ::1", service={"ports": [f"[::1]:{_PORTS['six']}:80"]}),
    "maps": Artifact(
        "an app that checks vm.max_map_count",
        service={"command": ["/app", "maps", str(MAPS)]},
        portkit={"needs": {"sysctls": {"vm.max_map_count": MAPS}}},
    ),
    "maps-set": Artifact(
        "the same, which sets it in its file",
        service={"command": ["/app", "maps", str(MAPS)], "sysctls": {"vm.max_map_count": MAPS}},
        portkit={"needs": {"sysctls": {"vm.max_map_count": MAPS}}},
    ),
    "files": Artifact(
        "more open files than the kernel allows", service={"ulimits": {"nofile": 1 << 30}}
    ),
    "files-few": Artifact(
        "more open files than its own limit",
        service={"command": ["/app", "files", "65536"], "ulimits": {"nofile": 1024}},
        portkit={"needs": {"open_files": 65536}},
    ),
    "shm": Artifact(
        "256 MiB of shared memory needed, 64 given",
        service={"command": ["/app", "shm", str(MUCH)]},
        portkit={"needs": {"shared_memory": MUCH}},
    ),
    "shm-set": Artifact(
        "256 MiB of shared memory needed and asked for",
        service={"command": ["/app", "shm", str(MUCH)], "shm_size": MUCH},
        portkit={"needs": {"shared_memory": MUCH}, "memory": "1g"},
    ),
    "huge": Artifact(
        "64 MiB of huge pages",
        service={"command": ["/app", "huge", str(64 << 20)]},
        portkit={"needs": {"huge_pages": "64m"}},
    ),
    "device": Artifact("a device that is not there", service={"devices": ["/dev/kvm"]}),
    "module": Artifact(
        "an app that makes a wireguard interface",
        service={"command": ["/app", "module", "wireguard"], "cap_add": ["NET_ADMIN"]},
        portkit={"needs": {"modules": ["wireguard"]}},
    ),
    "cpu-qemu64": Artifact("a static program", portkit={"cpu_model": "qemu64"}),
    "v3-marked-qemu64": Artifact(
        "a v3 program with its note, CPU qemu64",
        "marked",
        own=_GLIBC,
        portkit={"cpu_model": "qemu64"},
    ),
    "v3-marked-v2": Artifact(
        "a v3 program with its note, CPU Nehalem (v2)",
        "marked",
        own=_GLIBC,
        portkit={"cpu_model": "Nehalem"},
    ),
    "v3-unmarked-qemu64": Artifact(
        "a program with AVX2, without a note, CPU qemu64",
        "unmarked",
        portkit={"cpu_model": "qemu64"},
    ),
    "v3-unmarked-v2": Artifact(
        "a program with AVX2, without a note, CPU Nehalem (v2)",
        "unmarked",
        portkit={"cpu_model": "Nehalem"},
    ),
    "v3-marked-v3": Artifact(
        "a v3 program with its note, CPU Haswell (v3)",
        "marked",
        own=_GLIBC,
        portkit={"cpu_model": "Haswell"},
    ),
    "low-port": Artifact("a published port below 1024", service={"ports": ["80:80"]}),
    "kernel": Artifact("a program with a library whose ABI note asks for Linux 3.17", files=noted),
    **compat_settings.ARTIFACTS,
    **compat_podman.ARTIFACTS,
    **compat_arm.ARTIFACTS,
}

_LAB = ("alpha", "beta", "gamma")
_ABSENT = ("no such file or directory", "No such file or directory")
_SIGILL = ("exited with code 132",)
_LEVEL = ("CPU ISA level is lower than required",)
_DENIED = ("Operation not permitted", "operation not permitted", "permission denied")
CELLS = (
    *each("static", IMAGE, *_LAB),
    *each("static", DISK, *_LAB),
    *each("uefi", DISK, "beta", "gamma"),
    *each("glibc", IMAGE, "alpha", "gamma"),
    *each(
        "no-loader", IMAGE, *_LAB, source="docker-alpine#219", rule="missing-loader", shows=_ABSENT
    ),
    *each(
        "no-loader", DISK, "beta", source="docker-alpine#219", rule="missing-loader", shows=_ABSENT
    ),
    *each("no-library", IMAGE, "alpha", "gamma", rule="missing-library", shows=_ABSENT),
    *each("script", IMAGE, "beta", rule="missing-command", shows=_ABSENT),
    *each("crlf", IMAGE, "beta", rule="missing-command", shows=_ABSENT),
    *each("no-mode", IMAGE, "beta", rule="not-executable", shows=_DENIED),
    *each("no-command", IMAGE, "beta", rule="missing-command", shows=_ABSENT),
    *each("windows", IMAGE, "beta", "gamma", rule="system"),
    *each("windows", DISK, "beta", rule="system"),
    *each("v3-marked", IMAGE, "beta"),
    *each("v3-marked", DISK, "beta", source="QEMU's maximum is v3"),
    *each("v3-marked-qemu64", DISK, "beta", source="kuvasz#346", rule="cpu-level", shows=_LEVEL),
    *each("v3-marked-v2", DISK, "beta", source="kuvasz#346", rule="cpu-level", shows=_LEVEL),
    # Whether these run depends on the processor of this machine.
    *each("v4-marked", IMAGE, "beta", source="kuvasz#346"),
    *each("v4-unmarked", IMAGE, "gamma", source="kuvasz#346"),
    *each("v4-unmarked", DISK, "gamma", source="kuvasz#346", rule="cpu-level", shows=_SIGILL),
    *each("v2-unmarked", DISK, "beta"),
    *each(
        "v2-unmarked-qemu64",
        DISK,
        "alpha",
        source="pulp-oci-images#772",
        rule="cpu-level",
        shows=_SIGILL,
    ),
    *each("v4-marked", DISK, "gamma", source="kuvasz#346", rule="cpu-level", shows=_LEVEL),
    *each("v3-unmarked", IMAGE, "alpha"),
    *each("v3-unmarked", DISK, "alpha"),
    *each(
        "v3-unmarked-qemu64",
        DISK,
        "alpha",
        source="pulp-oci-images#772",
        rule="cpu-level",
        shows=_SIGILL,
    ),
    *each("v3-unmarked-v2", DISK, "alpha", source="kuvasz#346", rule="cpu-level", shows=_SIGILL),
    *each("cpu-qemu64", DISK, "beta"),
    *each("v3-marked-v3", DISK, "beta", rule="cpu-model"),
    *each(
        "io-uring",
        IMAGE,
        *_LAB,
        source="moby#46762",
        rule="io-uring-refused",
        symptom="io_uring_setup: Operation not permitted",
    ),
    *each(
        "bubblewrap",
        IMAGE,
        "beta",
        "gamma",
        source="bubblewrap#505",
        rule="sandbox-refused",
        shows=_DENIED,
    ),
    *each(
        "bubblewrap", DISK, "beta", source="bubblewrap#505", rule="sandbox-refused", shows=_DENIED
    ),
    *each("iptables", IMAGE, "beta"),
    *each("iptables-try", DISK, "beta", source="gluetun#734", rule="iptables-legacy"),
    *each("memory", DISK, "beta", rule="memory", shows=("Cannot allocate memory",)),
    *each("bulk", IMAGE, "gamma", ground="Store of 1 MiB", rule="space", shows=("bytes needed",)),
    *each("port", IMAGE, "beta", ground="port taken", rule="port-free"),
    *each("port", DISK, "beta", ground="port taken", rule="port-free"),
    *each("static", IMAGE, "beta", ground="Docker dead", rule="docker"),
    *each("static", DISK, "beta", ground="libvirt dead", rule="libvirt"),
    *each("ipv6", IMAGE, "gamma", ground="IPv6 off", rule="ipv6"),
    *each("ipv6", DISK, "gamma", rule="port-ipv6"),
    *each(
        "maps",
        IMAGE,
        "beta",
        source="elk-docker#89",
        rule="needs-sysctl",
        shows=("vm.max_map_count is",),
    ),
    *each(
        "maps-set",
        IMAGE,
        "beta",
        source="elk-docker#89",
        rule="sysctl",
        shows=("is not in a separate kernel namespace",),
    ),
    *each("maps-set", DISK, "beta", source="elk-docker#89"),
    *each("files", IMAGE, "beta", rule="open-files", shows=_DENIED),
    *each(
        "files-few",
        IMAGE,
        "beta",
        rule="needs-open-files",
        shows=("the limit of open files is 1024",),
    ),
    *each("shm", IMAGE, "beta", rule="needs-shared-memory", shows=("/dev/shm is 67108864",)),
    *each("shm-set", IMAGE, "beta"),
    *each("huge", IMAGE, "beta", rule="needs-huge-pages", shows=("Out of memory",)),
    *each("device", IMAGE, "beta", rule="device", shows=_ABSENT),
    *each("module", IMAGE, "beta", rule="needs-module", shows=("Not supported",)),
    *each(
        "low-port",
        IMAGE,
        "rootless",
        source="Podman, rootless.md",
        says="does not run",
        rule="port-rootless",
    ),
    *each(
        "kernel",
        IMAGE,
        "linux-3.10",
        source="docker-homebridge#960",
        says="does not run",
        rule="kernel-old",
    ),
    *each("glibc", IMAGE, "old-docker", source="moby#42680 (threads alone)", says="runs"),
    *each(
        "redis",
        IMAGE,
        "old-docker",
        source="moby#42680",
        says="does not run",
        rule="clone3-refused",
    ),
    *each(
        "glibc",
        IMAGE,
        "old-libseccomp",
        source="runner-images#2531",
        says="degraded",
        rule="faccessat2-refused",
    ),
    *each(
        "glibc",
        IMAGE,
        "new-runc",
        source="runc, changelog of 1.0.0-rc93",
        says="runs",
    ),
    *each(
        "seal",
        IMAGE,
        "old-podman",
        source="dangerzone#1201",
        says="does not run",
        rule="new-calls-refused",
    ),
    *each("seal", IMAGE, "alpha", "delta", source="dangerzone#1201"),
    *each(
        "iptables",
        IMAGE,
        "no-ip-tables",
        source="gluetun#734",
        says="degraded",
        rule="iptables-legacy",
    ),
    *each(
        "maps", IMAGE, "few-maps", source="elk-docker#89", says="does not run", rule="needs-sysctl"
    ),
    *each("v3-marked", IMAGE, "v1", source="kuvasz#346", says="does not run", rule="cpu-level"),
    *each("attested", IMAGE, "beta", "gamma", source="buildx#1714", rule="attestations"),
    *each(
        "systemd",
        IMAGE,
        "alpha",
        source="systemd, NEWS of 258",
        rule="systemd-new",
        shows=("unsupported legacy cgroup hierarchy",),
    ),
    *each(
        "rpm",
        IMAGE,
        "many-files",
        source="containerd#7566",
        says="degraded",
        rule="open-files-many",
    ),
    *each(
        "uefi",
        DISK,
        "kubernetes-kubevirt",
        source="kubevirt#4897",
        says="does not run",
        rule="firmware",
    ),
    *compat_settings.CELLS,
    *compat_podman.CELLS,
    *compat_arm.CELLS,
)
