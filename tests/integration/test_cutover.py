"""A running App changes its host while something fails; one command leaves it with one side.

`make bench-cutover` plays every point of every step; these are a few.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cutover
from portkit.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ground(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, store: Path
) -> Iterator[cutover.Ground]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTKIT_STORE", str(store))
        yield cutover.Ground(tmp_path_factory.mktemp("cutover"))
        cutover.away()


@pytest.mark.parametrize(
    "each",
    [
        cutover.Round("stop", "worked", "resume"),
        cutover.Round("last sync", "begun", "rollback"),
        cutover.Round("boot image", "worked", "rollback"),
        cutover.Round("boot image", "recorded", "resume", "kill+reboot beta"),
    ],
    ids=str,
)
def test_one_side_serves_in_the_end(ground: cutover.Ground, each: cutover.Round) -> None:
    assert cutover.play(ground, each) == ""


def test_a_move_that_waits_is_interrupted(ground: cutover.Ground) -> None:
    assert cutover.paused(ground, "--hold", "cutover") == ""


def test_a_move_that_another_machine_made(ground: cutover.Ground) -> None:
    assert cutover.elsewhere(ground) == ""
