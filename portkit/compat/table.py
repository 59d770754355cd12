"""The table of compatibility rules. To add one: write its function, and give it a row here."""

from __future__ import annotations

from typing import Any

from portkit.compat import host, owner, ports, process, programs, room
from portkit.compat.owner import Lacking, Running
from portkit.compat.ports import Pair
from portkit.compat.room import Load
from portkit.compat.rule import DISK, IMAGE, Case, Rule, Scope
from portkit.compat.table_of_disks import DISKS
from portkit.compat.table_of_needs import NEEDS
from portkit.compat.table_of_podman import PODMAN
from portkit.errors import ConflictError, SpaceError
from portkit.model import Severity
from portkit.model.project import TAKEN_REMEDY

# Judged of each App in each Form on each host.
CASE_RULES: tuple[Rule[Case], ...] = (
    Rule(
        "kit",
        Severity.ERROR,
        Scope.FORM,
        host.kit,
        remedy="Move the image.",
        forms=DISK,
    ),
    Rule(
        "architecture",
        Severity.ERROR,
        Scope.HOST,
        programs.architecture,
        forms=IMAGE,
        source="OCI image-spec v1.1, config.md; Linux, admin-guide/binfmt-misc.rst (flag F)",
    ),
    Rule(
        "arm-version",
        Severity.ERROR,
        Scope.HOST,
        host.arm_version,
        "Use an image for that version, such as arm32v6 of Docker's official images.",
        forms=IMAGE,
        source="OCI image-spec v1.1, image-index.md (platform variants)",
    ),
    Rule(
        "emulator",
        Severity.ERROR,
        Scope.HOST,
        host.emulator,
        forms=DISK,
        source="QEMU, System Emulation, Introduction; libvirt, formatcaps (guest, arch)",
    ),
    Rule(
        "docker",
        Severity.ERROR,
        Scope.HOST,
        host.docker,
        remedy="Install docker.io on the host, or start it: systemctl start docker. For Podman: "
        "systemctl start podman.socket.",
        forms=IMAGE,
    ),
    Rule(
        "network-taken",
        Severity.ERROR,
        Scope.HOST,
        host.network,
        remedy="Remove the App that it belongs to from the host (if that App has moved away: "
        "portkit forget ID --delete), or give this App another `name:`.",
        forms=IMAGE,
        error=ConflictError,
    ),
    Rule(
        "volume-taken",
        Severity.ERROR,
        Scope.HOST,
        host.volume,
        remedy=TAKEN_REMEDY,
        forms=IMAGE,
        error=ConflictError,
    ),
    Rule(
        "libvirt",
        Severity.ERROR,
        Scope.HOST,
        host.libvirt,
        remedy="Install libvirt-daemon-system and qemu-system-x86 on the host.",
        forms=DISK,
    ),
    Rule(
        "user-network",
        Severity.ERROR,
        Scope.HOST,
        host.user_network,
        "Install a QEMU with it (--enable-slirp), or move the image instead of the disk.",
        forms=DISK,
        source="QEMU, net/net.c (network backend 'user' is not compiled into this binary)",
    ),
    Rule(
        "machine-type",
        Severity.ERROR,
        Scope.HOST,
        host.machine_type,
        remedy="Install QEMU's machine types on the host (qemu-system-x86), or move the image.",
        forms=DISK,
        source="QEMU's list of machine types; kubevirt#2308",
    ),
    Rule(
        "cpu-model",
        Severity.ERROR,
        Scope.HOST,
        host.cpu_model,
        remedy="Name a model that works there (virsh domcapabilities lists them), or remove "
        "x-portkit.cpu_model.",
        forms=DISK,
        source="libvirt, formatdomaincaps.html (usable)",
    ),
    Rule(
        "guests",
        Severity.WARNING,
        Scope.HOST,
        host.guests,
        remedy="Install portkit[disk] on this machine, and make sure that libvirt answers on the "
        "host.",
        forms=DISK,
    ),
    Rule(
        "accelerator",
        Severity.WARNING,
        Scope.HOST,
        host.accelerator,
        remedy="If speed matters, use a host with working KVM.",
        forms=DISK,
    ),
    Rule(
        "memory",
        Severity.ERROR,
        Scope.HOST,
        room.guest_memory,
        remedy="Ask for less memory with x-portkit.memory or mem_limit.",
        forms=DISK,
    ),
    Rule(
        "memory-limit",
        Severity.WARNING,
        Scope.HOST,
        room.memory_limit,
        remedy="Ask for less memory with mem_limit.",
        forms=IMAGE,
    ),
    Rule(
        "memory-free",
        Severity.WARNING,
        Scope.HOST,
        room.memory_free,
        remedy="Free some memory on the host.",
    ),
    Rule(
        "port-free",
        Severity.ERROR,
        Scope.HOST,
        ports.free,
        remedy="Publish another port, or stop what uses this one on the host.",
        error=ConflictError,
    ),
    Rule(
        "port-address",
        Severity.ERROR,
        Scope.HOST,
        ports.here,
        remedy="Publish it on every address, or give the host that address.",
        error=ConflictError,
    ),
    Rule("port-low", Severity.ERROR, Scope.HOST, ports.low, forms=DISK),
    Rule(
        "port-ipv6",
        Severity.ERROR,
        Scope.FORM,
        ports.ipv6,
        remedy="Publish on an IPv4 address, or move the image.",
        forms=DISK,
    ),
    Rule(
        "privileged",
        Severity.WARNING,
        Scope.FORM,
        process.privileged,
        remedy="Name only the capabilities that the app needs, with cap_add.",
        forms=IMAGE,
    ),
    Rule(
        "capabilities",
        Severity.WARNING,
        Scope.APP,
        process.capabilities,
        remedy="Remove the capabilities from cap_add that the app does not need.",
    ),
    Rule(
        "volumes",
        Severity.ERROR,
        Scope.FORM,
        room.volumes,
        remedy="Combine several folders in one volume, or move the image.",
        forms=DISK,
    ),
    Rule(
        "tools",
        Severity.ERROR,
        Scope.HOST,
        host.tools,
        remedy="Install qemu-utils and e2fsprogs on the host.",
        forms=DISK,
    ),
    Rule(
        "firmware",
        Severity.ERROR,
        Scope.HOST,
        host.firmware,
        remedy="Install ovmf on the host, or remove x-portkit.firmware.",
        forms=DISK,
    ),
    Rule(
        "health",
        Severity.INFO,
        Scope.FORM,
        process.health,
        remedy="Publish a TCP port, or name a port in x-portkit.health.",
    ),
    Rule(
        "networks-joined",
        Severity.WARNING,
        Scope.FORM,
        process.joined,
        remedy="If services must not reach each other, move the image.",
        forms=DISK,
    ),
    Rule(
        "network-internal",
        Severity.WARNING,
        Scope.FORM,
        process.internal,
        remedy="If they must not reach the outside, move the image.",
        forms=DISK,
    ),
    Rule(
        "network-host",
        Severity.WARNING,
        Scope.FORM,
        process.host_network,
        remedy="Publish the ports that must be reachable with `ports:`, or move the image.",
        forms=DISK,
    ),
    Rule(
        "host-path",
        Severity.ERROR,
        Scope.FORM,
        process.host_paths,
        remedy="Move the image, or remove the mount.",
        forms=DISK,
    ),
    Rule(
        "address-changed",
        Severity.WARNING,
        Scope.FORM,
        process.fixed_addresses,
        remedy="Let the services find each other by their names.",
        forms=DISK,
    ),
    Rule(
        "engine-only",
        Severity.WARNING,
        Scope.FORM,
        process.engine_only,
        remedy="Remove it if the app does not need it, or move the image.",
        forms=DISK,
    ),
    *NEEDS,
    *PODMAN,
)

# Judged once for a Move, or for several Moves to one host together.
SPACE: Rule[Load] = Rule(
    "space",
    Severity.ERROR,
    Scope.HOST,
    room.space,
    remedy="Free some space on the host, or move fewer Apps at once.",
    error=SpaceError,
)
PORT_SHARED: Rule[Pair] = Rule(
    "port-shared",
    Severity.ERROR,
    Scope.APP,
    ports.shared,
    remedy="Publish another port, or move one of them to another host.",
    error=ConflictError,
)
RUNNING: Rule[Running] = Rule(
    "running",
    Severity.ERROR,
    Scope.APP,
    owner.running,
    remedy="Stop it there first. To move it as it runs, with its data, name it container:NAME, "
    "project:NAME (or project:./FOLDER) or vm:NAME.",
    error=ConflictError,
)
BUNDLE_LACKS: Rule[Lacking] = Rule(
    "bundle-lacks",
    Severity.ERROR,
    Scope.HOST,
    owner.bundle_lacks,
    remedy="Pack the App again without --for, or with an inventory of this host.",
)

RULES: tuple[Rule[Any], ...] = (
    *CASE_RULES,
    SPACE,
    PORT_SHARED,
    RUNNING,
    BUNDLE_LACKS,
    *DISKS,
)
