"""The rules about what an image's programs and its file ask of a kernel or an engine.

`source` names what each rests on. Issues are named by the repository and their number.
"""

from __future__ import annotations

from portkit.compat import (
    asks,
    engine,
    guest,
    namespaces,
    seccomp,
    servers,
    stated,
    sysctls,
    systemd,
    tables,
)
from portkit.compat.rule import DISK, IMAGE, Case, Rule, Scope
from portkit.compat.table_of_bounds import BOUNDS
from portkit.compat.table_of_programs import PROGRAMS
from portkit.model import Severity

_CONTAINERS: tuple[Rule[Case], ...] = (
    Rule(
        "clone3-refused",
        Severity.UNKNOWN,
        Scope.HOST,
        seccomp.clone3,
        remedy="Install Docker 20.10.10 or newer on the host, or a distribution package with its "
        "fix (clone3 answered with ENOSYS), or move the disk.",
        forms=IMAGE,
        source="moby#42680",
    ),
    Rule(
        "faccessat2-refused",
        Severity.WARNING,
        Scope.HOST,
        seccomp.faccessat2,
        remedy="Install runc 1.0.0-rc93 or newer on the host (or Docker 20.10 and libseccomp "
        "2.4.4), or move the disk.",
        forms=IMAGE,
        source="runner-images#2531; docker-alpine#182 (musl)",
    ),
    Rule(
        "time64-refused",
        Severity.WARNING,
        Scope.HOST,
        seccomp.time64,
        remedy="Install runc 1.0.0-rc93 or newer on the host (or Docker 19.03.9 and libseccomp "
        "2.4.2), or move the disk.",
        forms=IMAGE,
        source="docker-alpine#150; moby#40734 (glibc); gerbera#2485 (not for 64 bits)",
    ),
    Rule(
        "new-calls-refused",
        Severity.WARNING,
        Scope.HOST,
        seccomp.unknown_calls,
        remedy="Install runc 1.0.0-rc95 or newer, or crun 0.19 or newer, on the host, or move the "
        "disk.",
        forms=IMAGE,
        source="dangerzone#1201 (mseal); runc, changelog of 1.0.0-rc93; crun, NEWS of 0.19",
    ),
    Rule(
        "io-uring-refused",
        Severity.WARNING,
        Scope.HOST,
        seccomp.io_uring,
        remedy="Give the service a seccomp profile that allows it, or move the disk.",
        forms=IMAGE,
        source="moby#46762; containers/common, pkg/seccomp; Linux, admin-guide/sysctl/kernel.rst "
        "(io_uring_disabled)",
    ),
    Rule(
        "calls-refused",
        Severity.INFO,
        Scope.HOST,
        seccomp.refused,
        remedy="If the app needs it, give the service that capability (cap_add), or a seccomp "
        "profile that allows it, or move the disk.",
        source="moby/profiles, seccomp/default.json; containers/common, pkg/seccomp; tried with "
        "Docker 20.10 and Podman 5.4",
    ),
    Rule(
        "sandbox-refused",
        Severity.WARNING,
        Scope.HOST,
        namespaces.bubblewrap,
        remedy="Give the service a seccomp profile that allows namespaces and mounts, or "
        "cap_add: [SYS_ADMIN].",
        source="bubblewrap#505; moby#47480 (AppArmor of Ubuntu 24.04); tried with bubblewrap 0.12, "
        "Docker 20.10 and Podman 5.4",
    ),
    Rule(
        "iptables-legacy",
        Severity.WARNING,
        Scope.HOST,
        tables.legacy,
        remedy="Use iptables-nft in the image.",
        source="gluetun#734 (RHEL 10)",
    ),
    Rule(
        "iptables-nft",
        Severity.WARNING,
        Scope.HOST,
        tables.nft,
        remedy="Use iptables-legacy in the image, or a host with Linux 3.13 or newer.",
        source="Linux 3.13 (nf_tables); iptables, xtables-nft(8)",
    ),
    Rule(
        "systemd-old",
        Severity.ERROR,
        Scope.HOST,
        systemd.cgroup_v2,
        remedy="Move the disk, use a host with cgroup v1, or an image with a newer systemd.",
        forms=IMAGE,
        source="podman#6183; systemd#2903 (the file system type cgroup2)",
    ),
    Rule(
        "systemd-new",
        Severity.ERROR,
        Scope.HOST,
        systemd.cgroup_v1,
        remedy="Move the disk, or use a host with cgroup v2.",
        forms=IMAGE,
        source="systemd, NEWS of 258",
    ),
    Rule(
        "systemd-rights",
        Severity.ERROR,
        Scope.HOST,
        systemd.rights,
        remedy="Move the disk, in which it has a whole machine, or set `privileged: true`.",
        forms=IMAGE,
        source="systemd, docs/CONTAINER_INTERFACE.md",
    ),
    Rule(
        "java-memory",
        Severity.WARNING,
        Scope.HOST,
        engine.java,
        remedy="Use Java 8u372, 11.0.16, 15 or newer, or set the heap size with -Xmx.",
        forms=IMAGE,
        source="corretto-11#320",
    ),
    Rule(
        "cgroup-files",
        Severity.WARNING,
        Scope.HOST,
        engine.cgroup_files,
        remedy="Use a newer version of the program, or tell it its memory limit by a setting of "
        "its own.",
        forms=IMAGE,
        source="Linux, admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst",
    ),
    Rule(
        "memory-maps",
        Severity.ERROR,
        Scope.HOST,
        engine.maps,
        remedy="Run on the host: sysctl -w vm.max_map_count=262144.",
        source="elk-docker#89; Elasticsearch, bootstrap checks",
    ),
    Rule(
        "open-files-few",
        Severity.ERROR,
        Scope.FORM,
        servers.open_files,
        remedy="In the compose file: ulimits: {nofile: 65536}.",
        source="Elasticsearch and OpenSearch, bootstrap checks (file descriptors)",
    ),
    Rule(
        "open-files-many",
        Severity.WARNING,
        Scope.APP,
        engine.descriptors,
        remedy="Set a lower limit: ulimits: {nofile: 65536}.",
        source="containerd#7566",
    ),
    Rule(
        "fuse",
        Severity.INFO,
        Scope.FORM,
        engine.fuse,
        remedy="Give it the device and the right to mount: devices, cap_add: [SYS_ADMIN].",
        forms=IMAGE,
        source="fuse(4)",
    ),
    Rule(
        "gpu",
        Severity.WARNING,
        Scope.HOST,
        engine.gpu,
        remedy="Install the NVIDIA Container Toolkit on the host, and move the image.",
        source="NVIDIA Container Toolkit, user guide (NVIDIA_VISIBLE_DEVICES)",
    ),
    Rule(
        "vsyscall",
        Severity.ERROR,
        Scope.HOST,
        engine.vsyscall,
        remedy="Boot the host with vsyscall=emulate, or move the disk.",
        forms=IMAGE,
        source="moby#34301",
    ),
    Rule(
        "attestations",
        Severity.WARNING,
        Scope.HOST,
        engine.attestations,
        remedy="If you need them, push the image to a registry and let the target pull it from "
        "there: an engine with the containerd image store keeps them.",
        forms=IMAGE,
        source="buildx#1714; BuildKit, docs/attestations/attestation-storage.md",
    ),
    Rule(
        "engine-file-system",
        Severity.WARNING,
        Scope.HOST,
        engine.d_type,
        remedy="Put the engine's data folder on ext4, or on XFS that was made with ftype=1.",
        forms=IMAGE,
        source="docker/cli, docs/deprecated.md (overlay2 without d_type)",
    ),
)

