"""What a host says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NUMBER = re.compile("-?[0-9]{1,20}")


@dataclass(frozen=True)
class Binfmt:
    """A handler of the kernel for ELF files of another machine. flags: as the kernel prints them;
    with F the interpreter was opened when it was registered, and works inside containers too."""

    name: str
    architecture: str
    interpreter: str
    flags: str = ""

    @property
    def fixed(self) -> bool:
        """Whether it works where its file is not: in a container."""
        return "F" in self.flags


@dataclass(frozen=True)
class Linux:
    """What the kernel and the processor of a host give. 0, "", {} and None are unknown.

    cpu_level: of x86-64, 1 is the baseline. cpu_features: flags in /proc/cpuinfo that every
    processor has, of those that are looked for (portkit.remote.linux, FEATURES). net_sysctls: the
    network settings that a container can have of its own, with `*` for an interface. cgroup: the
    version. cap_bounding: the capabilities that its processes can have, a mask in hex. vsyscall:
    whether the old page of system calls is mapped. config: y, m or n of options of the kernel.
    modules: those that are loaded; loadable: of those that programs ask for, which are there.
    devices: paths. interfaces: of its network. processors: that its programs may use, such as
    0-3,8. binfmt: the handlers that are enabled. runs: by architecture, whether a tiny
    program for it ran: "yes", "no" (the kernel knows no way), or what else happened. lsm: names
    with commas between them. sought: names of settings, modules and devices that were looked for by
    name: what is not among the others is not there. arm_version: of a processor for 32-bit ARM.
    """

    cpu_model: str = ""
    cpu_level: int = 0
    cpu_features: tuple[str, ...] | None = None
    page_bytes: int = 0
    cgroup: int = 0
    cap_bounding: str = ""
    vsyscall: bool | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    net_sysctls: tuple[str, ...] | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] | None = None
    loadable: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    hugepages_free: int | None = None
    hugepage_bytes: int = 0
    ipv6: bool | None = None
    interfaces: tuple[str, ...] | None = None
    processors: str = ""
    binfmt: tuple[Binfmt, ...] | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    lsm: str = ""
    sought: tuple[str, ...] = ()
    arm_version: int = 0

    def number(self, sysctl: str) -> int | None:
        """The value of a sysctl that is a number; None where it is unknown."""
        text = self.sysctls.get(sysctl, "").split()
        return int(text[0]) if text and _NUMBER.fullmatch(text[0]) else None


@dataclass(frozen=True)
class Engine:
    """What a Docker Engine, or Podman, gives to its containers. "", 0 and None are unknown.

    name: as its own answer to /version calls it, such as "Engine" or "Podman Engine". platform: who
    built it, as that answer says: "Docker Engine - Community" is Docker itself; distributions leave
    it empty.
    security: its options, such as "seccomp,profile=builtin", "apparmor", "rootless", "userns".
    runtimes: names. d_type: False where its file system cannot hold layers. runc, libseccomp, crun:
    versions of what starts containers. timers: of Podman, whether systemd runs there, which makes
    its healthchecks. dhcp: of Podman, whether netavark's DHCP proxy listens there. boots: of
    Podman, the restart policies of the containers that are started with the host.
    network_drivers: names. swarm: whether it is the manager of one. backing: the file system
    below its own layers, as it calls it ("extfs"). unable: what it cannot limit, of memory, swap,
    cpu, cpuset and pids. init: whether the program is there that `init: true` starts.
    """

    name: str = ""
    api: str = ""
    api_min: str = ""
    cgroup: int = 0
    cgroup_driver: str = ""
    rootless: bool | None = None
    security: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None
    d_type: bool | None = None
    runc: str = ""
    libseccomp: str = ""
    crun: str = ""
    timers: bool | None = None
    dhcp: bool | None = None
    boots: tuple[str, ...] | None = None
    platform: str = ""
    network_drivers: tuple[str, ...] | None = None
    swarm: bool | None = None
    backing: str = ""
    unable: tuple[str, ...] | None = None
    init: bool | None = None

    @property
    def podman(self) -> bool:
        """Whether it is Podman behind its socket for Docker's clients: its versions are its own."""
        return "podman" in self.name.lower()


