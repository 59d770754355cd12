"""The journal's entry of a Move that is still to be ended, and how it was."""

from __future__ import annotations

import time
from dataclasses import dataclass

from portkit.errors import ConflictError
from portkit.move.journal import OPEN, Entry, Journal, MoveState, Steps
from portkit.move.marker import LEFT
from portkit.report import Report


@dataclass(frozen=True)
class Ended:
    """A Move that was ended: how, and its Report if it was resumed."""

    move: str
    state: MoveState
    report: Report | None = None


def open_entry(journal: Journal, identity: str) -> Entry:
    """The entry of a Move that has not ended; ConflictError for one that has."""
    entry = journal.get(identity)
    if entry.state in OPEN:
        return entry
    done = entry.state is MoveState.DONE
    if done and entry.plan.get("live"):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.ended))
        raise ConflictError(
            f"the Move has ended: the App runs on {entry.target}",
            details=f"{identity} of {entry.app}: what it wrote there since {when} is not at "
            f"{entry.source}",
            resolution="To start it at its source again and lose that: "
            f"portkit rollback {identity} --discard-writes",
        )
    way = "Nothing of it is left on the target."
    if done:
        way = f"To remove what it brought: portkit rm {identity} --on {entry.target}"
    elif places := left_on(entry, journal.record(identity)):
        way = "It was rolled back without a host. When that can be reached again:" + "".join(
            f"\nportkit rollback {identity} --on {host}" for _, host in places
        )
    raise ConflictError(
        f"the Move has ended: it is {entry.state}",
        details=f"{identity} of {entry.app}, {entry.source} -> {entry.target}",
        resolution=way,
    )


def left_on(entry: Entry, steps: Steps) -> tuple[tuple[str, str], ...]:
    """The hosts that have a marker of a Move that has ended, since they could not be reached then:
    ("source" or "target", name)."""
    names = {"source": entry.source, "target": entry.target}
    return tuple((role, names[role]) for role in steps.result("release").get(LEFT, ()))
