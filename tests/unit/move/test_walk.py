"""A Move's steps in all orders: killed anywhere, one command ends it."""

import os
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portkit import process
from portkit.clock import Clock
from portkit.errors import EngineError, SpaceError
from portkit.halt import Halt, Halted
from portkit.model import Form
from portkit.move import walk
from portkit.move.ground import Ground
from portkit.move.steps import steps_of
from portkit.move.walk import Step, StepState, backward, forward
from portkit.progress import NullObserver
from tests.factories import plan
from tests.unit.move.fakes import FakeRecord, FakeStep, Killed, steps_in
from tests.unit.move.lanes import Baton, Turns

HOST: Any = SimpleNamespace(endpoint="there")


def real_steps(**changes: Any) -> tuple[Step, ...]:
    """The steps of a Move in both forms; what they do is not used."""
    results: Any = SimpleNamespace(result=lambda name: {})
    return steps_of(Ground(plan(**changes), results, HOST, HOST, Clock(NullObserver())))


STEPS = {step.name: step for step in real_steps()}
NEEDS = {name: step.needs for name, step in STEPS.items()}
MEASURED = {"seconds": 1}


@dataclass
class World:
    """What is on the hosts, and in how many more actions the process is killed."""

    there: set[str] = field(default_factory=set)
    before: dict[str, bool] = field(default_factory=dict)
    locked: bool = False
    fuel: int = 1000
    broken: frozenset[str] = frozenset()
    baton: Baton = field(default_factory=Baton)
    halt: Halt = field(default_factory=Halt)

    def act(self, step: str) -> None:
        """One thing that happens; the process may be killed right before, in both lanes."""
        self.baton.point()
        if self.fuel == 0:
            raise Killed
        self.fuel -= 1
        if step in self.broken:
            raise EngineError(f"{step} cannot be done")


class PlayedStep(FakeStep):
    """A step that takes its place in a Move from a real one."""

    def before(self) -> dict[str, Any]:
        self.world.act(self.name)
        return {"was there": self.name in self.world.there}

    def do(self) -> dict[str, Any]:
        """In two halves, with the kill anywhere: the effect is there after the first."""
        self.world.act(self.name)
        # A transfer looks now and then whether it still makes sense; not every step does.
        if self.name.startswith("transfer"):
            self.world.halt.check()
        assert self.world.there.issuperset((*self.needs, *self.after)), "built on nothing"
        assert self.name == "reserve" or self.world.locked, "done without the lock"
        self.world.there.add(self.name)
        if self.name == "reserve":
            self.world.locked = True
        self.world.act(self.name)
        return MEASURED

    def undo(self) -> None:
        self.world.act(self.name)
        stands = [name for name, needs in NEEDS.items() if self.name in needs]
        assert not self.world.there & set(stands), "taken away from under another"
        self.world.there.discard(self.name)
        self.world.act(self.name)


def played(world: World) -> list[PlayedStep]:
    return steps_in(PlayedStep, world, STEPS)


def go(world: World, record: FakeRecord, *turns: bool) -> None:
    """Forward in two lanes, in the order that the turns give them."""
    world.baton = Baton(turns)
    world.halt = Turns(world.baton)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "threading", SimpleNamespace(Thread=world.baton.thread))
        forward(played(world), record, world.halt)


class Moves(RuleBasedStateMachine):
    """One Move, its process killed and started again at random; faults come and go."""

    @initialize()
    def start(self) -> None:
        self.world = World()
        self.record = FakeRecord(self.world)

    def _process(self, fuel: int, broken: frozenset[str]) -> None:
        self.world.fuel, self.world.broken, self.world.locked = fuel, broken, False

    @rule(
        fuel=st.integers(0, 60),
        broken=st.frozensets(st.sampled_from(sorted(NEEDS)), max_size=2),
        turns=st.lists(st.booleans(), max_size=60),
    )
    def go_on(self, fuel: int, broken: frozenset[str], turns: list[bool]) -> None:
        """`move` or `resume`, which goes back by itself when a step fails."""
        self._process(fuel, broken)
        try:
            go(self.world, self.record, *turns)
        except Killed:
            return
        except EngineError:
            try:
                backward(played(self.world), self.record)
            except Killed:
                return

    @precondition(lambda self: self.record.rows)
    @rule(
        fuel=st.integers(0, 60),
        broken=st.frozensets(st.sampled_from(sorted(NEEDS)), max_size=2),
    )
    def go_back(self, fuel: int, broken: frozenset[str]) -> None:
        self._process(fuel, broken)
        try:
            backward(played(self.world), self.record)
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
        go(self.world, self.record, *[True, False] * 50)
        assert self.world.there == set(NEEDS)
        assert all(self.record.state(name) is StepState.DONE for name in NEEDS)
        assert all(self.record.rows[name][1]["seconds"] == 1 for name in NEEDS)
        self._process(1000, frozenset())
        assert backward(played(self.world), self.record) == ()
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
    only = [step for step in played(world) if step.name == "reserve"]
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
    steps = played(world)
    forward(steps, record)
    world.locked = False
    forward(steps, record)
    assert not world.locked, "a Move that is complete locks nothing"
    record.note("release", StepState.DOING)
    forward(steps, record)
    assert world.locked


