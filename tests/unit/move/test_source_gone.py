"""The App runs on the target, and was removed at its source before the commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot
from portkit.errors import BootError, ConflictError, EngineError, HostError, PortkitError
from portkit.model import Form, Life
from portkit.move import cutover, source_gone, steps, unfinished
from portkit.move.journal import Journal, MoveState
from portkit.move.marker import LEFT
from portkit.move.open_entry import Ended
from portkit.move.plan import Pause
from portkit.move.walk import StepState
from tests.factories import Heard, live, plan

PLAN = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live(), pauses=(Pause.COMMIT,))
MOVE = PLAN.move
LOST = "container aaaaaaaaaaaa (web)"


@dataclass
class Hosts:
    """Both hosts. remembered: how much of the last pass is still to be verified."""

    monkeypatch: pytest.MonkeyPatch
    remembered: int = 1
    lost: tuple[str, ...] = (LOST,)
    instead: tuple[str, ...] = ()
    volume: HostError | None = None  # what the source says of the volume
    unreachable: HostError | None = None  # what ssh says of the source
    running: bool = True
    did: list[Any] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)
    journal: Journal = field(default_factory=Journal)

    def __post_init__(self) -> None:
        @contextmanager
        def origin(*_: object) -> Iterator[Any]:
            yield SimpleNamespace(
                lost=lambda: self.lost,
                in_its_place=lambda what: self.instead if what == "./shop" else (),
                require_stopped=lambda: None,
            )

        @contextmanager
        def runner(*_: object) -> Iterator[Any]:
            yield SimpleNamespace(
                life=lambda *_, **__: Life("running" if self.running else "exited"),
                commit=lambda *told: self.did.append(told),
            )

        def verify(*_: object) -> int:
            if self.volume is not None:
                raise self.volume
            self.did.append("verified")
            return 1

        self.monkeypatch.setattr(boot, "runner", runner)
        self.monkeypatch.setattr(source_gone, "origin", origin)
        self.monkeypatch.setattr(cutover, "origin", origin)
        self.monkeypatch.setattr(cutover, "verify_origin", verify)
        self.monkeypatch.setattr(steps, "mark", lambda *_: [])
        self.monkeypatch.setattr(steps, "release", lambda _: self.did.append("released"))
        journal = self.journal
        journal.add(MOVE, app="shop", source="old", target="new", plan=PLAN.to_json())
        record = journal.record(MOVE)
        names = PLAN.steps()
        for name in names[: names.index("boot image") + 1]:
            record.note(name, StepState.DONE, {})
        last = {"passes": [{"remembered": self.remembered, "digest": "d"}]}
        record.note("last sync", StepState.DONE, {"volumes": [last]})
        journal.settle(MOVE, MoveState.WAITING)

    def commit(self, *, unverified: bool = False) -> MoveState:
        @contextmanager
        def connect(name: str, _: Any) -> Iterator[Any]:
            if name == "old" and self.unreachable is not None:
                raise self.unreachable
            yield SimpleNamespace(endpoint=name, name=name, remote=SimpleNamespace(lost=False))

        ended = unfinished.go_on(
            MOVE,
            Pause.COMMIT,
            unverified=unverified,
            journal=self.journal,
            observer=self.heard,
            connect=connect,
        )
        return ended.state


def test_what_is_left_is_done_on_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch)
    assert there.commit() is MoveState.DONE
    assert there.did == ["verified", (MOVE, {"web": "always"}, None), "released"]
    assert any(LOST in each and "old" in each for each in there.heard.messages)
    assert there.journal.record(MOVE).result("verify source")["verified"] is True


@pytest.mark.parametrize("remembered", [0, 1])
def test_data_that_is_gone_was_not_verified(
    monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """Nothing is left to verify only where the last pass has hashed all of it."""
    there = Hosts(monkeypatch, remembered, volume=HostError("the folder does not exist"))
    if remembered:
        with pytest.raises(HostError, match="cannot be compared") as caught:
            there.commit()
        assert f"portkit commit {MOVE} --unverified" in caught.value.resolution
        assert there.did == []
        assert there.journal.get(MOVE).state is MoveState.WAITING
        assert not any("portkit rollback" in each for each in there.heard.messages)
    assert there.commit(unverified=True) is MoveState.DONE
    told = there.journal.record(MOVE).result("verify source")
    assert told["verified"] is (not remembered)


def test_what_runs_in_its_place_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch, instead=("container bbbbbbbbbbbb",))
    with pytest.raises(ConflictError, match="in its place") as caught:
        there.commit()
    assert "bbbbbbbbbbbb" in caught.value.details
    assert there.did == []
    assert there.commit(unverified=True) is MoveState.DONE
    assert any("bbbbbbbbbbbb" in each for each in there.heard.messages)


@pytest.mark.parametrize("last", ["boot image", "commit"])
@pytest.mark.parametrize("remembered", [0, 1])
def test_a_source_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, last: str, remembered: int
) -> None:
    """The App was fenced there, so it does not start by itself when its host is back."""
    there = Hosts(
        monkeypatch, unreachable=HostError("old cannot be reached", resolution="Start it.")
    )
    names = PLAN.steps()
    for name in names[: names.index(last) + 1]:
        there.journal.record(MOVE).note(name, StepState.DONE, {})
    last_pass = {"passes": [{"remembered": remembered, "digest": "d"}]}
    there.journal.record(MOVE).note("last sync", StepState.DONE, {"volumes": [last_pass]})
    with pytest.raises(HostError, match="old cannot be reached") as caught:
        there.commit()
    assert "Start it." in caught.value.resolution
    assert f"portkit commit {MOVE} --unverified" in caught.value.resolution
    assert there.did == []
    assert there.journal.get(MOVE).state is MoveState.WAITING

    assert there.commit(unverified=True) is MoveState.DONE
    assert there.did == [
        *([] if last == "commit" else [(MOVE, {"web": "always"}, None)]),
        "released",
    ]
    assert any(f"portkit forget {MOVE} --delete" in each for each in there.heard.messages)
    assert there.journal.record(MOVE).result("release")[LEFT] == ["source"]
    if last != "commit":
        told = there.journal.record(MOVE).result("verify source")
        assert told["verified"] is (not remembered), "or the last pass has hashed all of it"


def test_an_image_that_is_no_longer_here_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Store here was emptied while the Move waited, and the App serves."""
    there = Hosts(monkeypatch, lost=())
    assert there.commit() is MoveState.DONE
    assert there.did == ["verified", (MOVE, {"web": "always"}, None), "released"]
    (said,) = [each for each in there.heard.messages if "no longer exists here" in each]
    assert "completed on new without it" in said
    assert "rolled back" not in said, "it could be"


