"""The twins of the fakes by which a Move's steps are played: a step, the journal, and a libvirt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from portkit.engines.libvirt_live import Condition
from portkit.move.walk import Step, StepState


class Killed(BaseException):
    """SIGKILL: nothing of the process runs after it."""


class Acts(Protocol):
    """What is on the hosts. act: one thing that happens; the process may be killed right before."""

    def act(self, step: str) -> None: ...


@dataclass
class FakeStep:
    """What a real step is to the walk; what it does is a test's."""

    world: Any
    name: str
    needs: tuple[str, ...]
    after: tuple[str, ...]
    renewed: bool
    aside: bool


_Made = TypeVar("_Made", bound=FakeStep)


def steps_in(kind: type[_Made], world: Acts, real: Mapping[str, Step]) -> list[_Made]:
    """Fakes in the places of real steps."""
    return [
        kind(world, name, step.needs, step.after, step.renewed, step.aside)
        for name, step in real.items()
    ]


@dataclass
class FakeRecord:
    """The journal; a write is there as a whole or not at all."""

    world: Acts
    rows: dict[str, tuple[StepState, dict[str, Any]]] = field(default_factory=dict)

    def state(self, step: str) -> StepState:
        return self.rows.get(step, (StepState.PENDING, {}))[0]

    def note(self, step: str, state: StepState, result: dict[str, Any] | None = None) -> None:
        self.world.act("")
        known = self.rows.get(step, (StepState.PENDING, {}))[1]
        self.rows[step] = (state, {**known, **(result or {})})


RUNS = Condition(there=True, on=True, runs=True)
PAUSED = Condition(there=True, on=True, paused=True)
OFF = Condition(there=True)
LEFT = replace(OFF, left=True)


@dataclass
class End:
    """One host's libvirt, with one domain."""

    now: Condition
    did: list[str] = field(default_factory=list)

    def close(self) -> None: ...

    def await_sent(self, identity: str) -> None: ...

    def await_received(self, identity: str) -> None: ...

    def condition(self, identity: str, *, came: bool = False) -> Condition:
        return self.now

    def cut(self, identity: str) -> None:
        self.did.append("cut")
        self.now = replace(self.now, on=False, runs=False, paused=False)

    def proceed(self, identity: str) -> None:
        self.did.append("proceed")
        self.now = replace(self.now, runs=True, paused=False)

    def mark_arrived(self, identity: str) -> None:
        self.did.append("mark")
        self.now = replace(self.now, arrived=True)

    def forget_arrived(self, identity: str) -> None:
        self.did.append("forget")
        self.now = replace(self.now, arrived=False)
