"""A Move of a running App that has ended is taken back only where its source is still there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from portkit_cli.main import main

from portkit import boot
from portkit.clock import Clock
from portkit.errors import (
    ConflictError,
    VerifyError,
)
from portkit.model import Form, Instance, Life, LiveContainer, LiveVolume, OnTaken, Quiesce
from portkit.move import carry, cutover, steps, taken_back, unfinished
from portkit.move.ground import Ground
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import Pause
from portkit.move.verified import unverified
from portkit.move.walk import StepState
from tests.factories import Heard, live, plan

SAME_BOOT = SimpleNamespace(call=lambda verb, args: {"boot_id": "b", "since": "1"})


@contextmanager
def connect(name: str, _: Any) -> Iterator[Any]:
    yield SimpleNamespace(endpoint=name, name=name)


@pytest.mark.parametrize("there", [True, False])
def test_the_target_goes_on_when_the_source_is_gone(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    made = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live())
    journal = Journal()
    journal.add(made.move, app="shop", source="old", target="new", plan=made.to_json())
    journal.record(made.move).note("boot image", StepState.DONE)
    journal.settle(made.move, MoveState.DONE)
    asked: list[str] = []

    class Source:
        def lost(self) -> tuple[str, ...]:
            asked.append("lost")
            return ("container aaaaaaaaaaaa (web)",)

    @contextmanager
    def origin(*_: object) -> Iterator[Source]:
        yield Source()

    def never(*_: object) -> None:
        raise AssertionError("something was taken back")

    on_target = [SimpleNamespace(id=made.move, status="running" if there else "remains")]
    monkeypatch.setattr(boot, "instances", lambda host: on_target)
    monkeypatch.setattr(carry, "origin", origin)
    monkeypatch.setattr(taken_back, "_lock_again", lambda *_: None)
    monkeypatch.setattr(taken_back, "end_forward", lambda *_: None)
    if not there:  # removed by `rollback --on`: nothing to lose, and the Move can end
        monkeypatch.setattr(taken_back, "walk_backward", lambda *_: ())
        ended = taken_back.rollback(
            made.move, discard_writes=True, journal=journal, connect=connect
        )
        assert ended.state is MoveState.ROLLED_BACK
        return
    monkeypatch.setattr(taken_back, "walk_backward", never)
    with pytest.raises(ConflictError, match="no longer there") as caught:
        taken_back.rollback(made.move, discard_writes=True, journal=journal, connect=connect)
    assert "container aaaaaaaaaaaa (web)" in caught.value.details
    assert f"portkit commit {made.move}" in caught.value.resolution, "it was not released"
    assert asked == ["lost"]
    assert journal.get(made.move).state is MoveState.DONE


def moved(
    journal: Journal,
    number: int,
    source: str,
    target: str,
    state: MoveState,
    *,
    app: str = "shop",
    volumes: tuple[LiveVolume, ...] = (),
) -> str:
    """A Move of the App in the journal, whose target has been started."""
    identity = f"pk-{number:012d}"
    made = plan(
        move=identity,
        source=source,
        target=target,
        forms=(Form.IMAGE,),
        keep=Form.IMAGE,
        live=live(volumes=volumes),
    )
    journal.add(identity, app=app, source=source, target=target, plan=made.to_json())
    journal.record(identity).note("boot image", StepState.DONE)
    journal.settle(identity, state)
    return identity


def never(*_: object) -> None:
    raise AssertionError("something was taken back")


@pytest.mark.parametrize("state", [MoveState.RUNNING, MoveState.WAITING, MoveState.DONE])
def test_what_was_written_on_the_target_is_not_lost_unasked(
    monkeypatch: pytest.MonkeyPatch, state: MoveState
) -> None:
    monkeypatch.setattr(taken_back, "walk_backward", never)
    journal = Journal()
    identity = moved(journal, 1, "old", "new", state)
    with pytest.raises(ConflictError) as caught:
        taken_back.rollback(identity, journal=journal, connect=connect)
    assert "--discard-writes" in caught.value.resolution
    assert journal.get(identity).state is state


def test_what_goes_on_serving_while_its_stop_fails_is_not_lost_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The walk back could not reach the target, and the App served there until the next day."""
    monkeypatch.setattr(taken_back, "walk_backward", never)
    rows = [Instance("pk-000000000001", "shop", Form.IMAGE, "new", "running")]

    @contextmanager
    def runner(host: Any, form: Form) -> Iterator[Any]:
        assert (host.name, form) == ("new", Form.IMAGE)
        yield SimpleNamespace(instances=lambda: tuple(rows))

    monkeypatch.setattr(boot, "runner", runner)
    journal = Journal()
    identity = moved(journal, 1, "old", "new", MoveState.ROLLING_BACK)
    journal.record(identity).note("boot image", StepState.UNDOING)
    with pytest.raises(ConflictError) as caught:
        taken_back.rollback(identity, journal=journal, connect=connect)
    assert "--discard-writes" in caught.value.resolution
    assert journal.get(identity).state is MoveState.ROLLING_BACK


