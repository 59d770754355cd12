"""What a Move that has ended well has left at the source of an App that ran there."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from portkit import host as hosts
from portkit.boot import taken
from portkit.boot.taken import SetAside
from portkit.errors import ConflictError
from portkit.host import Host
from portkit.model import Live, OnTaken
from portkit.move import forward
from portkit.move.by_marker import Connect
from portkit.move.journal import OPEN, Journal, MoveState
from portkit.move.plan import Plan, plan_from
from portkit.progress import NullObserver, Observer
from portkit.source.origin import origin


@dataclass(frozen=True)
class Left:
    """What stayed behind of an App that has moved: at its source, and of what volumes of the target
    had before (set_aside). deleted: whether it was removed now."""

    source: str
    things: tuple[str, ...]
    deleted: bool
    target: str = ""
    set_aside: tuple[SetAside, ...] = ()


def left_behind(
    identity: str,
    *,
    delete: bool = False,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Left | None:
    """What a Move has left at the source of a running App: stopped, fenced, with its data; and what
    volumes of the target had that it replaced. None for a Move that stopped nothing.

    delete: remove its containers and volumes there, and what was set aside. ConflictError when the
    Move has not ended, or when the App runs there.
    """
    journal = journal or Journal()
    entry = journal.get(identity)
    # Before the Plan is read: one that an older portkit wrote is forgotten as well.
    if not entry.plan.get("live") or entry.state is MoveState.ROLLED_BACK:
        return None
    plan = plan_from(entry.plan)
    assert plan.live is not None, "it was asked above"
    if entry.state in OPEN:
        raise ConflictError(
            "a Move that has not ended is not forgotten",
            details=f"{identity} is {entry.state}",
            resolution=f"End it first: portkit rollback {identity}",
        )
    with (
        journal.held(identity),
        connect(entry.source, observer or NullObserver()) as host,
        origin(host, plan.live) as there,
    ):
        found = [each for each in forward.forwarded(host) if each.move == identity]
        ports = [f"forward of port {port} to {to}" for each in found for port, to in each.ports]
        things = (*there.left(), *ports)
        removes = delete and journal.get(identity).state is MoveState.DONE
        aside = _set_aside(plan, connect, observer or NullObserver())
        if removes:
            _refuse_holding(plan.live, host)
            there.delete()
            forward.end(identity, host)
            _set_aside(plan, connect, observer or NullObserver(), drop=True)
    return Left(entry.source, things, delete, plan.target, aside)


def _refuse_holding(live: Live, source: Host) -> None:
    """ConflictError where a volume that would be deleted has beside it what it had before an
    earlier Move, which somebody may still want back."""
    folders = {posixpath.dirname(each.path): each.name for each in live.travelling if each.name}
    for each in taken.left(source):
        if posixpath.dirname(each.place) in folders:
            raise ConflictError(
                "a volume at the source still has what it had before an earlier Move",
                details=f"{each.volume} on {source.name}: {each.place}, of {each.move}",
                resolution="Nothing was deleted. To remove that first: "
                f"portkit forget {each.move} --delete",
            )


def _set_aside(
    plan: Plan, connect: Connect, observer: Observer, *, drop: bool = False
) -> tuple[SetAside, ...]:
    """What volumes of the target had before the Move."""
    assert plan.live is not None, "the caller knows"
    if not any(each.way is OnTaken.OVERRIDE for each in plan.live.taking):
        return ()
    with connect(plan.target, observer) as target:
        found = taken.left(target, plan.move)
        if drop:
            taken.drop(target, plan.move)
    return found
