"""What the process of an App sees, in both Forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portkit.model.health import Healthcheck, HealthProbe
from portkit.model.service import Machine, Mount, Port, Ulimit


@dataclass(frozen=True)
class RunSpec:
    """What the app's process sees, the same in both forms: a Service merged with its image.

    Both engines are given this one value, so that the Forms cannot differ by accident.

    argv: never empty. env: in order, each name once. user: "uid[:gid]" or names, which are looked
    up in the image's own /etc/passwd and /etc/group; "" is root. umask: as in umask(2).
    capabilities: upper case, with CAP_. stop_signal: a name or a number, as in compose.
    mem_limit_bytes, cpus: None is no limit.
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
