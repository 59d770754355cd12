"""An App that was started on a host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from portkit.model.artifact import Form

REMAINS = "remains"  # of a Move that was killed: volumes or disks, and nothing that could run


@dataclass(frozen=True)
class ServiceState:
    """One of several services of an Instance. status, exit_code, health: as those of a Life."""

    name: str
    status: str
    exit_code: int | None = None
    health: str = ""


@dataclass(frozen=True)
class Standing:
    """How the services of an App stood at its source: no more is demanded of them on the target.

    resting: they did not run, and are not started. ill: their healthchecks failed, and are not
    waited for."""

    resting: tuple[str, ...] = ()
    ill: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instance:
    """An App started on a Host in a Form.

    id: "pk-" and 12 hex digits, the id of the Move that made it. url: its address, or "". services:
    for an App of several services.
    """

    id: str
    app: str
    form: Form
    host: str
    status: str  # created | running | exited | remains
    exit_code: int | None = None
    url: str = ""
    services: tuple[ServiceState, ...] = ()

    @property
    def running(self) -> bool:
        """Whether its process exists; that does not mean that it answers."""
        return self.status == "running"

    @property
    def host_ports(self) -> tuple[int, ...]:
        """The ports that it publishes on the host, as its engine reports them."""
        words = (word.removeprefix(":") for word in self.url.split())
        return tuple(int(word) for word in words if word.isdecimal() and len(word) <= 5)


@dataclass(frozen=True)
class MachineStart:
    """How a VM is started.

    loader: "direct" where QEMU starts the kernel itself, "disk" where the disk's own boot loader
    does. firmware: bios or uefi. kernel_line: the kernel's command line. mitigations: whether the
    kernel protects itself from the faults of processors. reasons: why it is so, in sentences.
    """

    loader: str
    firmware: str
    kernel_line: str
    mitigations: bool
    reasons: tuple[str, ...]


def worst_health(told: Iterable[str]) -> str:
    """What the healthchecks of several services amount to; "" where none has one."""
    known = set(told)
    return next((word for word in ("unhealthy", "starting", "healthy") if word in known), "")


@dataclass(frozen=True)
class Life:
    """An Instance as its engine sees it now.

    started: a text that changes with every start, "" before the app was started. restarts: how
    often the app was started again since then without being asked for. health: what the engine
    says of the App's own healthcheck (starting, healthy, unhealthy), "" where it runs none.
    address: where only the host reaches it, or "". service: of several, the one that ended or
    is unhealthy. again: what has ended and is about to be started again, in words. said: what the
    healthcheck that fails wrote last. stuck: it runs, and stands still until its host's disk has
    room.
    """

    status: str  # created | running | exited
    exit_code: int | None = None
    started: str = ""
    restarts: int = 0
    health: str = ""
    address: str = ""
    service: str = ""
    again: str = ""
    said: str = field(default="", compare=False)
    stuck: bool = False

    @property
    def running(self) -> bool:
        """Whether its process is there; whether it answers is another question."""
        return self.status == "running"
