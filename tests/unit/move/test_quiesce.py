"""The steps that run x-portkit.quiesce: of which containers, and when not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import move as moves
from portkit.clock import Clock
from portkit.errors import AppError, ToolError
from portkit.model import App, Form, Live, LiveContainer, Quiesce, Service
from portkit.move import cutover, quiesce
from portkit.move.ground import Ground
from portkit.move.steps import steps_of
from tests.factories import Heard, live, plan

HOST: Any = SimpleNamespace(name="there", endpoint="there")
DB = LiveContainer("a" * 64, "db", "always", running=True, quiesce=Quiesce(("rest",), ("go",)))
JOB = replace(DB, id="b" * 64, service="job")


class Ran:
    """What would have been run, where, and what ran there."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[str]]] = []
        self.error: ToolError | None = None

    @contextmanager
    def commands(self, host: Any, there: Live, *, move: str | None = None) -> Iterator[Any]:
        names = [each.service for each in there.containers if each.running]
        where = "target" if move else "source"

        def run(what: str) -> None:
            if self.error is not None:
                raise self.error
            self.told.append((f"{what} at the {where}", names))

        yield SimpleNamespace(before=lambda: run("before"), after=lambda pause: run("after"))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    made = Ran()
    monkeypatch.setattr(quiesce.cutover, "up_after_restart", lambda *_: None)
    monkeypatch.setattr(quiesce, "commands", made.commands)
    monkeypatch.setattr(cutover, "origin", lambda host, there: _nothing())
    monkeypatch.setattr(cutover, "start", lambda ground, there: None)
    return made


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def ground(**changes: Any) -> tuple[Ground, Heard]:
    """A Move whose job had ended by the time when its source was fenced."""
    there = live(containers=(DB, JOB))
    fenced = {"was": asdict(replace(there, containers=(DB, replace(JOB, running=False))))}
    results: Any = SimpleNamespace(result=lambda name: fenced if name == "fence" else {})
    chosen = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=there)
    heard = Heard()
    return Ground(chosen, results, HOST, HOST, Clock(heard), **changes), heard


def both(made: Ground) -> tuple[Any, Any]:
    steps = {step.name: step for step in steps_of(made)}
    return steps["quiesce"], steps["unquiesce"]


def test_it_is_for_what_ran_when_the_source_was_fenced(ran: Ran) -> None:
    first, second = both(ground()[0])
    first.do()
    second.do()
    first.undo()
    assert ran.told == [
        ("before at the source", ["db"]),
        ("after at the target", ["db"]),
        ("after at the source", ["db"]),
    ]


def test_with_before_alone_the_target_needs_no_engine(ran: Ran) -> None:
    made, _ = ground()
    one = replace(DB, quiesce=Quiesce(("rest",)))
    results: Any = SimpleNamespace(result=lambda name: {})
    made = replace(made, results=results, plan=replace(made.plan, live=live(containers=(one,))))
    first, second = both(made)
    first.do()
    second.do()
    assert ran.told == [("before at the source", ["db"])]


@pytest.mark.parametrize(
    ("forms", "error"),
    [((Form.IMAGE,), "cannot run x-portkit.quiesce.after in a VM"), ((), "is empty")],
)
def test_an_app_that_is_a_vm_already_needs_no_after(forms: tuple[Form, ...], error: str) -> None:
    """It gets past that refusal, to the next one."""
    service = Service("db", image="db", quiesce=Quiesce(after=("go",)))
    app = App("shop", (service,), source="there", running=True)
    source: Any = SimpleNamespace(forms=forms or (Form.DISK,), host=HOST)
    with pytest.raises(AppError, match=error):
        moves.move_apps(
            apps=[app], source=source, target=HOST, forms=[Form.DISK], after_commit=[" "]
        )


def test_the_commands_of_after_commit_are_another_matter(ran: Ran) -> None:
    first, _ = both(ground(skip_hooks=True)[0])
    first.undo()
    assert ran.told == [("after at the source", ["db"])]


def test_a_move_ends_without_a_command_that_can_never_succeed(ran: Ran) -> None:
    ran.error = ToolError("a command in the container ended with code 1")
    first, second = both(ground()[0])
    with pytest.raises(ToolError) as caught:
        second.do()
    assert "portkit resume pk-0123456789ab --skip-quiesce" in caught.value.resolution
    with pytest.raises(ToolError) as caught:
        first.undo()
    assert "portkit rollback pk-0123456789ab --skip-quiesce" in caught.value.resolution
    made, heard = ground(skip_quiesce=True)
    first, second = both(made)
    first.do()
    second.do()
    first.undo()
    assert heard.messages == [
        "x-portkit.quiesce.before is skipped",
        "x-portkit.quiesce.after is skipped",
        "x-portkit.quiesce.after is skipped",
    ]