@pytest.mark.parametrize("skip", [False, True])
def test_only_the_user_keeps_what_was_not_verified(
    monkeypatch: pytest.MonkeyPatch, skip: bool
) -> None:
    asked: list[str] = []

    @contextmanager
    def origin(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(require_stopped=lambda: asked.append("stopped"))

    @contextmanager
    def runner(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(life=lambda *_, **__: Life("running"))

    def differs(*_: object) -> None:
        raise VerifyError("a volume at the source is not what was sent to the target")

    monkeypatch.setattr(boot, "runner", runner)
    monkeypatch.setattr(cutover, "origin", origin)
    monkeypatch.setattr(cutover, "verify_origin", differs)
    chosen = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live())
    host: Any = SimpleNamespace(endpoint="there", name="there", remote=SAME_BOOT)
    sent: Any = {"volumes": [{"passes": [{"remembered": 1, "digest": ""}]}]}
    results: Any = SimpleNamespace(result=lambda name: sent)
    heard = Heard()
    ground = Ground(chosen, results, host, host, Clock(heard), from_start=False, unverified=skip)
    step = {each.name: each for each in steps.steps_of(ground)}["verify source"]
    if skip:
        assert step.do() == {"verified": False}
        assert heard.messages == ["the source was not verified, as the user requested"]
        sent["volumes"][0]["passes"][0]["remembered"] = 0
        assert step.do()["verified"] is True, "all of it was hashed after the stop"
        assert heard.messages == ["the source was not verified, as the user requested"]
    else:
        with pytest.raises(VerifyError):
            step.do()
    assert set(asked) == {"stopped"}, "it does not run beside the target, whatever was asked for"


@pytest.mark.parametrize(
    ("running", "state", "result", "said"),
    [
        (True, StepState.DONE, {"verified": False}, True),
        (True, StepState.DONE, {"verified": True}, False),
        (True, StepState.DOING, {"verified": False}, False),  # it was cut off, or has failed
        (True, StepState.DONE, {}, False),
        (False, StepState.DONE, {"verified": False}, False),
    ],
)
def test_a_move_that_nobody_verified_says_so_for_ever(
    running: bool, state: StepState, result: dict[str, Any], said: bool
) -> None:
    journal = Journal()
    chosen = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live() if running else None)
    journal.add(chosen.move, app="shop", source="old", target="new", plan=chosen.to_json())
    journal.record(chosen.move).note("verify source", state, result)
    assert (unverified(chosen, journal.record(chosen.move)) is not None) is said
    shown = CliRunner().invoke(main, ["show", chosen.move])
    assert shown.exit_code == 0, shown.output
    assert ("warning unverified: the data on the target" in shown.stdout) is said
    found = CliRunner().invoke(main, ["show", chosen.move, "--output", "json"])
    assert [row["rule"] for row in json.loads(found.stdout)["findings"]] == ["unverified"] * said


