"""A Move whose process is killed is ended by one command; two at once never break each other.

`make bench-kill` and `make bench-race` play every boundary and thirty pairs; these are a few.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import kill, race
from portkit.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
BOTH = ("image", "disk")


@pytest.fixture(scope="module")
def ground(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, store: Path
) -> Iterator[race.Ground]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTKIT_STORE", str(store))
        made = race.Ground(tmp_path_factory.mktemp("killed"))
    yield made
    made.decoys.away()


@pytest.mark.parametrize(
    "each",
    [
        kill.Round("transfer image", "inside", "resume", 0.5),
        pytest.param(kill.Round("package disk", "worked", "resume"), marks=pytest.mark.campaign),
        pytest.param(kill.Round("transfer disk", "worked", "rollback"), marks=pytest.mark.campaign),
        kill.Round("boot image", "begun", "rollback"),
        kill.Round("create disk", "worked", "resume"),
        pytest.param(kill.Round("start image", "worked", "resume"), marks=pytest.mark.campaign),
        kill.Round("commit", "worked", "rollback"),
    ],
    ids=str,
)
def test_one_command_ends_it(ground: race.Ground, each: kill.Round) -> None:
    assert kill.play(ground, each, BOTH) == ""


@pytest.mark.parametrize(
    "pair",
    [
        race.Pair(1, "same app", "image", 0.3),
        pytest.param(race.Pair(2, "same image", "image", 1.0), marks=pytest.mark.campaign),
        race.Pair(3, "same port", "image", 0.5),
        pytest.param(race.Pair(4, "the first fails", "image", 0.5), marks=pytest.mark.campaign),
    ],
    ids=str,
)
def test_two_at_once(ground: race.Ground, pair: race.Pair) -> None:
    assert race.play(ground, pair) == ""


def test_a_move_that_was_started_elsewhere(ground: race.Ground) -> None:
    """Another machine sees it by its marker, is refused, and takes it back without the journal."""
    before = kill.there()
    killed = ground.move(kill.Round("create image", "worked", ""), ("image",))
    assert killed.code == -9
    (entry, *_) = ground.journal.moves()
    shutil.move(ground.folder / "state", ground.folder / "elsewhere")
    try:
        refused = ground.move(kill.Round("none", "", ""), ("image",))
        assert refused.code == 10
        said = refused.stderr.decode()
        assert f"portkit rollback {entry.id} --on" in said
        assert os.uname().nodename in said
        for host in ("beta", "alpha"):
            done = ground.run("rollback", entry.id, "--on", f"lab:{host}")
            assert done.code == 0, done.stderr
        assert ground.run("rollback", entry.id, "--on", "lab:beta").code == 1, "nothing is left"
        assert kill.same(before, kill.there()) == ""
        listed = json.loads(ground.run("moves", "--output", "json").text)
        assert entry.id not in [row["id"] for row in listed]
    finally:
        shutil.rmtree(ground.folder / "state", ignore_errors=True)
        shutil.move(ground.folder / "elsewhere", ground.folder / "state")
        ground.run("rollback", entry.id)


def test_an_app_that_changed_is_not_resumed(ground: race.Ground) -> None:
    killed = ground.move(kill.Round("create image", "begun", ""), ("image",))
    assert killed.code == -9
    (entry, *_) = ground.journal.moves()
    compose = ground.folder / "compose.yaml"
    text = compose.read_text()
    try:
        compose.write_text(text.replace("here", "there"))
        done = ground.run("resume", entry.id)
        assert done.code == 3, done.stderr
        assert b"the App has changed since the Move began" in done.stderr
    finally:
        compose.write_text(text)
        assert ground.run("rollback", entry.id).code == 0
