"""A Move that waits for the user is left to another process, which rolls it back."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import ConflictError
from portkit.halt import Halt
from portkit.model import Form
from portkit.move import pause, taken_back, unfinished, waits
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import LET_GO, Pause
from portkit.move.walk import StepState
from tests.factories import live, plan

PLAN = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live(), pauses=(Pause.CUTOVER, Pause.COMMIT))
MOVE = PLAN.move


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "state")
    made.add(MOVE, app="shop", source="old", target="new", plan=PLAN.to_json())
    yield made
    assert not made.record(MOVE).told(LET_GO), "the next process may wait again"


def test_who_waits_ends_when_another_takes_over(journal: Journal) -> None:
    def wait() -> None:
        there: Any = SimpleNamespace(results=journal.record(MOVE), halt=Halt(), plan=PLAN)
        with journal.held(MOVE):
            pause.wait_for(there, Pause.CUTOVER, 60.0)

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(wait)
        while not journal.get(MOVE).live:
            time.sleep(0.01)
        waits.take_over(journal, MOVE)
        assert not journal.get(MOVE).live
        with pytest.raises(ConflictError, match="another portkit takes this Move over"):
            waiting.result(timeout=0)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("wait", f"portkit rollback {MOVE}"),
        ("confirm", f"portkit rollback {MOVE} --discard-writes"),
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_a_second_move_is_told_what_the_first_one_waits_for(
    journal: Journal, step: str, says: str, held: bool
) -> None:
    steps = journal.record(MOVE)
    steps.note("boot image", StepState.DONE if step == "confirm" else StepState.PENDING)
    steps.note(step, StepState.DOING)
    journal.settle(MOVE, MoveState.RUNNING if held else MoveState.WAITING)
    wanted = Pause.COMMIT if step == "confirm" else Pause.CUTOVER
    with (
        journal.held(MOVE) if held else nullcontext(),
        pytest.raises(ConflictError, match=f"waits for {wanted}") as caught,
    ):
        unfinished.refuse(journal, "shop", "new")
    assert f"portkit {wanted} {MOVE}" in caught.value.resolution
    assert caught.value.resolution.endswith(says)


def test_who_does_not_end_goes_on(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_PATIENCE_S", 0.1)
    journal.record(MOVE).note("wait", StepState.DOING)
    with journal.held(MOVE), pytest.raises(ConflictError, match="another portkit is working"):
        taken_back.rollback(MOVE, journal=journal)


def test_nobody_ends_for_a_rollback_that_is_refused(journal: Journal) -> None:
    journal.record(MOVE).note("confirm", StepState.DOING)
    with journal.held(MOVE), pytest.raises(ConflictError, match="may have written") as caught:
        taken_back.rollback(MOVE, journal=journal)
    assert f"portkit commit {MOVE}" in caught.value.resolution


def test_who_does_not_wait_is_left_alone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_back, "take_over", lambda *_: pytest.fail("it is at work"))
    journal.record(MOVE).note("stop", StepState.DOING)
    with journal.held(MOVE), pytest.raises(ConflictError, match="another portkit is working"):
        taken_back.rollback(MOVE, journal=journal)
