"""A container as Docker's `inspect` shows it.

Source: moby, api/types/container (Config, HostConfig) of the engine API 1.41 to 1.52. What is not
named here is kept in `model_extra`, so that nothing is lost silently.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from portkit.engines.docker_client import LabelMap, Restart, Text, or_empty
from portkit.engines.marks import ours
from portkit.model import Port
from portkit.wire import labels

CONTAINER = "container:"  # of a mode, before the id of the container whose namespace it is
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9._-]+")
_Object = Annotated[dict[str, Any], or_empty(dict)]
_Texts = Annotated[list[str], Field(max_length=20_000), or_empty(list)]
_Pairs = Annotated[dict[str, str], or_empty(dict)]


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Check(Part):
    Test: _Texts = []
    Interval: int = 0
    Timeout: int = 0
    StartPeriod: int = 0
    StartInterval: int = 0
    Retries: int = 0


class Config(Part):
    """What the process is; an image has the same."""

    Hostname: Text = ""
    Domainname: Text = ""
    User: Text = ""
    Tty: bool = False
    OpenStdin: bool = False
    Env: _Texts = []
    Cmd: _Texts = []
    Entrypoint: _Texts = []
    Image: Text = ""
    WorkingDir: Text = ""
    Volumes: _Object = {}
    ExposedPorts: _Object = {}
    Labels: LabelMap = {}
    StopSignal: Text = ""
    StopTimeout: int | None = None
    Healthcheck: Check | None = None


class _Log(Part):
    Type: Text = ""
    Options: Annotated[_Pairs, Field(alias="Config")] = {}


class Binding(Part):
    HostIp: Text = ""
    HostPort: Text = ""


_Bindings = Annotated[dict[str, list[Binding] | None], or_empty(dict)]


class _Limit(Part):
    Name: Text
    Soft: int
    Hard: int


class _Device(Part):
    PathOnHost: Text
    PathInContainer: Text
    CgroupPermissions: Text = "rwm"


class Asked(Part):
    """A mount as it was asked for."""

    Type: Text = ""
    Target: Text = ""
    ReadOnly: bool = False
    VolumeOptions: _Object = {}
    TmpfsOptions: _Object = {}
    BindOptions: _Object = {}


class HostConfig(Part):
    """What is around the process."""

    NetworkMode: Text = ""
    PortBindings: _Bindings = {}
    PublishAllPorts: bool = False
    RestartPolicy: Restart = Restart()
    AutoRemove: bool = False
    LogConfig: _Log = _Log()
    Links: _Texts = []
    ExtraHosts: _Texts = []
    CapAdd: _Texts = []
    CapDrop: _Texts = []
    IpcMode: Text = ""
    PidMode: Text = ""
    UTSMode: Text = ""
    Tmpfs: _Pairs = {}
    VolumesFrom: _Texts = []
    SecurityOpt: _Texts = []
    Mounts: Annotated[list[Asked], or_empty(list)] = []
    Ulimits: Annotated[list[_Limit], or_empty(list)] = []
    Devices: Annotated[list[_Device], or_empty(list)] = []
    NanoCpus: int = 0
    ShmSize: int = 0
    Memory: int = 0
    MemorySwap: int = 0
    PidsLimit: int | None = None


class Mount(Part):
    """A mount as it is."""

    Type: Text
    Name: Text = ""
    Source: Text = ""
    Destination: Text
    Driver: Text = ""
    Mode: Text = ""
    RW: bool = True
    Propagation: Text = ""

    @property
    def is_named(self) -> bool:
        """Whether it is a volume to which somebody gave a name."""
        return self.Type == "volume" and not _ANONYMOUS.fullmatch(self.Name)


class Place(Part):
    IPAMConfig: Annotated[dict[str, Any], or_empty(dict)] = {}
    DriverOpts: _Pairs = {}
    GwPriority: int = 0
    Aliases: _Texts = []
    Links: _Texts = []


class _Settings(Part):
    Networks: Annotated[dict[str, Place], or_empty(dict)] = {}
    Ports: _Bindings = {}


class _Health(Part):
    Status: Text = ""


class _State(Part):
    Status: Text = ""
    ExitCode: int | None = None
    Health: _Health | None = None


class Container(Part):
    """A container as `inspect` shows it."""

    State: _State = _State()
    Id: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")]
    Name: Text
    Image: Text
    Config: Config
    HostConfig: HostConfig
    Mounts: Annotated[list[Mount], Field(max_length=10_000), or_empty(list)] = []
    NetworkSettings: _Settings = _Settings()

    @property
    def name(self) -> str:
        """Its name, as people give it."""
        return self.Name.lstrip("/")

    @property
    def unhealthy(self) -> bool:
        """Whether it runs, and its healthcheck fails."""
        health = self.State.Health
        return (
            self.State.Status == "running" and health is not None and (health.Status == "unhealthy")
        )

    @property
    def app(self) -> str:
        """The App that it is, alone: one that portkit made keeps the App's name, as its own name
        says besides which Move made it, and is another one after each."""
        told = self.Config.Labels
        app = told.get(labels.APP, "")
        return app if ours(told.get(labels.MOVE, ""), app) else self.name

    @property
    def project(self) -> str:
        """The compose project that it is part of; "" for none."""
        return self.Config.Labels.get(labels.COMPOSE + "project", "")

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks with a name that it is in."""
        mode = self.HostConfig.NetworkMode
        alone = mode in ("none", "host") or mode.startswith(CONTAINER)
        joined = () if alone else tuple(self.NetworkSettings.Networks)
        return tuple(name for name in joined if name != "bridge")

    @property
    def volumes(self) -> tuple[str, ...]:
        """The volumes with a name that it uses."""
        return tuple(dict.fromkeys(mount.Name for mount in self.Mounts if mount.is_named))

    def reached(self, port: Port) -> Port | None:
        """Where a port that it publishes is reached now: the engine may have chosen the number.
        None where it has, and it does not run."""
        key = f"{port.target}/{port.protocol}"
        if str(port.host_port) in {
            row.HostPort for row in self.HostConfig.PortBindings.get(key) or ()
        }:
            return port
        usual = (port.host_ip,) if port.host_ip else ("", "0.0.0.0")  # noqa: S104 - it is compared
        rows = self.NetworkSettings.Ports.get(key) or []
        # Engines may choose one number for IPv4 and another one for IPv6.
        rows = sorted(rows, key=lambda row: row.HostIp not in usual)
        chosen = next((int(row.HostPort) for row in rows if row.HostPort.isdecimal()), 0)
        return replace(port, published=chosen) if chosen else None

    @property
    def service(self) -> str:
        """The service of a compose project, or a name made of its own."""
        told = self.Config.Labels.get(labels.COMPOSE + "service", "")
        return told or _NOT_A_NAME.sub("-", self.app).strip("-._")[:63] or "app"
