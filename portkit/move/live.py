"""A VM that moves without a stop: which side is to run, and what is done for that. Pure.

libvirt's migration has three phases: the target prepares, the source copies, the target finishes.
The guest's processors stand still at the source from the end of the copy. libvirt is told not to
let them run on the target: if its answer were lost there, it would let them run at the source, too.
portkit does it once all of the guest is there and the source's QEMU has ended, or libvirt has said
that the guest is gone, and writes down before that it may have run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Doing(StrEnum):
    """What one side's domain does. PAUSED: by a migration, or, on the target, as it came. HALTED:
    it ran before, and stands still for another reason."""

    RUNS = "runs"
    PAUSED = "paused"
    HALTED = "halted"
    OFF = "off"
    ABSENT = "absent"


@dataclass(frozen=True)
class Seen:
    """One side. arrived: portkit has written down there that the guest may have run. left: libvirt
    says that it went away."""

    doing: Doing
    arrived: bool = False
    left: bool = False


class Side(StrEnum):
    """Who has the guest. BOTH: its processors run, or have run, on both."""

    SOURCE = "source"
    TARGET = "target"
    BOTH = "both"


def side(source: Seen, target: Seen) -> Side:
    """Which side is to run. Where the guest may have run on the target, it is the target: a client
    may have been told that something was written."""
    ran_there = target.arrived or target.doing in (Doing.RUNS, Doing.HALTED)
    if source.doing is Doing.RUNS:
        return Side.BOTH if ran_there else Side.SOURCE
    if ran_there or source.left:
        return Side.TARGET
    return Side.SOURCE


class Act(StrEnum):
    """What is done so that one side runs, in this order. MARK, FORGET: that it may have run on the
    target."""

    MARK = "mark"
    CUT_SOURCE = "cut source"
    CUT_TARGET = "cut target"
    FORGET = "forget"
    RESUME_SOURCE = "resume source"
    RESUME_TARGET = "resume target"


_ON = (Doing.RUNS, Doing.PAUSED, Doing.HALTED)


def acts(source: Seen, target: Seen, wanted: Side) -> tuple[Act, ...]:
    """What is left to do so that no more than the wanted side runs. The other one is ended first.
    A side that is off is not started by this: its processors and memory are gone."""
    ends, goes_on = (source, target) if wanted is Side.TARGET else (target, source)
    to_target = wanted is Side.TARGET
    found = []
    # Before the source is ended: else its memory could be taken for lost.
    if to_target and target.doing is Doing.PAUSED and not target.arrived:
        found.append(Act.MARK)
    if ends.doing in _ON:
        found.append(Act.CUT_SOURCE if to_target else Act.CUT_TARGET)
    # Before the source goes on: what it writes from then on would be given up for old disks.
    if not to_target and target.arrived:
        found.append(Act.FORGET)
    if goes_on.doing is Doing.PAUSED:
        found.append(Act.RESUME_TARGET if to_target else Act.RESUME_SOURCE)
    return tuple(found)
