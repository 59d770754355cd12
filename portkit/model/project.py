"""What the services of an App share, and how they belong together: networks, volumes, files.

Files may hold passwords, so no repr shows what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Condition(StrEnum):
    """What has to be true of a service before one that depends on it is started."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True)
class Dependency:
    """A service that another one needs. required: False is a wish: without that service the other
    one starts all the same. restart: the other one is restarted when compose restarts it."""

    service: str
    condition: Condition = Condition.STARTED
    required: bool = True
    restart: bool = False


@dataclass(frozen=True)
class Subnet:
    """Addresses of a network. "": the engine chooses."""

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""


@dataclass(frozen=True)
class Network:
    """A network of the App. name: in the file. engine_name: what the engine calls it. external: it
    is not the App's alone: the App joins the host's, and makes it only where there is none.
    internal: it leads nowhere outside. driver: "" is the engine's own choice, or not known of an
    external one."""

    name: str
    engine_name: str
    external: bool = False
    internal: bool = False
    driver: str = ""
    subnets: tuple[Subnet, ...] = ()
    enable_ipv6: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    driver_opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attachment:
    """The place of a service in a network. aliases: names beside its own. "": chosen by the
    engine."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    priority: int = 0


class OnTaken(StrEnum):
    """What becomes of a volume of an App that brings its data, where the target has one of that
    name."""

    REFUSE = "refuse"
    OVERRIDE = "override"  # its data is replaced, and set aside until the Move is forgotten
    CLONE = "clone"  # the App's data goes into a volume of another name, in any case
    KEEP = "keep"  # the App starts on the target's data, and its own stays behind


# The way out of a refusal.
TAKEN_REMEDY = (
    "Look at what is in it, and choose. --volumes NAME=override replaces its data; a rollback "
    "puts that back. --volumes NAME=clone puts the App's data into a volume with a new name. "
    "--volumes NAME=keep starts the App on the data that is there and copies none of that volume."
)


@dataclass(frozen=True)
class Volume:
    """A volume of the App. name, engine_name: as those of a Network. external: the file says that
    it is there already. on_taken: where the App brings its data."""

    name: str
    engine_name: str
    external: bool = False
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    on_taken: OnTaken = OnTaken.REFUSE


class ContentKind(StrEnum):
    """Where a Content comes from in the file."""

    BIND = "bind"
    CONFIG = "config"
    SECRET = "secret"  # noqa: S105 - a word of compose


@dataclass(frozen=True)
class ContentFile:
    """A file, folder or link of a Content, as it was read.

    path: below the Content, "" for itself. kind: file, folder or link. data: its content, or where
    the link leads. mtime_s: when it was changed last, since 1970.
    """

    path: str = ""
    kind: str = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    data: bytes = field(default=b"", repr=False)


def content_bytes(files: Iterable[ContentFile]) -> int:
    """Bytes of all files among them; folders and links have none."""
    return sum(len(each.data) for each in files if each.kind == "file")


@dataclass(frozen=True)
class Content:
    """Files that travel with the App and stand at `target` in a service.

    source: a file or folder of this machine, which is mounted there; of what came in a bundle its
    name there. data: of a file that stands in the service's own root, as compose puts it there.
    Neither of them: an empty folder. name: of the config or secret, or of the path in the project's
    folder; the whole path where there is nothing yet. uid, gid, mode: None is as at the source, or
    what compose takes for data (0, 0, 0444). size_bytes: of all files in it. files: what is there,
    folders before what is in them; none before it was read.
    """

    target: str
    source: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    kind: ContentKind = ContentKind.BIND
    name: str = ""
    read_only: bool = False
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    size_bytes: int = 0
    files: tuple[ContentFile, ...] = field(default=(), repr=False)
