"""A Move's steps, forward and back: the one walk that runs, resumes and rolls back. Pure.

Before a step is begun, and after it has ended, its state is recorded; whatever happens in between,
whoever reads the record knows which steps may have left something. Every step can be done and
undone again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from portkit.errors import PortkitError
from portkit.wire.json_types import JsonObject


class StepState(StrEnum):
    """Where a step is. `doing` and `undoing` are what a killed process leaves."""

    PENDING = "pending"
    DOING = "doing"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


class Step(Protocol):
    """One action of a Move on its hosts.

    name: unique in the Move. needs: names of earlier steps that it builds on; they are undone
    after it. renewed: it holds only as long as the process that did it (a lock), so whoever goes
    on with the Move does it again.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def renewed(self) -> bool: ...

    def before(self) -> JsonObject:
        """What `undo` has to know of how things were before; recorded before the step begins."""

    def do(self) -> JsonObject:
        """Do it, also when it was half done before; what it measured, recorded when it is done."""

    def undo(self) -> None:
        """Take it back, whether it was done, half done, or undone already."""


class Record(Protocol):
    """One Move's part of the journal."""

    def state(self, step: str) -> StepState: ...

    def note(self, step: str, state: StepState, result: JsonObject | None = None) -> None:
        """Record a step's state, on the disk when it returns; None leaves the result as it is."""


@dataclass(frozen=True)
class Failure:
    """A step that could not be undone."""

    step: str
    error: PortkitError


def forward(steps: Sequence[Step], record: Record) -> None:
    """Do every step that is not done yet, in order; whatever a step raises ends the walk."""
    # A step that is renewed (the lock) is needed only if something is left to do after it.
    last = max((n for n, step in enumerate(steps) if not _done(step, record)), default=-1)
    for number, step in enumerate(steps):
        if _done(step, record) and (number > last or not step.renewed):
            continue
        if record.state(step.name) in (StepState.PENDING, StepState.UNDONE):
            record.note(step.name, StepState.DOING, step.before())
        # Of a step that was begun before, what `before` saw then is still what was before.
        record.note(step.name, StepState.DONE, step.do())


def backward(steps: Sequence[Step], record: Record) -> tuple[Failure, ...]:
    """Undo every step that was begun, the last first. One that fails does not hold up the others,
    but those that it builds on stay as they are; empty when nothing is left."""
    failures: list[Failure] = []
    left: set[str] = set()
    for step in reversed(steps):
        if record.state(step.name) in (StepState.PENDING, StepState.UNDONE):
            continue
        # A blob must not be removed under an Instance that could not be.
        if any(step.name in other.needs for other in steps if other.name in left):
            left.add(step.name)
            continue
        record.note(step.name, StepState.UNDOING)
        try:
            step.undo()
        # Anything else is a bug or Ctrl-C, and ends the walk; the record says `undoing`, so that
        # the next one begins here.
        except PortkitError as error:
            failures.append(Failure(step.name, error))
            left.add(step.name)
        else:
            record.note(step.name, StepState.UNDONE)
    return tuple(failures)


def _done(step: Step, record: Record) -> bool:
    return record.state(step.name) is StepState.DONE