def test_before_it_was_started_its_image_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch, lost=())
    there.journal.record(MOVE).note("boot image", StepState.DOING)
    with pytest.raises(PortkitError, match="no longer exists here") as caught:
        there.commit()
    assert f"portkit rollback {MOVE}" in caught.value.resolution
    assert there.did == []


@pytest.mark.parametrize("step", ["confirm", "verify source", "last sync"])
def test_a_process_at_work_is_no_dead_end(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """One that waits is relieved; another one is named, with what can be done."""
    there = Hosts(monkeypatch)
    names = PLAN.steps()
    for name in names:
        done = names.index(name) < names.index(step)
        there.journal.record(MOVE).note(name, StepState.DONE if done else StepState.PENDING)
    there.journal.record(MOVE).note(step, StepState.DOING)
    with there.journal.held(MOVE):

        def relieved(journal: Journal, move: str) -> None:
            journal.settle(move, MoveState.WAITING)
            monkeypatch.setattr(Journal, "_live", lambda *_: False)

        monkeypatch.setattr(unfinished, "take_over", relieved)
        monkeypatch.setattr(unfinished, "resume", lambda move, **_: Ended(move, MoveState.DONE))
        if step == "confirm":
            assert there.commit(unverified=True) is MoveState.DONE
            return
        with pytest.raises(ConflictError) as caught:
            there.commit(unverified=True)
    if step == "last sync":
        assert "First: portkit cutover" in caught.value.resolution
    else:
        assert "verify source" in caught.value.details
        assert "Ctrl-C" in caught.value.resolution


def test_one_that_has_ended_on_the_target_is_started_by_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Hosts(monkeypatch, running=False)
    with pytest.raises(BootError, match="this Move cannot start it") as caught:
        there.commit()
    assert f"portkit start {MOVE} --on new" in caught.value.resolution
    there.running = True
    assert there.commit() is MoveState.DONE


def test_before_it_was_started_on_the_target_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Hosts(monkeypatch)
    there.journal.record(MOVE).note("boot image", StepState.DOING)

    def gone(*_: object) -> Any:
        raise EngineError("a container of the App no longer exists")

    monkeypatch.setattr(source_gone, "image_of", lambda *_: None)
    monkeypatch.setattr(unfinished, "source_of", gone)
    with pytest.raises(EngineError, match="no longer exists"):
        there.commit()
    assert there.did == []
