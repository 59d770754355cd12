"""What the processes of an App see, in both Forms."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from portkit.model.health import Healthcheck, HealthProbe
from portkit.model.project import Attachment, Content, Dependency, Network, Volume
from portkit.model.service import Device, Logging, Machine, Mount, Port, Ulimit

SHARED = "service:"  # of network_mode, before the name of the service whose network it is


@dataclass(frozen=True)
class RunSpec:
    """What the app's process sees, the same in both forms: a Service merged with its image.

    Both engines are given this one value, so that the Forms cannot differ by accident.

    argv: never empty. env: in order, each name once. user: "uid[:gid]" or names, which are looked
    up in the image's own /etc/passwd and /etc/group; "" is root. umask: as in umask(2).
    capabilities: upper case, with CAP_. stop_signal: a name or a number, as in compose.
    mem_limit_bytes, cpus, pids_limit: None is no limit. service: its name. image: the digest of its
    image's configuration. layers: among those of the App's images, as `portkit.guest.stack` numbers
    them, the topmost first. depends_on, networks, ...: as in `portkit.model.Service`.
    """

    app: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    cwd: str
    user: str
    group_add: tuple[str, ...]
    hostname: str
    umask: int
    ulimits: Mapping[str, Ulimit]
    capabilities: tuple[str, ...]
    mounts: tuple[Mount, ...]
    ports: tuple[Port, ...]
    stop_signal: str
    stop_grace_period_s: float
    restart: str
    health: HealthProbe
    machine: Machine
    healthcheck: Healthcheck | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    init: bool = False
    read_only: bool = False
    cpus: float | None = None
    mem_limit_bytes: int | None = None
    privileged: bool = False
    service: str = ""
    image: str = ""
    layers: tuple[int, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    networks: tuple[Attachment, ...] = ()
    network_mode: str = ""
    links: tuple[tuple[str, str], ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    domainname: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    shm_bytes: int | None = None
    security_opt: tuple[str, ...] = ()
    pids_limit: int | None = None
    mem_reservation_bytes: int | None = None
    memswap_bytes: int | None = None
    oom_score_adj: int = 0
    tty: bool = False
    stdin_open: bool = False
    pid: str = ""
    ipc: str = ""
    userns_mode: str = ""
    devices: tuple[Device, ...] = ()
    logging: Logging = field(default_factory=Logging)
    container_name: str = ""
    contents: tuple[Content, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the services that have to be there before it: what it depends on, and the one
        whose network it shares."""
        modes = (self.network_mode, self.pid, self.ipc)
        shared = [mode.removeprefix(SHARED) for mode in modes if mode.startswith(SHARED)]
        return tuple(dict.fromkeys((*(each.service for each in self.depends_on), *shared)))

    @property
    def shares_network(self) -> bool:
        """Whether it is in the network of another service."""
        return self.network_mode.startswith(SHARED)


@dataclass(frozen=True)
class AppSpec:
    """What the processes of all services of an App see, and what these share.

    services: as in the App. networks, volumes: those that a service uses. front: the service that
    answers for the App. machine: of the VM that holds all of them.
    """

    app: str
    services: tuple[RunSpec, ...]
    front: RunSpec
    machine: Machine
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()

    @property
    def several(self) -> bool:
        """Whether it has more than one service."""
        return len(self.services) > 1

    @property
    def layered(self) -> bool:
        """Whether each service has a root of its own in the VM, laid over the layers of its image:
        where there are several, where files of the App are put over an image's, and where a service
        has another network than the VM's, or a limit within it."""
        return self.several or any(
            service.contents or service.network_mode or service.pids_limit
            for service in self.services
        )

    @property
    def ports(self) -> tuple[Port, ...]:
        """What all services publish."""
        return tuple(port for service in self.services for port in service.ports)

    def named(self, service: str) -> RunSpec:
        """The service of that name; KeyError when there is none."""
        return {each.service: each for each in self.services}[service]

    def volume_numbers(self) -> tuple[tuple[int | None, ...], ...]:
        """For each service and each of its mounts the number of the volume; None for what is none.

        Services that name one volume share it.
        """
        named: dict[str, int] = {}
        numbers = itertools.count()
        rows = []
        for service in self.services:
            row: list[int | None] = []
            for mount in service.mounts:
                if mount.type != "volume":
                    row.append(None)
                elif mount.source in named:
                    row.append(named[mount.source])
                else:
                    row.append(number := next(numbers))
                    if mount.source:
                        named[mount.source] = number
            rows.append(tuple(row))
        return tuple(rows)

    def content_numbers(self) -> tuple[tuple[int, ...], ...]:
        """For each service and each of its Contents a number; services that have the same files of
        the project share them, as they do where both bind them."""
        known: dict[Path, int] = {}
        numbers = itertools.count()
        rows = []
        for service in self.services:
            row = []
            for content in service.contents:
                number = None if content.source is None else known.get(content.source)
                if number is None:
                    number = next(numbers)
                    if content.source is not None:
                        known[content.source] = number
                row.append(number)
            rows.append(tuple(row))
        return tuple(rows)

    @property
    def volume_count(self) -> int:
        """How many volumes the App has."""
        found = {number for row in self.volume_numbers() for number in row if number is not None}
        return len(found)

    @property
    def in_order(self) -> tuple[RunSpec, ...]:
        """The services, each after those that it needs to be there."""
        waiting = {service.service: service for service in self.services}
        ordered: dict[str, RunSpec] = {}

        def add(service: RunSpec) -> None:
            del waiting[service.service]
            for name in service.needs:
                if name in waiting:
                    add(waiting[name])
            ordered[service.service] = service

        for service in self.services:
            if service.service in waiting:
                add(service)
        return tuple(ordered.values())
