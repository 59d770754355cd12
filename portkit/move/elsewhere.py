"""Whether an App that has moved is still where it went: if not, its source has the last copy."""

from __future__ import annotations

from collections.abc import Iterable

from portkit import boot
from portkit.boot import taken
from portkit.errors import ConflictError, HostError, TransferError
from portkit.host import Host
from portkit.model import REMAINS, Form
from portkit.move.by_marker import Connect
from portkit.move.journal import Entry, MoveState
from portkit.move.plan import Plan
from portkit.progress import Observer


def moved_on(entry: Entry, moves: Iterable[Entry]) -> Entry | None:
    """The completed Move that later took the App of this one on from its target. Pure."""
    made = entry.id.removeprefix("pk-")
    for other in moves:
        later = other.started > entry.started and other.source == entry.target
        same = other.app == entry.app or made in other.app
        if later and same and other.state is MoveState.DONE and other.plan.get("live"):
            return other
    return None


def require_elsewhere(
    entry: Entry, plan: Plan, moves: Iterable[Entry], observer: Observer, connect: Connect
) -> None:
    """ConflictError where neither the App nor its data is on the target, or nobody can tell; not
    where it has moved on from there."""
    if moved_on(entry, moves) is not None:
        return
    try:
        with connect(plan.target, observer) as target:
            there = _is_there(plan, target)
    except (HostError, TransferError) as error:
        raise _last(plan, f"{plan.target} cannot be reached: {error.brief}") from error
    if not there:
        raise _last(plan, f"neither the App nor all of its data is on {plan.target} any more")


def _is_there(plan: Plan, target: Host) -> bool:
    assert plan.live is not None, "only a running App has left something"
    rows = boot.instances(target)
    if any(each.id == plan.move and each.status != REMAINS for each in rows):
        return True  # while it is there, so are its volumes
    wanted = {each.number for each in plan.live.travelling}
    # `portkit rm` leaves the volumes of containers; those of a VM are its disks.
    if not wanted or plan.keep is not Form.IMAGE or target.facts().docker_version is None:
        return False
    with boot.runner(target, Form.IMAGE) as runner:
        found = set(runner.volume_names(plan.move))
    # Those that the target had before have no mark of the Move.
    own = {each.name: each.number for each in plan.live.taking}
    found |= {own[name] for name in taken.present(target, list(own))} if own else set()
    return wanted <= found


def _last(plan: Plan, why: str) -> ConflictError:
    return ConflictError(
        f"what stayed at {plan.source} may be the last copy of the App",
        details=f"{plan.move} of {plan.app}: {why}",
        resolution="Nothing was deleted. To leave it there: portkit forget "
        f"{plan.move} --keep\nTo delete it, with the only data that may be left: portkit forget "
        f"{plan.move} --delete --last-copy",
    )
