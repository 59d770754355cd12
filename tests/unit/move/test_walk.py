"""A Move's steps in all orders: killed anywhere, one command ends it."""

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portkit.errors import EngineError
from portkit.move.walk import StepState, backward, forward

# Five steps as a Move has them: a lock, two transfers, an Instance on the second, a commit.
NEEDS: dict[str, tuple[str, ...]] = {
    "reserve": (),
    "transfer image": ("reserve",),
    "transfer disk": ("reserve",),
    "create disk": ("reserve", "transfer disk"),
    "commit": ("create disk",),
}
MEASURED = {"seconds": 1}


class Killed(BaseException):
    """SIGKILL: nothing of the process runs after it."""


@dataclass
class World:
    """What is on the hosts, and in how many more actions the process is killed."""

    there: set[str] = field(default_factory=set)
    before: dict[str, bool] = field(default_factory=dict)
    locked: bool = False
    fuel: int = 1000
    broken: frozenset[str] = frozenset()

    def act(self, step: str) -> None:
        """One thing that happens; the process may be killed right before."""
        if self.fuel == 0:
            raise Killed
        self.fuel -= 1
        if step in self.broken:
            raise EngineError(f"{step} cannot be done")


@dataclass
class FakeStep:
    world: World
    name: str
    needs: tuple[str, ...]
    renewed: bool = False

    def before(self) -> dict[str, Any]:
        self.world.act(self.name)
        return {"was there": self.name in self.world.there}

    def do(self) -> dict[str, Any]:
        """In two halves, with the kill anywhere: the effect is there after the first."""
        self.world.act(self.name)
        assert all(need in self.world.there for need in self.needs), "built on nothing"
        assert self.name == "reserve" or self.world.locked, "done without the lock"
        self.world.there.add(self.name)
        if self.renewed:
            self.world.locked = True
        self.world.act(self.name)
        return MEASURED

    def undo(self) -> None:
        self.world.act(self.name)
        stands = [name for name, needs in NEEDS.items() if self.name in needs]
        assert not self.world.there & set(stands), "taken away from under another"
        self.world.there.discard(self.name)
        self.world.act(self.name)


@dataclass
class FakeRecord:
    """The journal; a write is there as a whole or not at all."""

    world: World
    rows: dict[str, tuple[StepState, dict[str, Any]]] = field(default_factory=dict)

    def state(self, step: str) -> StepState:
        return self.rows.get(step, (StepState.PENDING, {}))[0]

    def note(self, step: str, state: StepState, result: dict[str, Any] | None = None) -> None:
        self.world.act("")
        known = self.rows.get(step, (StepState.PENDING, {}))[1]
        self.rows[step] = (state, {**known, **(result or {})})


def steps_in(world: World) -> list[FakeStep]:
    return [FakeStep(world, name, NEEDS[name], name == "reserve") for name in NEEDS]


class Moves(RuleBasedStateMachine):
    """One Move, its process killed and started again at random; faults come and go."""

    @initialize()
    def start(self) -> None:
        self.world = World()
        self.record = FakeRecord(self.world)

    def _process(self, fuel: int, broken: frozenset[str]) -> None:
        self.world.fuel, self.world.broken, self.world.locked = fuel, broken, False

    @rule(
        fuel=st.integers(0, 30),
        broken=st.frozensets(st.sampled_from(sorted(NEEDS)), max_size=2),
    )
    def go_on(self, fuel: int, broken: frozenset[str]) -> None:
        """`move` or `resume`, which goes back by itself when a step fails."""
        self._process(fuel, broken)
        steps = steps_in(self.world)
        try:
            forward(steps, self.record)
        except Killed:
            return
        except EngineError:
            try:
                backward(steps, self.record)
            except Killed:
                return

    @precondition(lambda self: self.record.rows)
    @rule(
        fuel=st.integers(0, 30),
        broken=st.frozensets(st.sampled_from(sorted(NEEDS)), max_size=2),
    )
    def go_back(self, fuel: int, broken: frozenset[str]) -> None:
        self._process(fuel, broken)
        try:
            backward(steps_in(self.world), self.record)
        except Killed:
            return

    @invariant()
    def what_is_there_is_recorded(self) -> None:
        gone = (StepState.PENDING, StepState.UNDONE)
        for name in self.world.there:
            assert self.record.state(name) not in gone, f"{name} is there and nobody knows"

    @invariant()
    def what_is_done_is_there(self) -> None:
        for name in NEEDS:
            if self.record.state(name) is StepState.DONE:
                assert name in self.world.there

    def teardown(self) -> None:
        """From wherever it was left, one command ends it: all, or after that nothing."""
        self._process(1000, frozenset())
        forward(steps_in(self.world), self.record)
        assert self.world.there == set(NEEDS)
        assert all(self.record.state(name) is StepState.DONE for name in NEEDS)
        assert all(self.record.rows[name][1]["seconds"] == 1 for name in NEEDS)
        self._process(1000, frozenset())
        assert backward(steps_in(self.world), self.record) == ()
        assert self.world.there == set()


# `make bench-kill` runs ten thousand.
Moves.TestCase.settings = settings(
    max_examples=int(os.environ.get("PORTKIT_WALK_RUNS", "300")), stateful_step_count=8
)
TestMoves = Moves.TestCase


def test_what_was_before_is_recorded_once() -> None:
    """A step that was begun and killed finds its own half-done work there: not what was before."""
    world = World(fuel=6)
    record = FakeRecord(world)
    only = [step for step in steps_in(world) if step.name == "reserve"]
    with pytest.raises(Killed):
        world.fuel = 3  # before, note, the first half of do
        forward(only, record)
    assert world.there == {"reserve"}
    world.fuel = 100
    forward(only, record)
    assert record.rows["reserve"][1]["was there"] is False


def test_a_lock_is_taken_again_only_while_there_is_something_to_do() -> None:
    world = World()
    record = FakeRecord(world)
    steps = steps_in(world)
    forward(steps, record)
    world.locked = False
    forward(steps, record)
    assert not world.locked, "a Move that is complete locks nothing"
    record.note("commit", StepState.DOING)
    forward(steps, record)
    assert world.locked


def test_what_cannot_be_undone_keeps_what_it_stands_on() -> None:
    world = World()
    record = FakeRecord(world)
    steps = steps_in(world)
    forward(steps, record)
    world.broken = frozenset({"create disk"})
    left = backward(steps, record)
    assert [failure.step for failure in left] == ["create disk"]
    assert world.there == {"reserve", "transfer disk", "create disk"}
    world.broken = frozenset()
    assert backward(steps, record) == ()
    assert world.there == set()
