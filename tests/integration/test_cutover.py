"""A running App changes its host while something fails; one command leaves it with one side.

`make bench-cutover` plays every point of every step; these are a few.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cutover
from bench.cutover_rounds import Round
from portkit.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ground(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, store: Path
) -> Iterator[cutover.Ground]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTKIT_STORE", str(store))
        made = cutover.Ground(tmp_path_factory.mktemp("cutover"))
        yield made
        made.subject.away()


@pytest.mark.campaign
def test_one_side_serves_in_the_end_of_a_vm(lab: Lab, tmp_path: Path) -> None:
    ground = cutover.Ground(tmp_path, cutover.SUBJECTS["vm"]())
    try:
        each = Round("boot disk", "worked", "rollback", subject="vm")
        assert cutover.play(ground, each) == ""
    finally:
        ground.subject.away()


@pytest.mark.parametrize(
    "each",
    [
        Round("stop", "worked", "resume"),
        Round("last sync", "begun", "rollback"),
        Round("boot image", "worked", "rollback"),
        Round("boot image", "recorded", "resume", "kill+reboot beta"),
    ],
    ids=str,
)
def test_one_side_serves_in_the_end(ground: cutover.Ground, each: Round) -> None:
    assert cutover.play(ground, each) == ""


def test_a_move_that_waits_is_interrupted(ground: cutover.Ground) -> None:
    assert cutover.paused(ground, "--hold", "cutover") == ""


def test_a_move_that_another_machine_made(ground: cutover.Ground) -> None:
    assert cutover.elsewhere(ground) == ""
