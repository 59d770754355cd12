"""Which side of a VM that was moving runs after a crash, whatever both look like."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.model import Form, Live, LiveDomain
from portkit.move.live import Act, Doing, Seen, Side, acts, side
from portkit.move.plan import FENCE, plan_from
from portkit.move.steps import steps_of  # noqa: F401 - the table of steps is whole
from tests.factories import plan

RUNS, PAUSED, OFF = Seen(Doing.RUNS), Seen(Doing.PAUSED), Seen(Doing.OFF)
ABSENT, HALTED = Seen(Doing.ABSENT), Seen(Doing.HALTED)
CAME, LEFT = replace(PAUSED, arrived=True), replace(OFF, left=True)
seen = st.builds(Seen, st.sampled_from(Doing), arrived=st.booleans(), left=st.booleans())
ON = (Doing.RUNS, Doing.PAUSED, Doing.HALTED)


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        (RUNS, PAUSED, Side.SOURCE),  # the copy went on, or libvirt's last answer was lost
        (RUNS, OFF, Side.SOURCE),  # libvirt took it back
        (PAUSED, PAUSED, Side.SOURCE),  # all was copied, and nothing has begun there
        (PAUSED, OFF, Side.SOURCE),
        (PAUSED, ABSENT, Side.SOURCE),
        (OFF, OFF, Side.SOURCE),  # its host was restarted meanwhile
        (PAUSED, CAME, Side.TARGET),  # it was about to run there
        (PAUSED, RUNS, Side.TARGET),  # the source was not told
        (LEFT, PAUSED, Side.TARGET),  # killed before the guest began there
        (PAUSED, HALTED, Side.TARGET),  # it ran there, and its disk became full
        (LEFT, RUNS, Side.TARGET),
        (LEFT, OFF, Side.TARGET),  # it ran there, and ended
        (OFF, replace(OFF, arrived=True), Side.TARGET),  # and both hosts were restarted
        (RUNS, replace(OFF, arrived=True), Side.BOTH),  # somebody started the source by hand
        (RUNS, CAME, Side.BOTH),
        (RUNS, RUNS, Side.BOTH),
    ],
)
def test_who_has_the_guest(source: Seen, target: Seen, wanted: Side) -> None:
    assert side(source, target) is wanted


def after(source: Seen, target: Seen, done: tuple[Act, ...]) -> tuple[Seen, Seen]:
    """What hosts make of it, which never let a guest run on both."""
    for act in done:
        match act:
            case Act.MARK:
                target = replace(target, arrived=True)
            case Act.FORGET:
                target = replace(target, arrived=False)
            case Act.CUT_SOURCE:
                source = replace(source, doing=Doing.OFF)
            case Act.CUT_TARGET:
                target = replace(target, doing=Doing.OFF)
            case Act.RESUME_SOURCE:
                assert target.doing not in ON
                assert not target.arrived, "old disks would be taken for the newer ones later"
                source = replace(source, doing=Doing.RUNS)
            case Act.RESUME_TARGET:
                assert source.doing not in ON
                assert target.arrived, "nobody would know that it ran"
                target = replace(target, doing=Doing.RUNS)
    return source, target


@given(seen, seen, st.sampled_from([Side.SOURCE, Side.TARGET]))
def test_no_more_than_one_is_left_on(source: Seen, target: Seen, wanted: Side) -> None:
    now = after(source, target, acts(source, target, wanted))
    on = [each.doing in ON for each in now]
    assert on.count(True) <= 1
    ends, goes_on = (now[0], now[1]) if wanted is Side.TARGET else (now[1], now[0])
    assert ends.doing not in ON
    assert goes_on.doing is not Doing.PAUSED, "it runs, unless it was off or halted"


@given(seen, seen)
def test_what_was_decided_stays_decided(source: Seen, target: Seen) -> None:
    """Killed after any of its acts, the next one decides the same."""
    wanted = side(source, target)
    if wanted is Side.BOTH:
        return
    every = acts(source, target, wanted)
    for count in range(len(every) + 1):
        now = after(source, target, every[:count])
        # Of a target that ran and left no record, its end would be forgotten: it is never ended.
        assert side(*now) is wanted
        assert acts(*now, wanted) == every[count:]


@given(seen, seen)
def test_writes_of_the_target_are_never_given_up(source: Seen, target: Seen) -> None:
    """Where the guest may have run there, it is the target, or the user is asked."""
    if target.arrived or target.doing in (Doing.RUNS, Doing.HALTED):
        both = source.doing is Doing.RUNS
        assert side(source, target) is (Side.BOTH if both else Side.TARGET)


@given(seen, seen, st.sampled_from(Doing))
def test_what_the_source_writes_after_a_way_back_is_never_given_up(
    source: Seen, target: Seen, later: Doing
) -> None:
    """Whatever becomes of the source afterwards, the target's older disks are not taken."""
    source, target = after(source, target, acts(source, target, Side.SOURCE))
    source = Seen(later)  # it ran, so libvirt does not say any more that it went away
    assert side(source, target) is Side.SOURCE


class Guest:
    """A libvirt in which each message of a migration's end may be lost, as libvirt treats that:
    without the target's answer, the source is told that the migration was cancelled."""

    def __init__(self, *, finish_came: bool, confirm_came: bool) -> None:
        self.source = Seen(Doing.RUNS if not finish_came else Doing.PAUSED)
        self.target = PAUSED  # as VIR_MIGRATE_PAUSED leaves it
        if finish_came and confirm_came:
            self.source = LEFT


@given(st.booleans(), st.booleans(), st.integers(0, 4))
def test_no_lost_answer_makes_it_run_twice(finish: bool, confirm: bool, killed: int) -> None:
    guest = Guest(finish_came=finish, confirm_came=confirm)
    wanted = side(guest.source, guest.target)
    assert wanted is (Side.TARGET if guest.source is LEFT else Side.SOURCE)
    done = acts(guest.source, guest.target, wanted)[:killed]
    now = after(guest.source, guest.target, done)
    assert [each.doing for each in now].count(Doing.RUNS) <= 1
    now = after(*now, acts(*now, side(*now)))
    assert [each.doing for each in now].count(Doing.RUNS) == 1


def test_the_steps_are_few_and_the_plan_is_not_an_older_portkits() -> None:
    domain = LiveDomain("pk-00000000000a", "always", autostart=True, running=True)
    cold = plan(forms=(Form.DISK,), keep=Form.DISK, live=Live((), (), domain=domain), holds={})
    live = replace(cold, live=Live((), (), domain=replace(domain, keeps_running=True)))
    assert live.without_stop
    assert not cold.without_stop
    assert live.to_json()["schema"] == "portkit.plan/7"
    assert plan_from(live.to_json()) == live
    names = live.steps()
    assert names[3:] == ("create disk", FENCE, "boot disk", "commit", "release")
    assert "stop" not in names
