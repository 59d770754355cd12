"""A Move of a running App that has ended is taken back only where its source is still there."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import ConflictError, EngineError
from portkit.model import Form
from portkit.move import unfinished
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import Pause
from portkit.move.walk import StepState
from tests.factories import live, plan


@contextmanager
def connect(name: str, _: Any) -> Iterator[Any]:
    yield SimpleNamespace(endpoint=name, name=name)


def test_the_target_goes_on_when_the_source_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live())
    journal = Journal()
    journal.add(made.move, app="shop", source="old", target="new", plan=made.to_json())
    journal.record(made.move).note("boot image", StepState.DONE)
    journal.settle(made.move, MoveState.DONE)
    asked: list[str] = []

    class Source:
        def require(self) -> None:
            asked.append("require")
            raise EngineError("a container of the App is not there any more")

    @contextmanager
    def origin(*_: object) -> Iterator[Source]:
        yield Source()

    def never(*_: object) -> None:
        raise AssertionError("something was taken back")

    monkeypatch.setattr(unfinished, "origin", origin)
    monkeypatch.setattr(unfinished, "walk_backward", never)
    with pytest.raises(EngineError, match="not there any more"):
        unfinished.rollback(made.move, discard_writes=True, journal=journal, connect=connect)
    assert asked == ["require"]
    assert journal.get(made.move).state is MoveState.DONE


def moved(journal: Journal, number: int, source: str, target: str, state: MoveState) -> str:
    """A Move of the App in the journal, whose target has been started."""
    identity = f"pk-{number:012d}"
    made = plan(
        move=identity,
        source=source,
        target=target,
        forms=(Form.IMAGE,),
        keep=Form.IMAGE,
        live=live(),
    )
    journal.add(identity, app="shop", source=source, target=target, plan=made.to_json())
    journal.record(identity).note("boot image", StepState.DONE)
    journal.settle(identity, state)
    return identity


def never(*_: object) -> None:
    raise AssertionError("something was taken back")


@pytest.mark.parametrize("state", [MoveState.RUNNING, MoveState.WAITING, MoveState.DONE])
def test_what_was_written_on_the_target_is_not_lost_unasked(
    monkeypatch: pytest.MonkeyPatch, state: MoveState
) -> None:
    monkeypatch.setattr(unfinished, "walk_backward", never)
    journal = Journal()
    identity = moved(journal, 1, "old", "new", state)
    with pytest.raises(ConflictError) as caught:
        unfinished.rollback(identity, journal=journal, connect=connect)
    assert "--discard-writes" in caught.value.resolution
    assert journal.get(identity).state is state


def test_a_move_that_another_one_went_on_from_is_not_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its target is the stopped source of that one, and the App runs on a third host."""
    monkeypatch.setattr(unfinished, "walk_backward", never)
    journal = Journal()
    first = moved(journal, 1, "a", "b", MoveState.DONE)
    second = moved(journal, 2, "b", "c", MoveState.DONE)
    with pytest.raises(ConflictError, match="has moved on since") as caught:
        unfinished.rollback(first, discard_writes=True, journal=journal, connect=connect)
    assert second in caught.value.resolution


def test_a_commit_before_the_cutover_starts_none() -> None:
    journal = Journal()
    identity = moved(journal, 1, "old", "new", MoveState.WAITING)
    journal.record(identity).note("boot image", StepState.UNDONE)
    with pytest.raises(ConflictError, match="not started on the target yet"):
        unfinished.go_on(identity, Pause.COMMIT, journal=journal, connect=connect)
    assert not journal.record(identity).told(Pause.COMMIT)