_ASKED: tuple[Rule[Case], ...] = (
    Rule(
        "device",
        Severity.ERROR,
        Scope.HOST,
        asks.devices,
        remedy="Load the kernel module of the device on the host, remove the device, or move the "
        "image instead of the disk.",
        source="runc, libcontainer/devices",
    ),
    Rule(
        "sysctl",
        Severity.ERROR,
        Scope.HOST,
        sysctls.of_a_container,
        remedy="Correct the value in the compose file (sysctls), or remove it.",
        forms=IMAGE,
        source="runc, libcontainer/configs/validate (sysctl); Linux, networking/ip-sysctl.rst",
    ),
    Rule(
        "guest-sysctl",
        Severity.ERROR,
        Scope.FORM,
        sysctls.of_a_guest,
        remedy="Correct it in the compose file (sysctls), remove it, or move the image.",
        forms=DISK,
        source="Linux 6.1 and 6.12 of Debian: /proc/sys of guests that were tried",
    ),
    Rule(
        "ipv6",
        Severity.ERROR,
        Scope.HOST,
        asks.ipv6,
        remedy="Switch IPv6 on: sysctl net.ipv6.conf.all.disable_ipv6=0. Or remove it from the "
        "compose file.",
        source="Linux, networking/ip-sysctl.rst (disable_ipv6)",
    ),
    Rule(
        "shared-memory",
        Severity.WARNING,
        Scope.HOST,
        asks.shared_memory,
        remedy="Ask for less with shm_size.",
        source="tmpfs(5)",
    ),
    Rule(
        "open-files",
        Severity.ERROR,
        Scope.HOST,
        asks.open_files,
        remedy="Set a lower ulimits.nofile, or raise fs.nr_open on the host.",
        source="setrlimit(2), EPERM",
    ),
    Rule(
        "port-user",
        Severity.WARNING,
        Scope.HOST,
        asks.low_port,
        remedy="Listen on a higher port in the container, or run as root.",
        forms=IMAGE,
        source="moby, release notes of 20.10 (net.ipv4.ip_unprivileged_port_start)",
    ),
    Rule(
        "capability-absent",
        Severity.ERROR,
        Scope.HOST,
        asks.capabilities,
        remedy="Remove it from cap_add if the app does not need it, use a host that is not "
        "itself a container, or move the disk.",
        forms=IMAGE,
        source='capabilities(7), bounding set; runc ("unable to apply caps")',
    ),
    Rule(
        "port-rootless",
        Severity.ERROR,
        Scope.HOST,
        asks.rootless,
        forms=IMAGE,
        source="Podman, rootless.md; Docker, engine/security/rootless",
    ),
)

