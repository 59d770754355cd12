"""Where a Move is at work: its hosts, what it carries, and what is recorded of both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from portkit import boot
from portkit.clock import Clock
from portkit.errors import PortkitError
from portkit.halt import Halt, Heeding
from portkit.host import Host
from portkit.model import App, AppSpec, Artifact, Facts, Form
from portkit.move.downtime import Downtime
from portkit.move.plan import LAST_LAYER, Plan
from portkit.source import Source
from portkit.store import Store
from portkit.store.manifest import artifact_from, manifest_of
from portkit.volumes import Copy
from portkit.wire.json_types import JsonObject

# Bytes; a manifest lists blobs, of which an image has some hundred.
_MANIFEST_LIMIT = 16 << 20
WhileUp = Callable[[boot.Runner, str], None]
MAKE_DISK = "package disk"
SEND_DISK = "transfer disk"


class Results(Protocol):
    """What steps recorded of themselves; `portkit.move.journal.Steps` is one."""

    def result(self, step: str) -> JsonObject:
        """What the step recorded last; empty when there is nothing."""

    def told(self, word: str) -> bool:
        """Whether somebody has said that the Move shall not wait there any longer."""


@dataclass(frozen=True)
class Cargo:
    """What has to be at hand to go forward; to go back it is not needed.

    image: what a disk is made of. artifacts: those that are there; the disk comes when its step has
    made it. facts: of the target. while_up: is called with the Runner and the Instance's id when a
    form has answered, before it is stopped.
    """

    app: App
    spec: AppSpec
    image: Artifact
    artifacts: dict[Form, Artifact]
    facts: Facts
    store: Store
    source: Source
    while_up: WhileUp | None = None


@dataclass
class Ground:
    """Where a Move is at work: live connections, and what it carries.

    from_start: this process began the Move, so that its clock knows when that was. for_good: nobody
    is going to make this Move again, so that also what came of a blob that was cut is not kept.
    halt: by which a lane learns that the other has failed. copies: of the volumes of a running App,
    by number, with what this process knows of them. downtime: asks both hosts during a cutover.
    at_target: None for a rollback without the target. gone: why the source cannot be reached, which
    a Move that goes on needs for its marker only. skip_hooks: the
    user's commands after the commit are not run, but count as done. skip_quiesce: those of
    x-portkit.quiesce likewise. unverified: the target keeps the App, whatever its source is by now.
    began: when this process began with it.
    """

    plan: Plan
    results: Results
    at_target: Host | None
    source: Host | None
    clock: Clock
    cargo: Cargo | None = None
    from_start: bool = True
    for_good: bool = False
    skip_hooks: bool = False
    gone: PortkitError | None = None
    unverified: bool = False
    skip_quiesce: bool = False
    halt: Halt = field(default_factory=Halt)
    copies: dict[int, Copy] = field(default_factory=dict)
    downtime: Downtime = field(default_factory=Downtime)
    began: str = field(
        default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    )
    ends: list[tuple[str, Host]] = field(init=False)

    def __post_init__(self) -> None:
        both = (("target", self.at_target), ("source", self.source))
        self.ends = [(role, host) for role, host in both if host is not None]
        # Of two Moves from A to B and from B to A, one gets both locks: they ask in one order.
        self.ends.sort(key=lambda end: end[1].endpoint)

    @property
    def target(self) -> Host:
        """The target, which only a rollback can be without."""
        assert self.at_target is not None, "a step at the target was made without it"
        return self.at_target

    @property
    def missing(self) -> tuple[str, ...]:
        """The ends of the Move that are not at hand: "target", "source"."""
        return (
            *(("target",) if self.at_target is None else ()),
            *(("source",) if self.source is None and self.plan.source is not None else ()),
        )

    @property
    def loaded(self) -> Cargo:
        """The cargo, which a walk forward always has."""
        assert self.cargo is not None, "only a walk back is without it"
        return self.cargo

    def lane(self) -> Ground:
        """The same for one of the lanes, whose phases are its own."""
        observer = Heeding(self.clock.observer, self.halt)
        return replace(self, clock=self.clock.aside(observer))

    def blobs(self, form: Form) -> tuple[str, ...]:
        """Digests of what a form is made of; none of a disk that is not made yet. Of a running App
        it may be made twice."""
        if form is Form.IMAGE:
            return self.plan.blobs
        rows = (self.results.result(name).get("blobs", ()) for name in (MAKE_DISK, LAST_LAYER))
        return tuple(dict.fromkeys(digest for row in rows for digest in row))

    def brought(self) -> list[str]:
        """Digests of what the target lacked before this Move, as far as it was asked."""
        names = ("reserve", SEND_DISK, LAST_LAYER)
        rows = (self.results.result(name).get("brought", ()) for name in names)
        return sorted({digest for row in rows for digest in row})

    def phases(self) -> list[JsonObject]:
        """What was timed since the last call, for a step's result."""
        return [asdict(phase) for phase in self.clock.take()]


def keep(artifact: Artifact, store: Store) -> str:
    """Store an Artifact's manifest, so that whoever goes on with the Move has it; its digest."""
    return store.put_bytes(json.dumps(manifest_of(artifact), sort_keys=True).encode()).digest


def read(manifest: str, store: Store) -> Artifact:
    """The Artifact of a manifest, whatever became of its blobs."""
    return artifact_from(store.read_bytes(manifest, _MANIFEST_LIMIT))


def kept(manifest: str, store: Store) -> Artifact:
    """The Artifact of a manifest that `keep` stored; VerifyError when a blob of it is not there."""
    artifact = read(manifest, store)
    # Each is hashed here, once: what is sent after a resume is what was planned.
    for blob in artifact.blobs:
        store.content(blob.digest)
    return artifact
