"""A running App changes its host, in all orders: killed anywhere, hosts restarted, calls that fail.

At no moment do both sides serve, or are both set to start by themselves; no acknowledged write is
lost while the Move has not been committed; and one command ends it with one of them running.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portkit.clock import Clock
from portkit.errors import BootError, EngineError, HostError, ToolError, VerifyError
from portkit.model import Form, LiveContainer, LiveVolume, OnTaken, Quiesce
from portkit.move import carry
from portkit.move.carry import serves_on
from portkit.move.ground import Ground
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import LET_GO, Hook, Pause, Plan
from portkit.move.steps import steps_of
from portkit.move.walk import Step, StepState, backward, forward
from portkit.progress import NullObserver
from tests.factories import Heard, live, plan
from tests.unit.move.fakes import FakeRecord, FakeStep, Killed, steps_in

HOST: Any = SimpleNamespace(endpoint="there", name="there")


def planned() -> Plan:
    hooks = (Hook("./dns.sh", "/"), Hook("./balancer.sh", "/"))
    quiesce = Quiesce(before=("checkpoint",), after=("go", "on"))
    one = LiveContainer("a" * 64, "web", "always", running=True, quiesce=quiesce)
    theirs = LiveVolume(0, "data", "/v/data", way=OnTaken.OVERRIDE)
    there = live(containers=(one,), volumes=(theirs,))
    return plan(
        forms=(Form.IMAGE,),
        keep=Form.IMAGE,
        live=there,
        hooks=hooks,
        forward=True,
        pauses=(Pause.CUTOVER, Pause.COMMIT),
    )


def real_steps() -> tuple[Step, ...]:
    results: Any = SimpleNamespace(result=lambda name: {})
    return steps_of(Ground(PLAN, results, HOST, HOST, Clock(NullObserver())))


PLAN = planned()
STEPS = {step.name: step for step in real_steps()}


@dataclass
class Side:
    """One host: whether the App is there, runs, and is started by itself; and its data."""

    there: bool = False
    running: bool = False
    by_itself: bool = False
    data: int = 0
    at_rest: bool = False  # quiesced, which is in its data

    def restart(self) -> None:
        """The host, or its engine alone."""
        self.running = self.there and self.by_itself


@dataclass
class World:
    source: Side = field(default_factory=lambda: Side(there=True, running=True, by_itself=True))
    target: Side = field(default_factory=Side)
    fuel: int = 1000
    broken: frozenset[str] = frozenset()
    sick: bool = False
    slow: bool = False  # what is started again on the target does not answer in time
    sly: bool = False  # writes that change no time of a file: a pass that believes times misses one
    missed: bool = False  # the target lacks such a write
    verified: bool | None = None  # what the journal says of the step that finds it out
    set_aside: bool = False  # what the target's own volume had
    acknowledged: int = 0  # the last write that a client has an answer for
    forwards: bool = False  # the source, at the ports that the App has there
    told: dict[int, str] = field(default_factory=dict)  # what each hook was told last
    restarts: dict[int, set[str]] = field(default_factory=dict)  # when so much fuel is left

    def act(self, step: str) -> None:
        if self.fuel == 0:
            raise Killed
        self.fuel -= 1
        for name in self.restarts.get(self.fuel, ()):
            side: Side = getattr(self, name)
            side.restart()
        if step in self.broken:
            raise EngineError(f"{step} cannot be done")
        self.write()
        self.check()

    def write(self) -> None:
        """A client writes all the time, to whoever serves."""
        for side in (self.source, self.target):
            if side.running:
                side.data += 1
                self.acknowledged = side.data

    def check(self) -> None:
        assert not (self.source.running and self.target.running), "both serve"
        assert not (self.source.by_itself and self.target.by_itself), "both would start"
        assert not (self.source.running and self.forwards), "two want the same ports"

    # what the steps do, by their names

    def do_volumes(self) -> None:
        self.set_aside = True

    def undo_volumes(self) -> None:
        assert not self.target.there, "what it has was changed under the App"
        self.set_aside = False

    def do_create_image(self) -> None:
        assert self.set_aside, "the App would get what somebody else's volume has"
        self.target.there = True

    def undo_create_image(self) -> None:
        assert not self.target.running
        self.target = Side()

    def do_presync(self) -> None:
        assert self.target.there
        self.target.data = self.source.data  # over whatever is there

    def do_wait(self) -> None:
        self.do_presync()  # the data keeps up

    def do_fence(self) -> None:
        self.source.by_itself = False

    def undo_fence(self) -> None:
        self.source.by_itself = True

    def do_quiesce(self) -> None:
        assert not self.source.by_itself, "quiesced before it was fenced"
        self._run_in(self.source)
        self.source.at_rest = True

    def undo_quiesce(self) -> None:
        self.source.running = True  # its host may have been restarted
        self._run_in(self.source)
        self.source.at_rest = False

    def up_after_restart(self) -> None:
        """As the function of that name in `cutover`."""
        if not self.target.running:
            assert not self.source.running
            if self.slow:
                raise BootError("it does not answer after a restart")
            self.target.running = True

    def do_unquiesce(self) -> None:
        self.up_after_restart()
        self._run_in(self.target)
        self.target.at_rest = False

    def _run_in(self, side: Side) -> None:
        if not side.running:
            raise EngineError("a command in a container that does not run")

    def do_stop(self) -> None:
        assert not self.source.by_itself, "stopped before it was fenced: it would come back"
        assert self.source.at_rest or not self.source.running, "stopped before it was quiesced"
        self.source.running = False

    def undo_stop(self) -> None:
        self.source.running = True

    def do_last_sync(self) -> None:
        assert self.target.there
        assert not self.source.running, "copied while it was written to"
        self.target.data, self.target.at_rest = self.source.data, self.source.at_rest
        # The real step is LastSync: see `disproved`.
        self.missed = self.sly and self.verified is not False

    def do_boot_image(self) -> None:
        assert self.target.there
        assert not self.source.running
        assert self.target.data >= self.source.data
        self.target.running = True

    def undo_boot_image(self) -> None:
        self.target.by_itself = False  # one that was only stopped could come back with its host
        self.target.running = False
        self.acknowledged = self.source.data  # it is said that what was written there is lost

    def before_verify_source(self) -> None:
        self.verified = False

    def do_verify_source(self) -> None:
        assert self.source.running is False, "verified while it was written to"
        self.up_after_restart()
        if self.missed:
            raise VerifyError("the source is not what was sent")
        self.verified = True

    def do_confirm(self) -> None:
        self.up_after_restart()

    def undo_commit(self) -> None:
        self.target.by_itself = False

    def do_commit(self) -> None:
        assert not self.missed, "the target is kept, and lacks what the source has"
        self.up_after_restart()
        if not self.target.running:
            raise BootError("the app ended after its first answer")
        self.target.by_itself = True

    def do_forward(self) -> None:
        assert self.target.by_itself, "it leads to where nothing serves"
        self.forwards = True

    def undo_forward(self) -> None:
        self.forwards = False

    def do_hook_1(self) -> None:
        self._tell(1, "commit")

    def undo_hook_1(self) -> None:
        self._tell(1, "rollback")

    def do_hook_2(self) -> None:
        assert self.told.get(1) == "commit", "they are told in their order"
        self._tell(2, "commit")

    def undo_hook_2(self) -> None:
        self._tell(2, "rollback")

    def _tell(self, hook: int, event: str) -> None:
        if event == "commit":
            assert self.target.by_itself, "it was told before the target keeps the App"
        self.told[hook] = event


class PlayedStep(FakeStep):
    """What a real step is to the walk, and does in the model."""

    def before(self) -> dict[str, Any]:
        self.world.act(self.name)
        self._of_the_world("before")
        return {}

    def do(self) -> dict[str, Any]:
        self._half("do")
        if self.world.sick and self.name == "boot image":
            raise BootError("it does not answer")
        return {}

    def undo(self) -> None:
        self._half("undo")

    def _half(self, what: str) -> None:
        self.world.act(self.name)
        self._of_the_world(what)
        self.world.act(self.name)

    def _of_the_world(self, what: str) -> None:
        getattr(self.world, f"{what}_{self.name.replace(' ', '_')}", lambda: None)()


def played(world: World) -> list[PlayedStep]:
    return steps_in(PlayedStep, world, STEPS)


RESTARTS = st.dictionaries(
    st.integers(0, 100), st.sets(st.sampled_from(("source", "target")), min_size=1), max_size=2
)
FAULTS = st.frozensets(st.sampled_from(sorted(STEPS)), max_size=2)


class Cutovers(RuleBasedStateMachine):
    """One Move, its process killed and started again at random; hosts restart; faults come."""

    @initialize()
    def start(self) -> None:
        self.world = World()
        self.record = FakeRecord(self.world)

    @property
    def committed(self) -> bool:
        return self.record.state("commit") is StepState.DONE

    def _go(self) -> None:
        """`move` or `resume`: a step that fails takes the Move back, unless the target has served
        before this process began, or nothing is said against it there."""
        served = self.record.state("boot image") in (StepState.DOING, StepState.DONE)
        try:
            forward(played(self.world), self.record)
        except (EngineError, BootError, VerifyError) as error:
            if not (self.committed or served or serves_on(PLAN, self.record, error)):
                # What the target has taken is lost then: never because a host was restarted.
                booted = self.record.state("boot image") is StepState.DONE
                assert isinstance(error, VerifyError) or not booted
                backward(played(self.world), self.record)

    @rule(
        fuel=st.integers(0, 120),  # a whole Move takes about 90
        broken=FAULTS,
        sick=st.booleans(),
        slow=st.booleans(),
        sly=st.booleans(),
        restarts=RESTARTS,
    )
    def go_on(
        self,
        fuel: int,
        broken: frozenset[str],
        sick: bool,
        slow: bool,
        sly: bool,
        restarts: dict[int, set[str]],
    ) -> None:
        """restarts: of hosts, while the process is at work."""
        world = self.world
        world.fuel, world.broken, world.sick, world.sly = fuel, broken, sick, sly
        world.slow, world.restarts = slow, restarts
        try:
            self._go()
        except Killed:
            return
        finally:
            world.restarts = {}

    @precondition(lambda self: self.record.rows)
    @rule(fuel=st.integers(0, 60), broken=FAULTS)
    def go_back(self, fuel: int, broken: frozenset[str]) -> None:
        self.world.fuel, self.world.broken = fuel, broken
        try:
            backward(played(self.world), self.record)
        except Killed:
            return

    @rule()
    def the_source_is_restarted(self) -> None:
        self.world.source.restart()

    @rule()
    def the_target_is_restarted(self) -> None:
        self.world.target.restart()

    @invariant()
    def one_owner(self) -> None:
        self.world.check()

    @invariant()
    def no_write_is_lost(self) -> None:
        sides = (self.world.source, self.world.target)
        assert max(side.data for side in sides) >= self.world.acknowledged

    def teardown(self) -> None:
        """From wherever it was left, one command ends it with one side running."""
        world = self.world
        world.fuel, world.broken, world.sick, world.slow = 1000, frozenset(), False, False
        self._go()
        assert world.source.running != world.target.running
        if world.target.running and world.missed:
            # It has served, and lacks a write of the source: nobody but the user can choose.
            state = self.record.state("verify source")
            assert state in (StepState.DOING, StepState.UNDOING)
        elif world.target.running:
            assert world.told == {1: "commit", 2: "commit"}
            assert world.forwards
            assert world.target.by_itself
            assert not world.target.at_rest
            assert not world.source.by_itself
        else:
            assert world.source.by_itself
            assert not world.target.there, "nothing is left"
        backward(played(world), self.record)
        assert (world.source.running, world.source.by_itself) == (True, True)
        assert not world.source.at_rest
        assert world.target == Side()
        assert not world.set_aside, "the target has again what its volume had"
        assert "commit" not in world.told.values(), "a hook that was told is told again"


# `make bench-kill` runs ten thousand.
Cutovers.TestCase.settings = settings(
    max_examples=int(os.environ.get("PORTKIT_WALK_RUNS", "300")), stateful_step_count=8
)
TestCutovers = Cutovers.TestCase


def test_the_order_of_a_cutover() -> None:
    names = list(STEPS)
    assert names == [
        "reserve",
        "volumes",
        "transfer image",
        "create image",
        "presync",
        "wait",
        "fence",
        "quiesce",
        "stop",
        "last layer",
        "last sync",
        "boot image",
        "unquiesce",
        "verify source",
        "confirm",
        "commit",
        "forward",
        "hook 1",
        "hook 2",
        "release",
    ]
    # What could not be stopped on the target keeps the source from being started.
    assert "stop" in STEPS["boot image"].needs
    # As long as the source could not be started again, what is on the target stays.
    assert "create image" in STEPS["stop"].needs
    assert "fence" in STEPS["stop"].needs
    # What the source has is verified while it is stopped, and before the target is kept.
    assert {"stop", "boot image"} <= set(STEPS["verify source"].needs)
    assert "verify source" in STEPS["commit"].needs


def test_a_missed_write_takes_the_cutover_back_and_comes_with_the_next() -> None:
    world = World(sly=True)
    record = FakeRecord(world)
    with pytest.raises(VerifyError):
        forward(played(world), record)
    assert world.missed
    names = list(STEPS)
    assert backward(played(world)[names.index("fence") :], record) == ()
    assert world.source.running
    assert not world.target.running
    forward(played(world), record)
    assert world.target.running
    assert not world.missed


@pytest.mark.parametrize(
    ("step", "error", "stays"),
    [
        ("verify source", HostError("the connection broke"), True),
        ("verify source", KeyboardInterrupt(), True),
        ("verify source", VerifyError("a volume at the source differs from what was sent"), False),
        ("commit", EngineError("the engine does not answer"), True),
        ("verify source", BootError("it does not answer after a restart"), True),
        ("commit", BootError("the app ended after its first answer"), True),
        ("commit", BootError("it does not answer after a restart"), True),
        ("unquiesce", ToolError("`after` has failed"), False),
        ("unquiesce", BootError("it does not answer after a restart"), True),
        ("unquiesce", HostError("the source cannot be reached"), True),
        ("unquiesce", KeyboardInterrupt(), True),
        ("boot image", BootError("it does not answer"), False),
        ("boot image", KeyboardInterrupt(), False),
    ],
)
def test_who_serves_well_on_the_target_is_not_stopped_for_what_fails_elsewhere(
    monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, stays: bool
) -> None:
    journal = Journal()
    journal.add(PLAN.move, app="shop", source="old", target="new", plan=PLAN.to_json())
    steps = journal.record(PLAN.move)
    undone: list[str] = []

    def fails(*_: object) -> None:
        for name in STEPS:
            steps.note(name, StepState.DOING if name == step else StepState.DONE)
            if name == step:
                raise error

    def backward(walked: Sequence[Step], *_: object) -> tuple[()]:
        undone.extend(each.name for each in reversed(walked))
        return ()

    monkeypatch.setattr(carry, "_forward", fails)
    monkeypatch.setattr(carry, "give_room", lambda _: None)
    monkeypatch.setattr(carry.walk, "backward", backward)
    heard = Heard()
    ground = Ground(PLAN, steps, HOST, HOST, Clock(heard))
    with pytest.raises(type(error)):
        carry.walk_forward(ground, journal, steps)
    assert journal.get(PLAN.move).state is MoveState.WAITING
    assert ("boot image" in undone) is not stays
    assert any("so it stays there" in text for text in heard.messages) is stays


def test_what_is_taken_over_by_a_rollback_gets_no_advice() -> None:
    journal = Journal()
    journal.add(PLAN.move, app="shop", source="old", target="new", plan=PLAN.to_json())
    steps = journal.record(PLAN.move)
    for name in ("presync", "boot image"):
        steps.note(name, StepState.DONE)
    steps.note("confirm", StepState.DOING)
    journal.tell(PLAN.move, LET_GO)
    heard = Heard()
    ground = Ground(PLAN, steps, HOST, HOST, Clock(heard))
    assert carry._stays_unfinished(ground, journal, steps, "taken over", served=True)
    assert journal.get(PLAN.move).state is MoveState.WAITING
    assert heard.messages == []