# What the App's file states in x-portkit.needs.
_STATED: tuple[Rule[Case], ...] = (
    Rule(
        "needs-sysctl",
        Severity.ERROR,
        Scope.HOST,
        stated.sysctls,
        source="elk-docker#89; Linux, admin-guide/sysctl",
    ),
    Rule(
        "guest-kernel",
        Severity.UNKNOWN,
        Scope.FORM,
        guest.kernel,
        remedy="Move the image instead, to a host with that kernel.",
        forms=DISK,
        source="Debian 12 and 13, linux-image-cloud-amd64",
    ),
    Rule(
        "needs-module",
        Severity.ERROR,
        Scope.HOST,
        stated.modules,
        remedy="Install it on the host, or use a host whose kernel has it.",
        source="gluetun#734; modules.dep(5)",
    ),
    Rule(
        "needs-huge-pages",
        Severity.ERROR,
        Scope.HOST,
        stated.huge_pages,
        source="Linux, admin-guide/mm/hugetlbpage.rst",
    ),
    Rule(
        "needs-shared-memory",
        Severity.ERROR,
        Scope.FORM,
        stated.shared_memory,
        source="Docker, run reference (--shm-size: 64 MiB)",
    ),
    Rule(
        "needs-open-files",
        Severity.ERROR,
        Scope.FORM,
        stated.open_files,
        source="getrlimit(2), RLIMIT_NOFILE",
    ),
)

NEEDS: tuple[Rule[Case], ...] = (*PROGRAMS, *_CONTAINERS, *_ASKED, *BOUNDS, *_STATED)