@dataclass(frozen=True)
class Guests:
    """What libvirt says that its QEMU gives to guests of the host's own architecture. Empty and 0
    are unknown.

    architectures: those for which it knows an emulator, the host's own or not.

    machines: machine types, aliases included. firmware: "bios", "efi". secure: whether a loader
    for secure boot may be asked for, "yes", "no" or both. cpu_model, cpu_level: of the
    most that a guest gets, and its x86-64 level. cpu_models: those that work there, and the level
    of each. max_cpus: that a guest can have. note: why nothing is known, where libvirt was asked.
    """

    machines: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    cpu_model: str = ""
    cpu_level: int = 0
    cpu_models: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    architectures: tuple[str, ...] = ()
    secure: tuple[str, ...] = ()
    max_cpus: int = 0
    interfaces: tuple[str, ...] = ()
    confined_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What was read from a Host. Sizes are in bytes; None means absent or not readable."""

    host: str
    endpoint: str
    os_id: str
    os_version: str
    os_name: str
    architecture: str  # Go's names: amd64, arm64
    kernel: str
    cpus: int
    memory_bytes: int
    memory_available_bytes: int
    store_free_bytes: int
    python: str
    docker_version: str | None = None
    # How the engine stores layers: "overlay2", or the containerd image store ("containerd"). They
    # want different archives on `docker load`.
    docker_store: str | None = None
    docker_free_bytes: int | None = None
    docker_buildx: bool = False
    libvirt_version: str | None = None
    qemu_version: str | None = None
    # "kvm" only where a guest really ran under it: the device may be there and still be refused, as
    # inside some VMs. "tcg" is QEMU's emulation.
    accelerator: str = "tcg"
    accelerator_note: str = ""
    # Seconds that a small loop of Python took there just now: slow processors and busy ones show.
    loop_s: float | None = None
    uefi: bool = False
    missing_tools: tuple[str, ...] = ()  # that a disk's Instance needs on the host
    # ip_unprivileged_port_start of ip(7): QEMU, which is not root, may publish ports from here on.
    unprivileged_port_start: int = 1024
    # Whom libvirt starts QEMU as; this user has to be able to read an Instance's disks.
    qemu_user: str | None = None
    qemu_group: str | None = None
    listening: tuple[tuple[str, int], ...] = ()  # (address, port) of TCP sockets that listen
    listening_udp: tuple[tuple[str, int], ...] = ()
    # Its own, without 127.0.0.0/8; None where nobody looked, or where it may publish on others too.
    addresses: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()  # the names of those of its Docker Engine
    # (the network's name, subnet) of those that its Docker Engine has given addresses to.
    subnets: tuple[tuple[str, str], ...] = ()
    # (name, driver, whether it is internal) of its Docker Engine's networks.
    network_kinds: tuple[tuple[str, str, bool], ...] = ()
    linux: Linux = field(default_factory=Linux)
    engine: Engine = field(default_factory=Engine)
    guests: Guests = field(default_factory=Guests)
    volumes: tuple[str, ...] = ()  # as networks
    # The architectures of guests for which QEMU's program is there; None where nobody looked.
    emulators: tuple[str, ...] | None = None
    # What QEMU can give to guests as a network, as it calls it: "user", "tap"; None is not known.
    netdevs: tuple[str, ...] | None = None
    swap_bytes: int | None = None  # None where nobody looked


def virtualises(facts: Facts, architecture: str) -> bool:
    """Whether a guest of this architecture has a real processor: KVM has no other."""
    return facts.accelerator == "kvm" and architecture == facts.architecture