@pytest.mark.parametrize("step", ["unquiesce", "commit"])
def test_nothing_starts_on_the_target_while_the_source_runs(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed behind the boot; the target was restarted, and somebody started the source by hand."""
    one = LiveContainer("a" * 64, "web", "no", running=True, quiesce=Quiesce(after=("go",)))

    @contextmanager
    def runner(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(life=lambda *_, **__: Life("exited", 0))

    @contextmanager
    def origin(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(require_stopped=refuses)

    def refuses() -> None:
        raise ConflictError("the App was started again at its source")

    def started(*_: object) -> None:
        raise AssertionError("both serve")

    monkeypatch.setattr(boot, "runner", runner)
    monkeypatch.setattr(cutover, "origin", origin)
    monkeypatch.setattr(cutover, "up_again", started)
    monkeypatch.setattr(steps, "up_again", started)
    chosen = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live(containers=(one,)))
    host: Any = SimpleNamespace(endpoint="there", name="there", remote=SAME_BOOT)
    results: Any = SimpleNamespace(result=lambda name: {})
    ground = Ground(chosen, results, host, host, Clock(Heard()), from_start=False)
    with pytest.raises(ConflictError, match="started again at its source"):
        {each.name: each for each in steps.steps_of(ground)}[step].do()


def test_a_move_that_another_one_went_on_from_is_not_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its target is the stopped source of that one, and the App runs on a third host."""
    monkeypatch.setattr(taken_back, "walk_backward", never)
    journal = Journal()
    first = moved(journal, 1, "a", "b", MoveState.DONE)
    second = moved(journal, 2, "b", "c", MoveState.DONE)
    with pytest.raises(ConflictError, match="has been moved again since") as caught:
        taken_back.rollback(first, discard_writes=True, journal=journal, connect=connect)
    assert second in caught.value.resolution


@pytest.mark.parametrize(
    ("app", "way"),
    [("portkit-shop-000000000001", None), ("other", OnTaken.OVERRIDE), ("other", OnTaken.KEEP)],
)
def test_one_whose_app_came_back_is_not_taken_back(
    monkeypatch: pytest.MonkeyPatch, app: str, way: OnTaken | None
) -> None:
    """Its source would run a second time, on the same volume. The App went back by the name of the
    container that the first Move has made, or is known by its volume alone."""
    monkeypatch.setattr(taken_back, "walk_backward", never)
    journal, data = Journal(), LiveVolume(0, "shop_data", "/v")
    first = moved(journal, 1, "a", "b", MoveState.DONE, volumes=(data,))
    back = moved(journal, 2, "b", "a", MoveState.DONE, app=app, volumes=(replace(data, way=way),))
    with pytest.raises(ConflictError, match="has been moved again since") as caught:
        taken_back.rollback(first, discard_writes=True, journal=journal, connect=connect)
    assert back in caught.value.resolution


def test_a_move_of_another_app_is_no_return() -> None:
    journal = Journal()
    first = moved(journal, 1, "a", "b", MoveState.DONE, volumes=(LiveVolume(0, "data", "/v"),))
    other = LiveVolume(0, "mail", "/v", way=OnTaken.OVERRIDE)
    moved(journal, 2, "c", "a", MoveState.DONE, app="post", volumes=(other,))
    taken_back._refuse_older(journal, journal.get(first))


def test_a_commit_before_the_cutover_starts_none() -> None:
    journal = Journal()
    identity = moved(journal, 1, "old", "new", MoveState.WAITING)
    journal.record(identity).note("boot image", StepState.UNDONE)
    with pytest.raises(ConflictError, match="not been started on the target yet"):
        unfinished.go_on(identity, Pause.COMMIT, journal=journal, connect=connect)
    assert not journal.record(identity).told(Pause.COMMIT)
