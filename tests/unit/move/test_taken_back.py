"""A Move of a running App that has ended is taken back only where its source is still there."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import EngineError
from portkit.model import Form
from portkit.move import unfinished
from portkit.move.journal import Journal, MoveState
from tests.factories import live, plan


@contextmanager
def connect(name: str, _: Any) -> Iterator[Any]:
    yield SimpleNamespace(endpoint=name, name=name)


def test_the_target_goes_on_when_the_source_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live())
    journal = Journal()
    journal.add(made.move, app="shop", source="old", target="new", plan=made.to_json())
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
