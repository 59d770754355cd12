"""A Move's steps, forward and back: the one walk that runs, resumes and rolls back.

Forward there are two lanes: steps that are `aside` go in a thread of their own beside the others,
each lane in the order of the list. The way back is one lane, when both have ended.

Before a step is begun, and after it has ended, its state is recorded; whatever happens in between,
whoever reads the record knows which steps may have left something. Every step can be done and
undone again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from portkit import process
from portkit.errors import PortkitError
from portkit.halt import Halt, Halted
from portkit.progress import Observer
from portkit.wire.json_types import JsonObject

_PATIENCE_S = 2.0  # more than twice as long as a lane that waits for a host does not look


class StepState(StrEnum):
    """Where a step is. `doing` and `undoing` are what a killed process leaves."""

    PENDING = "pending"
    DOING = "doing"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


class Step(Protocol):
    """One action of a Move on its hosts.

    name: unique in the Move. needs: names of earlier steps that it builds on; they are done before
    it and undone after it. after: names of earlier steps that it only waits for. renewed: it holds
    only as long as the process that did it (a lock), so whoever goes on with the Move does it
    again. aside: it goes in the second lane.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def after(self) -> tuple[str, ...]: ...

    @property
    def renewed(self) -> bool: ...

    @property
    def aside(self) -> bool: ...

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


def forward(steps: Sequence[Step], record: Record, halt: Halt | None = None) -> None:
    """Do every step that is not done yet; whatever a step raises ends the walk.

    halt: by which the steps of one lane can be told that the other has failed. The error that is
    raised is that of the lane that failed first. Both have ended then.
    """
    # A step that is renewed (the lock) is needed only if something is left to do after it.
    last = max((n for n, step in enumerate(steps) if not _done(step, record)), default=-1)
    lanes = _Lanes(
        [
            step
            for number, step in enumerate(steps)
            if not _done(step, record) or (step.renewed and number < last)
        ],
        record,
        halt or Halt(),
    )
    lanes.walk()


class _Lanes:
    """What is to be done, by two threads where there is something that goes aside."""

    def __init__(self, todo: Sequence[Step], record: Record, halt: Halt) -> None:
        self._todo, self._record, self._halt = todo, record, halt
        self._open = {step.name for step in todo}

    def walk(self) -> None:
        main = [step for step in self._todo if not step.aside]
        aside = [step for step in self._todo if step.aside]
        if not main or not aside:
            self._go(self._todo)
            return
        thread = threading.Thread(target=self._beside, args=(aside,), name="portkit aside")
        own: BaseException | None = None
        try:
            thread.start()
            self._go(main)
            thread.join()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too; it is raised below
            self._halt.give_up(error)
            own = error
        # Nobody may go on with the Move, or take it back, beside a lane that is still at work.
        with process.uninterrupted():
            _end(thread)
        # What the second failure says may only be a consequence of the first; Ctrl-C never is.
        interrupted = own is not None and not isinstance(own, Exception | Halted)
        first = own if interrupted else self._halt.error
        if first is not None:
            raise first

    def _beside(self, steps: Sequence[Step]) -> None:
        with suppress(Halted):  # one that came when all was over
            try:
                self._go(steps)
            except BaseException as error:  # noqa: BLE001 - `walk` raises it, in the other thread
                self._halt.give_up(error)

    def _go(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._halt.until(partial(self._free, step))
            _do(step, self._record)
            self._halt.tell(partial(self._open.discard, step.name))

    def _free(self, step: Step) -> bool:
        return self._open.isdisjoint((*step.needs, *step.after))


def _end(thread: threading.Thread) -> None:
    """Wait for the end of a lane that has been told of it. One that computes for long, such as over
    a large disk, does not look: it is interrupted, as Ctrl-C would have done."""
    if thread.ident is None:
        return
    thread.join(_PATIENCE_S)
    if thread.is_alive():
        process.interrupt(thread, Halted)
        thread.join()


def _do(step: Step, record: Record) -> None:
    if record.state(step.name) in (StepState.PENDING, StepState.UNDONE):
        record.note(step.name, StepState.DOING, step.before())
    # Of a step that was begun before, what `before` saw then is still what was before.
    record.note(step.name, StepState.DONE, step.do())


def backward(
    steps: Sequence[Step], record: Record, observer: Observer | None = None
) -> tuple[Failure, ...]:
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
        if observer is not None:
            observer.phase(f"undo {step.name}")
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
