"""Commands after the commit: what they learn, and what becomes of the Move when one fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.clock import Clock
from portkit.errors import AppError, ConflictError, HookError, HostError, PortkitError
from portkit.model import Form, Port
from portkit.move import carry, hooks, taken_back, unfinished, walk
from portkit.move.ground import Ground
from portkit.move.hooks import Event, facts, hooks_of
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import Hook, Pause, Plan
from portkit.move.steps import steps_of
from portkit.move.walk import StepState
from tests.factories import Heard, live, plan

WRITES = 'env | grep ^PORTKIT_ | sort > "told-$PORTKIT_EVENT"; echo done; echo aloud >&2'


def host(name: str) -> Any:
    remote = SimpleNamespace(
        call=lambda *_: {"brought": [], "unreadable": []}, standing=[], halt=None, lost=False
    )
    return SimpleNamespace(name=name, endpoint=name, address=lambda: "10.0.0.7", remote=remote)


@contextmanager
def connect(name: str, _: Any) -> Iterator[Any]:
    yield host(name)


def planned(folder: Path, *commands: str, **changes: Any) -> Plan:
    asked = tuple(Hook(command, str(folder)) for command in commands)
    return plan(**{"forms": (Form.IMAGE,), "keep": Form.IMAGE, "hooks": asked, **changes})


def begun(chosen: Plan) -> Journal:
    """A Move whose App the target has kept."""
    journal = Journal()
    journal.add(chosen.move, app="shop", source="old", target="new", plan=chosen.to_json())
    for name in chosen.steps():
        if name == "hook 1":
            break
        about = {"boot": {"url": "http://10.0.0.7:80/"}} if name.startswith("boot") else {}
        journal.record(chosen.move).note(name, StepState.DONE, about)
    return journal


def ground(chosen: Plan, journal: Journal, **changes: Any) -> tuple[Ground, Heard]:
    heard = Heard()
    old, new = host("old"), host("new")
    made = Ground(chosen, journal.record(chosen.move), new, old, Clock(heard), **changes)
    return made, heard


def test_a_command_learns_what_the_move_is_about(tmp_path: Path) -> None:
    ports = (Port(80, 8080), Port(53, 53, "udp"))
    chosen = planned(tmp_path, WRITES, ports=ports)
    made, heard = ground(chosen, begun(chosen))
    step = {each.name: each for each in steps_of(made)}["hook 1"]
    step.do()
    assert (tmp_path / "told-commit").read_text().splitlines() == [
        "PORTKIT_APP=shop",
        "PORTKIT_EVENT=commit",
        "PORTKIT_FORM=image",
        "PORTKIT_MOVE=pk-0123456789ab",
        "PORTKIT_PORTS=8080/tcp 53/udp",
        "PORTKIT_SOURCE=old",
        "PORTKIT_SOURCE_ADDRESS=10.0.0.7",
        "PORTKIT_TARGET=new",
        "PORTKIT_TARGET_ADDRESS=10.0.0.7",
        "PORTKIT_URL=http://10.0.0.7:80/",
    ]
    assert heard.messages == ["hook 1: done", "hook 1: aloud"]
    step.undo()
    assert "PORTKIT_EVENT=rollback" in (tmp_path / "told-rollback").read_text()


def test_it_sees_nothing_of_portkits_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hush")
    chosen = planned(tmp_path, "env > seen; exit 3")
    made, _ = ground(chosen, begun(chosen))
    with pytest.raises(HookError):
        steps_of(made)[-2].do()
    assert "hush" not in (tmp_path / "seen").read_text()


def test_a_bundle_has_no_source() -> None:
    told = facts(plan(source=None), Form.DISK, Event.COMMIT, url="", target="b", source="")
    assert (told["PORTKIT_SOURCE"], told["PORTKIT_FORM"]) == ("", "disk")


@pytest.mark.parametrize(
    ("forms", "running"),
    [
        ((Form.IMAGE,), True),
        ((Form.DISK,), True),
        ((Form.IMAGE,), False),
        ((Form.DISK,), False),
        ((Form.IMAGE, Form.DISK), False),
    ],
)
def test_one_that_fails_takes_nothing_back_and_is_tried_again(
    tmp_path: Path, forms: tuple[Form, ...], running: bool
) -> None:
    first, second = "echo one >> log", "echo two >> log; test -e fixed || { echo why; exit 3; }"
    commands = (first, second, "echo three >> log")
    chosen = planned(tmp_path, *commands, forms=forms, keep=forms[-1])
    if running:
        chosen = replace(chosen, live=live())
    journal = begun(chosen)
    steps = journal.record(chosen.move)
    made, heard = ground(chosen, journal)
    with pytest.raises(HookError, match="the App has moved, but hook 2") as caught:
        carry.walk_forward(made, journal, steps)
    assert "why" in caught.value.details
    assert f"portkit resume {chosen.move}" in caught.value.resolution
    entry = journal.get(chosen.move)
    assert (entry.state, entry.error) == (MoveState.WAITING, caught.value.brief)
    assert steps.state("commit") is StepState.DONE
    assert any("the App runs on new" in text for text in heard.messages)
    with pytest.raises(HookError):
        unfinished.resume(chosen.move, journal=journal, connect=connect)
    (tmp_path / "fixed").touch()
    ended = unfinished.resume(chosen.move, journal=journal, connect=connect)
    assert ended.state is MoveState.DONE
    assert (tmp_path / "log").read_text().split() == ["one", "two", "two", "two", "three"]


def test_a_source_that_is_gone_keeps_nobody_from_being_told(tmp_path: Path) -> None:
    chosen = planned(tmp_path, "echo ${PORTKIT_SOURCE_ADDRESS:-gone} >> log", live=live())
    chosen = replace(chosen, forward=True)
    journal = begun(chosen)
    journal.record(chosen.move).note("forward", StepState.DOING)

    @contextmanager
    def target_alone(name: str, _: Any) -> Iterator[Any]:
        if name == "old":
            raise HostError("old cannot be reached")
        yield host(name)

    with pytest.raises(HostError, match="old cannot be reached"):
        unfinished.resume(chosen.move, journal=journal, connect=target_alone)
    states = [journal.record(chosen.move).state(name) for name in chosen.steps()[-2:]]
    assert states == [StepState.DONE, StepState.DOING]
    assert journal.get(chosen.move).state is MoveState.WAITING
    ended = unfinished.resume(chosen.move, journal=journal, connect=connect)
    assert ended.state is MoveState.DONE
    assert (tmp_path / "log").read_text() == "gone\n", "it is told once"


@pytest.mark.parametrize("form", Form)
def test_a_move_that_was_killed_behind_its_commit_is_ended(form: Form) -> None:
    chosen = plan(forms=(form,), keep=form, live=live())
    journal = begun(chosen)
    journal.record(chosen.move).note("release", StepState.DOING)
    ended = unfinished.resume(chosen.move, journal=journal, connect=connect)
    assert ended.state is MoveState.DONE


@pytest.mark.parametrize(("failed", "error"), [("hook 1", HookError), ("release", ConflictError)])
def test_who_waits_for_another_process_learns_what_failed_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failed: str,
    error: type[PortkitError],
) -> None:
    chosen = planned(tmp_path, "exit 1", live=live())
    journal = begun(chosen)
    if failed == "release":
        journal.record(chosen.move).note("hook 1", StepState.DONE)
    working = ExitStack()
    working.enter_context(journal.held(chosen.move))

    def meanwhile(seconds: float) -> None:
        journal.record(chosen.move).note(failed, StepState.DOING)
        journal.settle(chosen.move, MoveState.WAITING, "it failed")
        working.close()

    monkeypatch.setattr(unfinished, "time", SimpleNamespace(sleep=meanwhile))
    with working, pytest.raises(error) as caught:
        unfinished.go_on(chosen.move, Pause.COMMIT, journal=journal, connect=connect)
    assert type(caught.value) is error
    assert "it failed" in str(caught.value)


def test_a_move_ends_without_a_command_that_can_never_succeed(tmp_path: Path) -> None:
    chosen = planned(tmp_path, "exit 1")
    journal = begun(chosen)
    ended = unfinished.resume(chosen.move, skip_hooks=True, journal=journal, connect=connect)
    assert ended.state is MoveState.DONE


def test_one_that_was_skipped_is_not_told_of_the_rollback(tmp_path: Path) -> None:
    """One that had been begun before is: it may have done half of it."""
    chosen = planned(tmp_path, "echo 1 $PORTKIT_EVENT >> log; test $PORTKIT_EVENT = rollback")
    chosen = replace(chosen, hooks=(*chosen.hooks, Hook("echo 2 >> log", str(tmp_path))))
    journal = begun(chosen)
    made, _ = ground(chosen, journal)
    with pytest.raises(HookError):
        carry.walk_forward(made, journal, journal.record(chosen.move))
    unfinished.resume(chosen.move, skip_hooks=True, journal=journal, connect=connect)
    there = [step for step in steps_of(made) if step.name.startswith("hook ")]
    assert walk.backward(there, journal.record(chosen.move)) == ()
    assert (tmp_path / "log").read_text().splitlines() == ["1 commit", "1 rollback"]


def test_what_it_leaves_in_the_background_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_LIMIT_S", 30.0)
    chosen = planned(tmp_path, "sleep 3600 & echo $! > pid; echo done")
    made, heard = ground(chosen, begun(chosen))
    steps_of(made)[-2].do()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it goes on until now
    assert heard.messages == ["hook 1: done"]


def test_one_that_does_not_end_is_ended_with_what_it_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_LIMIT_S", 2.0)
    chosen = planned(tmp_path, "sleep 3600 & echo $! > pid; wait")
    made, _ = ground(chosen, begun(chosen))
    with pytest.raises(HookError) as caught:
        steps_of(made)[-2].do()
    assert "did not finish within 2 s" in caught.value.details
    _until_gone(int((tmp_path / "pid").read_text()))


def test_a_rollback_tells_those_that_were_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "echo {} $PORTKIT_EVENT >> log; test $PORTKIT_EVENT = commit -o -e fixed"
    commands = [words.format(1), words.format(2), "exit 1", words.format(4)]
    chosen = planned(tmp_path, *commands)
    journal = begun(chosen)
    made, _ = ground(chosen, journal)
    with pytest.raises(HookError):
        carry.walk_forward(made, journal, journal.record(chosen.move))

    undone: list[str] = []
    real = steps_of

    def hooks_alone(where: Ground) -> tuple[Any, ...]:
        """The other steps would ask engines."""
        return tuple(
            each if each.name.startswith("hook") else Undoes(each.name, each.needs, undone)
            for each in real(where)
        )

    monkeypatch.setattr(carry, "steps_of", hooks_alone)
    with pytest.raises(ConflictError, match="may have written data there") as refused:
        taken_back.rollback(chosen.move, journal=journal, connect=connect)
    assert f"rollback {chosen.move} --discard-writes" in refused.value.resolution
    assert undone == []
    assert journal.get(chosen.move).state is MoveState.WAITING
    with pytest.raises(HookError, match="failed during the rollback") as caught:
        taken_back.rollback(chosen.move, discard_writes=True, journal=journal, connect=connect)
    assert "--skip-hooks" in caught.value.resolution
    assert undone == ["commit", "boot image", "create image", "transfer image", "reserve"]
    assert journal.get(chosen.move).state is MoveState.ROLLING_BACK
    (tmp_path / "fixed").touch()
    with pytest.raises(HookError):  # the third was begun, and always fails
        taken_back.rollback(chosen.move, journal=journal, connect=connect)
    ended = taken_back.rollback(chosen.move, skip_hooks=True, journal=journal, connect=connect)
    assert ended.state is MoveState.ROLLED_BACK
    log = (tmp_path / "log").read_text().splitlines()
    assert log == [
        "1 commit",
        "2 commit",
        "2 rollback",
        "1 rollback",
        "2 rollback",
        "1 rollback",
    ]


def _until_gone(pid: int) -> None:
    """A process that was signalled ends a moment later, and may be a zombie until init asks."""
    deadline = time.monotonic() + 30
    with suppress(OSError):
        while ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < deadline, "it lives on"
            time.sleep(0.02)


@dataclass(frozen=True)
class Undoes:
    name: str
    needs: tuple[str, ...]
    undone: list[str]
    undone_at: str = ""

    def undo(self) -> None:
        self.undone.append(self.name)


def test_its_folder_is_gone(tmp_path: Path) -> None:
    chosen = planned(tmp_path / "gone", "true")
    made, _ = ground(chosen, begun(chosen))
    with pytest.raises(HookError) as caught:
        steps_of(made)[-2].do()
    assert str(tmp_path / "gone") in caught.value.details


def test_one_that_fails_holds_up_no_step_of_the_rollback(tmp_path: Path) -> None:
    chosen = planned(tmp_path, "true")
    made, _ = ground(chosen, begun(chosen))
    assert steps_of(made)[-2].needs == ()
    assert steps_of(made)[-2].after == ("commit",)


def test_commands_that_could_never_run_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AppError, match="needs a form that is kept"):
        hooks_of(["true"], None)
    with pytest.raises(AppError, match="empty"):
        hooks_of([" "], Form.IMAGE)
    monkeypatch.chdir(tmp_path)
    assert hooks_of(["true"], Form.IMAGE) == (Hook("true", str(tmp_path)),)
    assert hooks_of([], None) == ()
