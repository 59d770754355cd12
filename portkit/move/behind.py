"""What a Move that has ended well has left at the source of an App that ran there."""

from __future__ import annotations

from dataclasses import dataclass

from portkit import host as hosts
from portkit.errors import ConflictError
from portkit.move import forward
from portkit.move.by_marker import Connect
from portkit.move.journal import OPEN, Journal, MoveState
from portkit.move.plan import plan_from
from portkit.progress import NullObserver, Observer
from portkit.source.origin import origin


@dataclass(frozen=True)
class Left:
    """What stayed behind at the source of an App that has moved. deleted: whether it was removed
    now."""

    source: str
    things: tuple[str, ...]
    deleted: bool


def left_behind(
    identity: str,
    *,
    delete: bool = False,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Left | None:
    """What a Move has left at the source of a running App: stopped, fenced, with its data; None for
    a Move that stopped nothing.

    delete: remove its containers and volumes there. ConflictError when the Move has not ended, or
    when the App runs there.
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
        if delete and journal.get(identity).state is MoveState.DONE:
            there.delete()
            forward.end(identity, host)
    return Left(entry.source, things, delete)
