"""A host is gone for good: the Move is rolled back without it, as the user vouches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot, transfer
from portkit.errors import ConflictError, HostError
from portkit.model import Form, Instance, LiveDomain
from portkit.move import carry, cutover, live_step, marker, taken_back
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import Hook, Pause, Plan
from portkit.move.walk import StepState
from tests.factories import Heard, live, plan
from tests.unit.move.fakes import LEFT, OFF, PAUSED, RUNS, End

RUNNING = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live(), pauses=(Pause.COMMIT,))
PLAIN = plan(forms=(Form.IMAGE,), keep=Form.IMAGE)
MOVE = PLAIN.move


@dataclass
class Hosts:
    """Both hosts, of which some are gone; what was done on the others."""

    monkeypatch: pytest.MonkeyPatch
    plan: Plan = RUNNING
    gone: tuple[str, ...] = ("new",)
    on_target: bool = True  # whether the target has the Instance
    did: list[str] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)
    journal: Journal = field(default_factory=Journal)

    def __post_init__(self) -> None:
        @contextmanager
        def origin(*_: object) -> Iterator[Any]:
            yield SimpleNamespace(
                lost=tuple,
                settle=tuple,
                unfence=lambda: self.did.append("unfence"),
                start=self._start,
                reached=lambda service, port: port,
            )

        @contextmanager
        def runner(host: Any, _: Form) -> Iterator[Any]:
            assert host.name == "new"
            yield SimpleNamespace(
                instances=self._instances,
                withdraw=lambda _: self.did.append("withdraw"),
                stop=lambda _: self.did.append("stop"),
                remove=lambda _: self.did.append("remove"),
            )

        self.monkeypatch.setattr(boot, "runner", runner)
        self.monkeypatch.setattr(boot, "instances", lambda _: self._instances())
        self.monkeypatch.setattr(carry, "origin", origin)
        self.monkeypatch.setattr(cutover, "origin", origin)
        self.monkeypatch.setattr(transfer, "release", lambda *_, **__: None)
        self.journal.add(MOVE, app="shop", source="old", target="new", plan=self.plan.to_json())

    def _start(self) -> tuple[str, ...]:
        self.did.append("start")
        return ()

    def _instances(self) -> tuple[Instance, ...]:
        there = Instance(MOVE, "shop", Form.IMAGE, "new", "running")
        return (there,) if self.on_target else ()

    def until(self, step: str, last: StepState = StepState.DONE) -> None:
        record, names = self.journal.record(MOVE), self.plan.steps()
        for name in names[: names.index(step) + 1]:
            record.note(name, StepState.DONE)
        record.note(step, last)
        ended = step == "release"
        self.journal.settle(MOVE, MoveState.DONE if ended else MoveState.WAITING)

    def rollback(self, **flags: bool) -> MoveState:
        @contextmanager
        def connect(name: str, _: Any) -> Iterator[Any]:
            if name in self.gone:
                raise HostError(f"{name} cannot be reached", resolution="Start it.")

            def call(verb: str, args: Any) -> Any:
                if verb in ("move.begin", "move.end"):
                    self.did.append(f"{verb} {name}")
                return {"brought": [], "unreadable": []}

            remote = SimpleNamespace(call=call, lost=False, standing=[])
            yield SimpleNamespace(
                name=name,
                endpoint=name,
                remote=remote,
                address=lambda: f"address of {name}",
                libvirt_uri=lambda: name,
            )

        return taken_back.rollback(
            MOVE, journal=self.journal, observer=self.heard, connect=connect, **flags
        ).state


@pytest.mark.parametrize(
    ("step", "state"),
    [("confirm", StepState.DOING), ("boot image", StepState.DOING), ("commit", StepState.DONE)],
)
def test_the_app_runs_at_its_source_without_the_target(
    monkeypatch: pytest.MonkeyPatch, step: str, state: StepState
) -> None:
    there = Hosts(monkeypatch)
    there.until(step, state)
    with pytest.raises(HostError, match="new cannot be reached") as caught:
        there.rollback(discard_writes=True)
    assert "Start it." in caught.value.resolution
    assert f"portkit rollback {MOVE} --without-target" in caught.value.resolution
    assert "without proof that it is stopped on new" in caught.value.resolution
    by_itself = "starts the App by itself when it comes back" in caught.value.resolution
    assert by_itself is (step == "commit")
    with pytest.raises(ConflictError, match="may have written data") as refused:
        there.rollback(without_target=True)
    way = f"portkit rollback {MOVE} --without-target --discard-writes"
    assert way in refused.value.resolution
    assert "To keep it there" not in refused.value.resolution, "nobody can"
    assert there.did == []
    assert there.journal.get(MOVE).state is MoveState.WAITING

    assert there.rollback(without_target=True, discard_writes=True) is MoveState.ROLLED_BACK
    # Stopped ones are started before their policies come back, and again behind that.
    assert there.did == ["move.begin old", "start", "unfence", "start", "move.end old"]
    assert any(f"portkit rollback {MOVE} --on new" in each for each in there.heard.messages)
    # The journal says what was not undone, and where to go from here.
    assert there.journal.record(MOVE).state("create image") is StepState.DONE
    with pytest.raises(ConflictError) as ended:
        there.rollback()
    assert f"portkit rollback {MOVE} --on new" in ended.value.resolution


def test_nothing_is_lost_where_it_was_not_started_there(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch)
    there.until("stop")
    assert there.rollback(without_target=True) is MoveState.ROLLED_BACK
    assert "unfence" in there.did


def test_one_that_has_ended_leaves_no_marker_on_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch)
    monkeypatch.setattr(taken_back, "end_forward", lambda *_: there.did.append("forward"))
    there.until("release")
    assert there.rollback(without_target=True, discard_writes=True) is MoveState.ROLLED_BACK
    assert any(f"portkit rm {MOVE} --data --on new" in each for each in there.heard.messages)
    assert there.journal.record(MOVE).result("release")[marker.LEFT] == []


@pytest.mark.parametrize("role", ["target", "source"])
def test_a_host_that_can_be_reached_is_needed(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    """Both would run."""
    there = Hosts(monkeypatch, gone=())
    there.until("confirm", StepState.DOING)
    with pytest.raises(ConflictError, match="can be reached") as caught:
        there.rollback(discard_writes=True, **{f"without_{role}": True})
    assert f"Leave out --without-{role}" in caught.value.resolution
    assert there.did == []


@pytest.mark.parametrize("gone", [("new",), ("old",), ("old", "new")])
def test_a_move_that_stops_nothing_ends_without_a_host(
    monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    there = Hosts(monkeypatch, PLAIN, gone)
    there.until("boot image", StepState.UNDOING)
    with pytest.raises(HostError) as caught:
        there.rollback()
    assert "--without-" in caught.value.resolution
    assert "proof" not in caught.value.resolution, "it does not run at its source"
    flags = {"without_target": "new" in gone, "without_source": "old" in gone}
    assert there.rollback(**flags) is MoveState.ROLLED_BACK
    assert ("remove" in there.did) is ("new" not in gone)
    assert ("move.end old" in there.did) is ("old" not in gone)
    there.journal.forget(MOVE)  # and so it blocks nobody


def test_a_hook_learns_of_a_rollback_without_the_target(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    words = 'echo "$PORTKIT_EVENT $PORTKIT_SOURCE_ADDRESS $PORTKIT_TARGET_ADDRESS." > told'
    hooks = (Hook(words, str(tmp_path)),)
    there = Hosts(monkeypatch, plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live(), hooks=hooks))
    there.until("hook 1", StepState.DOING)
    there.rollback(without_target=True, discard_writes=True)
    assert (tmp_path / "told").read_text() == "rollback address of old .\n"


def test_the_only_copy_is_not_removed_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch, gone=("old",))
    there.until("stop")
    with pytest.raises(ConflictError, match="only copy") as caught:
        there.rollback(without_source=True)
    way = f"portkit rollback {MOVE} --without-source --discard-writes"
    assert way in caught.value.resolution
    assert there.did == []
    assert there.rollback(without_source=True, discard_writes=True) is MoveState.ROLLED_BACK
    assert "remove" in there.did
    assert not {"start", "unfence"} & {*there.did}
    assert any(f"portkit rollback {MOVE} --on old" in each for each in there.heard.messages)


def test_before_data_has_arrived_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch, gone=("old",))
    there.until("create image")
    assert there.rollback(without_source=True) is MoveState.ROLLED_BACK


def test_an_app_that_runs_on_the_target_is_not_removed_with_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Hosts(monkeypatch, gone=("old",))
    there.until("confirm", StepState.DOING)
    with pytest.raises(ConflictError) as first:
        there.rollback(without_source=True)
    with pytest.raises(ConflictError, match="cannot be started at its source") as second:
        there.rollback(without_source=True, discard_writes=True)
    for caught in (first, second):
        assert f"portkit commit {MOVE} --unverified" in caught.value.resolution
    assert there.did == []
    there.on_target = False  # rollback --on
    assert there.rollback(without_source=True, discard_writes=True) is MoveState.ROLLED_BACK


VM = live(
    containers=(),
    domain=LiveDomain("pk-a", "always", autostart=True, running=True, keeps_running=True),
)


@pytest.mark.parametrize(
    ("now", "asks", "did"),
    [
        (RUNS, False, []),  # portkit lets it run on the target when it has ended here
        (PAUSED, True, ["proceed"]),
        (LEFT, True, []),
        (OFF, True, []),
    ],
)
def test_a_vm_that_was_on_its_way_when_the_target_was_lost(
    monkeypatch: pytest.MonkeyPatch, now: Any, asks: bool, did: list[str]
) -> None:
    end = End(now)
    monkeypatch.setattr(live_step, "LibvirtLive", lambda *_: end)
    moving = plan(forms=(Form.DISK,), keep=Form.DISK, live=VM)
    there = Hosts(monkeypatch, moving)
    there.until("boot disk", StepState.DOING)
    if asks:
        with pytest.raises(ConflictError, match="may have written data"):
            there.rollback(without_target=True)
        assert end.did == there.did == []
    assert there.rollback(without_target=True, discard_writes=asks) is MoveState.ROLLED_BACK
    assert end.did == did
    assert there.did == ["move.begin old", "unfence", "start", "move.end old"]


@pytest.mark.parametrize("arrived", [True, False])
def test_a_vm_that_was_on_its_way_when_the_source_was_lost(
    monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    end = End(RUNS if arrived else PAUSED)
    monkeypatch.setattr(live_step, "LibvirtLive", lambda *_: end)
    there = Hosts(monkeypatch, plan(forms=(Form.DISK,), keep=Form.DISK, live=VM), ("old",))
    there.until("boot disk", StepState.DOING)
    with pytest.raises(ConflictError, match="may have written" if arrived else "only copy"):
        there.rollback(without_source=True)
    if arrived:
        with pytest.raises(ConflictError, match="cannot be started at its source"):
            there.rollback(without_source=True, discard_writes=True)
        assert end.did == []
        return
    assert there.rollback(without_source=True, discard_writes=True) is MoveState.ROLLED_BACK
    assert end.did == ["cut"]