def test_what_cannot_be_undone_keeps_what_it_stands_on() -> None:
    world = World()
    record = FakeRecord(world)
    steps = played(world)
    forward(steps, record)
    world.broken = frozenset({"create disk"})
    left = backward(steps, record)
    assert [failure.step for failure in left] == ["create disk"]
    assert world.there == {"reserve", "package disk", "transfer disk", "create disk"}
    world.broken = frozenset()
    assert backward(steps, record) == ()
    assert world.there == set()


def test_every_step_stands_behind_those_that_it_waits_for() -> None:
    for changes in ({}, {"keep": Form.DISK}, {"keep": None}, {"source": None}):
        names: list[str] = []
        for step in real_steps(**changes):
            assert set(names).issuperset((*step.needs, *step.after)), step.name
            names.append(step.name)


def test_the_lanes_of_both_forms() -> None:
    aside = ["package disk", "transfer disk", "create disk"]
    assert [name for name, step in STEPS.items() if step.aside] == aside
    main = [name for name, step in STEPS.items() if not step.aside]
    assert main == [
        "reserve",
        "transfer image",
        "create image",
        "boot image",
        "boot disk",
        "start image",
        "commit",
        "release",
    ]
    assert not any(step.aside for step in real_steps(forms=(Form.DISK,), keep=Form.DISK))
    kept = [step.name for step in real_steps(keep=Form.DISK)]
    assert "start image" not in kept, "the disk goes on running from its boot"


def test_a_bundle_is_read_by_one_lane_at_a_time() -> None:
    made = {step.name: step for step in real_steps(source=None)}
    assert made["package disk"].after == ("create image",)
    assert STEPS["package disk"].after == ()


class Meeting:
    """Steps that need no host: two that each wait until the other has begun."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=10)
        self.record = FakeRecord(World())
        self.halt = Halt()
        self.done: list[str] = []

    def step(self, name: str, do: Any, *, aside: bool = False) -> Any:
        def run() -> dict[str, Any]:
            do()
            self.done.append(name)
            return {}

        about = {"needs": (), "after": (), "renewed": False, "aside": aside}
        return SimpleNamespace(name=name, before=dict, do=run, **about)

    def walk(self, main: Any, aside: Any) -> None:
        steps = [self.step("main", main), self.step("aside", aside, aside=True)]
        forward(steps, self.record, self.halt)


def test_both_lanes_are_at_work_at_once() -> None:
    meeting = Meeting()
    meeting.walk(meeting.both.wait, meeting.both.wait)
    assert sorted(meeting.done) == ["aside", "main"]


@pytest.mark.parametrize("fails", ["main", "aside"])
@pytest.mark.parametrize("error", [SpaceError("full"), KeyboardInterrupt()])
def test_a_lane_that_fails_ends_the_other(fails: str, error: BaseException) -> None:
    meeting = Meeting()

    def fail() -> None:
        meeting.both.wait()
        raise error

    def long() -> None:
        meeting.both.wait()
        meeting.halt.pause(10)
        raise AssertionError("it was not told")

    lanes = {"main": long, "aside": long, fails: fail}
    with pytest.raises(type(error)) as caught:
        meeting.walk(lanes["main"], lanes["aside"])
    assert caught.value is error
    assert meeting.done == []
    states = [meeting.record.state(name) for name in ("main", "aside")]
    assert states == [StepState.DOING] * 2, "both may have left something"


def test_a_lane_that_computes_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not look, and would go on for an hour; but not where it may not be interrupted."""
    monkeypatch.setattr(walk, "_PATIENCE_S", 0.1)
    meeting, whole = Meeting(), threading.Event()

    def computing() -> None:
        with process.uninterrupted():
            meeting.both.wait()
            time.sleep(0.3)
            whole.set()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            pass
        raise AssertionError("it was not interrupted")

    def fail() -> None:
        meeting.both.wait()
        raise SpaceError("full")

    with pytest.raises(SpaceError):
        meeting.walk(fail, computing)
    assert whole.is_set()
    assert not meeting.done


def test_a_lane_that_waits_for_a_program_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_PATIENCE_S", 0.1)
    meeting = Meeting()

    def waiting() -> None:
        meeting.both.wait()
        process.run(["sleep", "60"])

    def fail() -> None:
        meeting.both.wait()
        raise SpaceError("full")

    begun = time.monotonic()
    with pytest.raises(SpaceError):
        meeting.walk(fail, waiting)
    assert time.monotonic() - begun < 20


def test_the_error_of_the_lane_that_failed_first_is_raised() -> None:
    """The other one may fail only because of that: its connection was ended."""
    meeting = Meeting()

    def consequence() -> None:
        meeting.both.wait()
        with pytest.raises(Halted):
            meeting.halt.pause(10)
        raise EngineError("the connection broke")

    def cause() -> None:
        meeting.both.wait()
        raise SpaceError("full")

    with pytest.raises(SpaceError):
        meeting.walk(consequence, cause)


def test_who_presses_ctrl_c_gets_that() -> None:
    """Whatever had failed a moment before."""
    meeting = Meeting()

    def interrupted() -> None:
        meeting.both.wait()
        with pytest.raises(Halted):
            meeting.halt.pause(10)
        raise KeyboardInterrupt

    def cause() -> None:
        meeting.both.wait()
        raise SpaceError("full")

    with pytest.raises(KeyboardInterrupt):
        meeting.walk(interrupted, cause)
