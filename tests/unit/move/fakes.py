"""The twins of the fakes by which a Move's steps are played: a step, and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

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
