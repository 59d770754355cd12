"""One end of a VM that moved live is left, by what both ends do; a libvirt in memory at each."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.engines.libvirt_live import Condition
from portkit.errors import ConflictError, EngineError
from portkit.move import carry
from portkit.move.journal import MoveState
from portkit.move.live import Side
from portkit.move.live_step import Both
from tests.unit.move.fakes import LEFT, OFF, PAUSED, RUNS, End


def ends(source: Condition, target: Condition) -> tuple[Both, End, End]:
    here: Any = End(source)
    there: Any = End(target)
    return Both(here, there, "pk-a", "pk-b"), here, there


def test_a_last_answer_that_was_lost_leaves_the_source_alone() -> None:
    """libvirt has let the source go on, and the guest is paused on the target."""
    both, source, target = ends(RUNS, PAUSED)
    assert both.side() is Side.SOURCE
    both.only(Side.SOURCE)
    assert (source.did, target.did) == ([], ["cut"])


def test_it_is_written_down_before_it_runs_on_the_target() -> None:
    both, source, target = ends(LEFT, PAUSED)
    both.only(both.side())
    assert (source.did, target.did) == ([], ["mark", "proceed"])
    # The source was not told that it has gone.
    both, source, target = ends(PAUSED, replace(PAUSED, arrived=True))
    both.only(both.side())
    assert (source.did, target.did) == (["cut"], ["proceed"])


def test_a_source_that_runs_is_not_ended() -> None:
    both, source, target = ends(RUNS, PAUSED)
    with pytest.raises(EngineError, match="runs at its source"):
        both.only(Side.TARGET)
    assert source.did == target.did == []


def test_one_that_somebody_started_at_its_source_is_the_users_to_decide() -> None:
    for there in (RUNS, replace(OFF, arrived=True), replace(PAUSED, arrived=True)):
        both, source, target = ends(RUNS, there)
        assert both.found() is Side.BOTH
        with pytest.raises(ConflictError) as caught:
            both.side()
        assert "rollback pk-b --discard-writes" in caught.value.resolution
        both.only(Side.SOURCE)
        assert source.did == []
        assert not target.now.on
        assert both.side() is Side.SOURCE


conditions = st.sampled_from([RUNS, PAUSED, OFF, replace(RUNS, runs=False)])
marked = st.builds(replace, conditions, arrived=st.booleans())


@given(conditions, marked)
def test_what_the_source_does_later_is_never_given_up(here: Condition, there: Condition) -> None:
    both, source, target = ends(here, there)
    both.only(Side.SOURCE)
    assert not target.now.on
    source.now = OFF  # it ran, and its host was restarted
    assert both.side() is Side.SOURCE


def test_where_nobody_can_tell_nothing_is_said_of_writes() -> None:
    said: list[str] = []
    settled: list[object] = []
    observer = SimpleNamespace(message=said.append)
    ground: Any = SimpleNamespace(
        plan=SimpleNamespace(move="pk-b"), clock=SimpleNamespace(observer=observer)
    )
    journal: Any = SimpleNamespace(settle=lambda *row: settled.append(row))
    carry._unknown(ground, journal, "no answer")
    assert settled == [("pk-b", MoveState.WAITING, "no answer")]
    assert "autostart is off at the source" in said[0]
    assert "portkit resume pk-b" in said[1]
    assert not any("writes" in each for each in said)
