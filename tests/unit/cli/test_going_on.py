"""What the list of Moves says of one that waits, and how it goes on."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from portkit_cli.main import main

from portkit.model import Form
from portkit.move import Journal, MoveState
from portkit.move.plan import Pause
from portkit.move.walk import StepState
from tests.factories import live, plan

MOVE = plan().move


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A Move of a running App, which has come as far as to wait."""
    monkeypatch.setenv("PORTKIT_STATE", str(tmp_path / "state"))
    made = Journal()
    pauses = (Pause.CUTOVER, Pause.COMMIT)
    moved = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live(), pauses=pauses)
    made.add(MOVE, app="shop", source="old", target="new", plan=moved.to_json())
    made.record(MOVE).note("wait", StepState.DOING)
    return made


def printed(*words: str) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def came_to_confirm(journal: Journal) -> None:
    for name in ("wait", "boot image"):
        journal.record(MOVE).note(name, StepState.DONE)
    journal.record(MOVE).note("confirm", StepState.DOING)


def test_one_that_waits_says_for_what(journal: Journal) -> None:
    with journal.held(MOVE):
        assert printed("moves").rstrip().endswith("waits for cutover")
        assert f"Cut it over:  portkit cutover {MOVE}" in printed("show", MOVE)
        came_to_confirm(journal)
        assert printed("moves").rstrip().endswith("waits for commit")
        shown = printed("show", MOVE)
        assert f"Keep it there: portkit commit {MOVE}" in shown
        assert f"portkit rollback {MOVE} --discard-writes\n" in shown


def test_one_whose_process_is_gone_goes_on_by_the_same_commands(journal: Journal) -> None:
    journal.settle(MOVE, MoveState.WAITING, "interrupted")
    assert printed("moves").rstrip().endswith("waits for cutover")
    assert f"Roll it back: portkit rollback {MOVE}\n" in printed("show", MOVE)
    came_to_confirm(journal)
    assert printed("moves").rstrip().endswith("waits for commit")
    assert f"portkit rollback {MOVE} --discard-writes\n" in printed("show", MOVE)


def test_one_that_another_version_has_planned_is_listed(journal: Journal) -> None:
    newer = {"schema": "portkit.plan/99", "live": {"containers": []}}
    journal.add("pk-000000000009", app="blog", source="old", target="new", plan=newer)
    journal.settle("pk-000000000009", MoveState.WAITING)
    assert "UNFINISHED (waiting)" in printed("moves")


def test_one_that_was_killed_is_resumed(journal: Journal) -> None:
    came_to_confirm(journal)
    shown = printed("show", MOVE)
    assert f"Continue it:  portkit resume {MOVE}" in shown
    assert "commit pk-" not in shown


def test_one_that_has_ended_needs_nothing(journal: Journal) -> None:
    came_to_confirm(journal)
    journal.settle(MOVE, MoveState.DONE)
    assert printed("moves").rstrip().endswith("done")
    assert "portkit" not in printed("show", MOVE)


@pytest.mark.parametrize(
    "words",
    [
        ("rollback", MOVE, "--on", "new", "--without-source"),
        ("forget", MOVE, "--last-copy"),
        ("forget", MOVE, "--keep", "--last-copy"),
    ],
)
def test_options_that_mean_nothing_together(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 2, done.output
