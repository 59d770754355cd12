"""A service in the words of compose, and the App that it is part of.

Environments and build arguments may hold passwords, so no repr shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from portkit.model.finding import Finding
from portkit.model.health import Healthcheck, HealthProbe


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
    """How the image is built on the source host. `context` is a folder on this machine."""

    context: Path
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


@dataclass(frozen=True)
class Service:
    """One service in compose's words.

    None means "as the image says". A variable of `environment` that is None is taken away from
    those of the image.
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
    privileged: bool = False
    read_only: bool = False
    init: bool = False
    cpus: float | None = None
    mem_limit_bytes: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    health: HealthProbe = field(default_factory=HealthProbe)
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class App:
    """What to run, and what was noticed while it was read."""

    name: str  # [a-z0-9][a-z0-9_-]{0,62}
    services: tuple[Service, ...]
    source: str  # as the user gave it
    findings: tuple[Finding, ...] = ()

    @property
    def service(self) -> Service:
        """The one service that portkit moves for now (the reader refuses several)."""
        return self.services[0]
