"""A service in the words of compose, and the App that it is part of.

Environments and build arguments may hold passwords, so no repr shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from portkit.model.finding import Finding
from portkit.model.git import GitUrl
from portkit.model.health import Healthcheck, HealthProbe
from portkit.model.needs import Stated
from portkit.model.project import Attachment, Content, Dependency, Network, Volume
from portkit.model.quiesce import Quiesce


@dataclass(frozen=True)
class Port:
    """A published port.

    target: the container's port. published: the host's; None is the same number. host_ip: the
    address of the host that it is published on; "" is every address.
    """

    target: int
    published: int | None = None
    protocol: str = "tcp"
    host_ip: str = ""

    @property
    def host_port(self) -> int:
        """The port of the host, where it is reached."""
        return self.target if self.published is None else self.published

    @property
    def key(self) -> str:
        """By which it is told from the other ports of its App: NUMBER/PROTOCOL of the host."""
        return f"{self.host_port}/{self.protocol}"

    @property
    def is_local(self) -> bool:
        """Whether it is published for its own host alone."""
        return self.host_ip.startswith("127.") or self.host_ip == "::1"


@dataclass(frozen=True)
class Mount:
    """A volume of a service, in compose's words. `source` "" is an anonymous volume."""

    type: str  # volume | bind | tmpfs
    target: str
    source: str = ""
    read_only: bool = False
    tmpfs_bytes: int | None = None
    tmpfs_mode: int | None = None  # None: of the image's folder there, else 1777


@dataclass(frozen=True)
class Build:
    """How the image is built on the source host. `context` is a folder on this machine, or a git
    repository that the host fetches."""

    context: Path | GitUrl
    dockerfile: str = "Dockerfile"
    inline: str | None = None  # the Dockerfile itself, in place of the file
    args: Mapping[str, str] = field(default_factory=dict, repr=False)
    target: str | None = None
    network: str | None = None  # of RUN steps: "host", "none", ...


@dataclass(frozen=True)
class Ulimit:
    """A limit of setrlimit(2), in its own unit; -1 is unlimited."""

    soft: int
    hard: int


@dataclass(frozen=True)
class Device:
    """A device of the host that a service may use. permissions: of r, w and m (mknod)."""

    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True)
class Logging:
    """What the engine does with the output of a service. driver "": as its daemon is set up."""

    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


class Firmware(StrEnum):
    """What starts a VM; every disk can be booted by both."""

    BIOS = "bios"
    UEFI = "uefi"


@dataclass(frozen=True)
class Machine:
    """What a VM needs and an image cannot say (x-portkit)."""

    memory_bytes: int = 512 * 1024**2  # a kernel, an init and a usual service fit
    cpus: int = 1
    disk_bytes: int | None = None  # None: the image, a quarter and 512 MiB more
    firmware: Firmware = Firmware.BIOS
    volume_bytes: int = 8 << 30  # of each volume's disk; sparse
    cpu_model: str = ""  # of libvirt's names; "" is the host's own, or the most that QEMU emulates


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an engine puts around a service, in compose's words: its image says none of it.

    cpus, mem_limit_bytes, ...: None is no limit. memswap_bytes: of memory and swap together, -1
    without a limit. network_mode: "", which is a place in each of `networks`; or "none", "host",
    "bridge", "service:NAME". links: (service, name under which this one alone knows it).
    extra_hosts: (name, address). stated: what it says that it needs of its host. quiesce: what runs
    in it when a Move stops it. cpuset: the host's processors that it may use, such as 0-1. runtime:
    what starts it in the engine's place of runc. storage_opt: of the engine's storage driver. pid,
    ipc, userns_mode: "", "host", "service:NAME", ...; as compose writes them.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = False
    read_only: bool = False
    init: bool = False
    cpus: float | None = None
    mem_limit_bytes: int | None = None
    mem_reservation_bytes: int | None = None
    memswap_bytes: int | None = None
    pids_limit: int | None = None
    shm_bytes: int | None = None
    oom_score_adj: int = 0
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cpuset: str = ""
    runtime: str = ""
    storage_opt: Mapping[str, str] = field(default_factory=dict)
    security_opt: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    tty: bool = False
    stdin_open: bool = False
    logging: Logging = field(default_factory=Logging)
    depends_on: tuple[Dependency, ...] = ()
    networks: tuple[Attachment, ...] = ()
    network_mode: str = ""
    links: tuple[tuple[str, str], ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    domainname: str = ""
    container_name: str = ""
    pid: str = ""
    ipc: str = ""
    userns_mode: str = ""
    contents: tuple[Content, ...] = ()
    stated: Stated = field(default_factory=Stated)
    quiesce: Quiesce = field(default_factory=Quiesce)


@dataclass(frozen=True)
class Service(Surroundings):
    """One service in compose's words.

    None means "as the image says". A variable of `environment` that is None is taken away from
    those of the image.

    scale: how many containers. platform: OS/ARCHITECTURE[/VARIANT] that the image has to be for; ""
    is any.
    """

    name: str
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    user: str | None = None
    group_add: tuple[str, ...] = ()
    working_dir: str | None = None
    hostname: str | None = None
    ports: tuple[Port, ...] = ()
    volumes: tuple[Mount, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: str = "no"  # no | always | on-failure[:N] | unless-stopped
    stop_signal: str | None = None
    stop_grace_period_s: float = 10.0
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    health: HealthProbe = field(default_factory=HealthProbe)
    machine: Machine = field(default_factory=Machine)
    expose: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    scale: int = 1
    platform: str = ""


@dataclass(frozen=True)
class Reading:
    """What was chosen when an App was read, so that it can be read again.

    files: compose files in the order in which they are merged, absolute in an App; () is those
    that compose would find. profiles: of services. name: of the App; "" is the files' own or the
    folder's. carry: absolute paths of bind mounts that travel with the App. health: by the keys of
    x-portkit.health, what the user says in their place of the service that answers for the App.
    same_paths: absolute paths that are bound of whatever host the App is on, sockets say.
    """

    files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    name: str = ""
    carry: tuple[str, ...] = ()
    health: Mapping[str, str] = field(default_factory=dict)
    same_paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class App:
    """What to run, and what was noticed while it was read.

    services: in the order of the file. front: the service that answers for the App; "" means the
    first. machine: the one VM that contains the App. running: whether the App was read from running
    containers, which show all of it, rather than from a file. seen_up: whether all of it was seen
    running: a VM that is off, or a container that ends again and again, shows nothing about its
    images.
    """

    name: str  # [a-z0-9][a-z0-9_-]{0,62}
    services: tuple[Service, ...]
    source: str  # as the user gave it
    findings: tuple[Finding, ...] = ()
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    front: str = ""
    machine: Machine = field(default_factory=Machine)
    reading: Reading = field(default_factory=Reading)
    running: bool = False
    seen_up: bool = False

    @property
    def front_service(self) -> Service:
        """The service that answers for the App."""
        named = (service for service in self.services if service.name == self.front)
        return next(named, self.services[0])
