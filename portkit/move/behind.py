"""What a Move that has ended well has left at the source of an App that ran there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

from portkit import host as hosts
from portkit.boot import taken
from portkit.boot.taken import SetAside
from portkit.errors import ConflictError
from portkit.host import Host
from portkit.model import Behind, Live, OnTaken
from portkit.move import forward
from portkit.move.by_marker import Connect
from portkit.move.elsewhere import require_elsewhere
from portkit.move.journal import OPEN, Entry, Journal, MoveState, Steps
from portkit.move.plan import VOLUMES, Plan, plan_from
from portkit.move.walk import StepState
from portkit.progress import NullObserver, Observer
from portkit.source.origin import origin

# In what the step `volumes` has recorded: what it has set aside was removed.
_DROPPED = "dropped"
# What was going to be removed at the source, in the journal beside the steps of the Move.
_FORGET, _KNOWN = "forget", "known"


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
    last_copy: bool = False,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Left | None:
    """What a Move has left at the source of a running App: stopped, fenced, with its data; and what
    volumes of the target had that it replaced. None for a Move that stopped nothing.

    delete: remove its containers, volumes and networks there, and what was set aside. ConflictError
    when the Move has not ended, when the App runs there, when one of these cannot be removed, or
    when what is at the source may be the last copy of the App, unless that is to go (last_copy).
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
        back = came_back(entry, journal.moves())
        steps = journal.record(identity)
        known = [Behind(**row) for row in steps.result(_FORGET).get(_KNOWN, ())]
        things = (*there.left(back, known), *ports)
        removes = delete and journal.get(identity).state is MoveState.DONE
        may_be = _may_be_aside(entry, steps)
        aside = _set_aside(plan, connect, observer or NullObserver()) if may_be else ()
        if removes:
            if not last_copy:
                require_elsewhere(entry, plan, journal.moves(), observer or NullObserver(), connect)
            _refuse_holding(plan.live, host, back)
            # Before the first is removed: after that, nothing there shows any more what is left.
            rows = {(each.kind, each.id): each for each in (*there.behind(back, known), *known)}
            known = list(rows.values())
            steps.note(_FORGET, StepState.DOING, {_KNOWN: [asdict(each) for each in known]})
            stay = there.delete(back, known)
            forward.end(identity, host)
            # It is still there where the Move ended without this host.
            host.remote.call("move.end", {"id": identity, "app": plan.app})
            if may_be:
                _set_aside(plan, connect, observer or NullObserver(), drop=True)
                steps.note(VOLUMES, StepState.DONE, {_DROPPED: True})
            _refuse_staying(identity, entry.source, stay)
    return Left(entry.source, things, delete, plan.target, aside)


def came_back(entry: Entry, moves: Iterable[Entry]) -> dict[str, str]:
    """The volumes at the source of a Move that a later one has taken for the App again: by their
    names, with the id of that Move. Pure."""
    later = [
        each
        for each in moves
        if each.started > entry.started
        and each.target == entry.source
        and each.state is not MoveState.ROLLED_BACK
    ]
    return {name: each.id for each in later for name in _taking(each)}


def _taking(entry: Entry) -> dict[str, str]:
    """The volumes that a Move takes at its target: what is done with each, by name. Also of a Plan
    that another portkit wrote."""
    rows = (entry.plan.get("live") or {}).get("volumes", ())
    return {row["name"]: row["way"] for row in rows if row.get("way") is not None}


def _may_be_aside(entry: Entry, steps: Steps) -> bool:
    """Whether something that the Move has set aside may still be there, by what is known here: the
    target need not be asked where nothing was, or where it was put back or removed."""
    replaced = OnTaken.OVERRIDE in _taking(entry).values()
    never = steps.state(VOLUMES) in (StepState.PENDING, StepState.UNDONE)
    dropped = bool(steps.result(VOLUMES).get(_DROPPED))
    return replaced and not (never or dropped) and entry.state is not MoveState.ROLLED_BACK


def require_nothing_aside(
    identity: str, *, journal: Journal | None = None, connect: Connect = hosts.connect
) -> None:
    """ConflictError while something that volumes of the target had before a Move is set aside
    there: no other Move can put it back or remove it, so this one is not forgotten."""
    journal = journal or Journal()
    entry = journal.get(identity)
    if not _may_be_aside(entry, journal.record(identity)):
        return
    with connect(entry.target, NullObserver()) as target:
        found = taken.left(target, identity)
    if found:
        places = ", ".join(f"{each.volume}: {each.place}" for each in found)
        raise ConflictError(
            "the earlier data of the target's volumes is still set aside there",
            details=f"{entry.target}: {places}"[:2000],
            resolution="Nothing was forgotten, because only this Move can put the data back or "
            "remove it. To remove it, with what stayed at the source: portkit forget "
            f"{identity} --delete",
        )


def _refuse_staying(identity: str, source: str, stay: Sequence[str]) -> None:
    """ConflictError where a volume or a network could not be removed; all else was."""
    if stay:
        raise ConflictError(
            "something of the App could not be removed at its source",
            details=f"{source}: {'; '.join(stay)}"[:2000],
            resolution="Everything else that stayed behind was removed. Find out what uses it, "
            f"and try again. Or leave it there: portkit forget {identity} --keep",
        )


def _refuse_holding(live: Live, source: Host, back: Collection[str]) -> None:
    """ConflictError where a volume that would be deleted has beside it what it had before an
    earlier Move, which somebody may still want back. back: those that are not deleted."""
    going = [each for each in live.travelling if each.name and each.name not in back]
    for each in taken.beside(source, {each.name: each.path for each in going}) if going else ():
        raise ConflictError(
            "a volume at the source still has data set aside by an earlier Move",
            details=f"{each.volume} on {source.name}: {each.place}, of {each.move}",
            resolution="Nothing was deleted. To remove that first: "
            f"portkit forget {each.move} --delete",
        )


def _set_aside(
    plan: Plan, connect: Connect, observer: Observer, *, drop: bool = False
) -> tuple[SetAside, ...]:
    """What volumes of the target had before the Move."""
    with connect(plan.target, observer) as target:
        found = taken.left(target, plan.move)
        if drop:
            taken.drop(target, plan.move)
    return found
