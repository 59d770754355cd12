"""What of a running App a Move stops at its source, and the data that it takes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portkit.model.project import OnTaken
from portkit.model.quiesce import Quiesce


@dataclass(frozen=True)
class LiveContainer:
    """A container of the source. restart: its restart policy before the Move, in compose's words.
    running: whether it ran when the Move was planned. changed: whether it had changed files of its
    image by then. quiesce: what runs in it before it is stopped, and after. ill: whether its
    healthcheck failed."""

    id: str
    service: str
    restart: str
    running: bool
    changed: bool = False
    quiesce: Quiesce = field(default_factory=Quiesce)
    ill: bool = False


@dataclass(frozen=True)
class LiveVolume:
    """A volume of the source. number: as `AppSpec.volume_numbers` counts. name: what the engine
    calls it; "" for a folder of the host. path: where the source host has its content. created:
    when, as the engine says it. way: what is done with the target's volume of that name; None where
    it has none, or the data goes into a new one. image: the path is that of a disk, and the content
    is in its ext4 file system: it is read when the VM was stopped."""

    number: int
    name: str
    path: str
    created: str = ""
    way: OnTaken | None = None
    image: bool = False

    @property
    def called(self) -> str:
        """By what people know it at the source: a folder of the host has no other name."""
        return self.name or self.path


@dataclass(frozen=True)
class DataFolder:
    """A folder of the source host with data of an App. names: of the entries in it that are the
    data; none: all of them."""

    path: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveDomain:
    """A VM of portkit's at the source. id: of the Instance. restart: compose's word in its mark,
    before the Move. autostart: whether libvirt started it with the host. running: whether it ran
    when the Move was planned. keeps_running: it is not stopped, but goes on on the target. resting:
    services in it that are not started when it boots."""

    id: str
    restart: str
    autostart: bool
    running: bool
    keeps_running: bool = False
    resting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Behind:
    """A volume or a network that an App that has moved away has left. kind: which of them. id: what
    the engine knows it by. why: it is not deleted; "" where it is. created: of a volume, when, as
    the engine says it."""

    kind: str
    id: str
    name: str
    why: str = ""
    created: str = ""


@dataclass(frozen=True)
class Live:
    """An App at its source that is moved as it is there, with its data.

    containers: each after those that it needs. volumes: by number, each once. on_taken: what the
    user has chosen for volumes whose names the target has, by their names; "" is for all others.
    domain: where the App is a VM, which has no containers; its one volume is the folder of its
    disks, or, where it becomes containers, each volume is a disk. chosen: of each port (by its
    `key`) whose number the source's engine has chosen, that number.
    """

    containers: tuple[LiveContainer, ...]
    volumes: tuple[LiveVolume, ...]
    on_taken: Mapping[str, OnTaken] = field(default_factory=dict)
    domain: LiveDomain | None = None
    chosen: Mapping[str, int] = field(default_factory=dict)

    @property
    def travelling(self) -> tuple[LiveVolume, ...]:
        """The volumes whose data goes to the target."""
        return tuple(each for each in self.volumes if each.way is not OnTaken.KEEP)

    @property
    def warm(self) -> tuple[LiveVolume, ...]:
        """Those of them that can be copied while the App runs."""
        return tuple(each for each in self.travelling if not each.image)

    @property
    def taking(self) -> tuple[LiveVolume, ...]:
        """Those that take the place of a volume of the target, or leave it theirs."""
        return tuple(each for each in self.volumes if each.way is not None)

    @property
    def serves(self) -> bool:
        """Whether it ran when the Move was planned; containers that do not run are refused."""
        return self.domain is None or self.domain.running
