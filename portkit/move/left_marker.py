"""The markers that a Move has left on hosts that could not be reached when it ended."""

from __future__ import annotations

from portkit import host as hosts
from portkit.errors import ConflictError, HostError, TransferError
from portkit.host import Host
from portkit.move.by_marker import Connect
from portkit.move.journal import Entry, Journal, MoveState
from portkit.move.marker import LEFT
from portkit.move.open_entry import left_on
from portkit.progress import NullObserver, Observer


def remove_markers(
    identity: str,
    *,
    keep: bool = False,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> None:
    """Remove the markers that a Move which has ended has left on its hosts, where they would refuse
    the next Move of the App.

    HostError or TransferError where such a host cannot be reached still; keep: a message says then
    that its marker stays, and what that means. ConflictError where a Move was rolled back without
    the host and something of it is there: the marker says what that is.
    """
    journal, observer = journal or Journal(), observer or NullObserver()
    entry = journal.get(identity)
    steps = journal.record(identity)
    places = left_on(entry, steps)
    stay = []
    for role, name in places:
        try:
            with connect(name, observer) as host:
                _remove(entry, host)
        except (HostError, TransferError) as error:
            if not keep:
                error.resolution = (
                    f"{error.resolution}\nThe marker of this Move is still on {name}. To forget "
                    f"the Move all the same: portkit forget {identity} --keep"
                ).strip()
                raise
            stay.append(role)
            observer.message(_stays(entry, name, error.brief))
    if places:
        steps.note("release", steps.state("release"), {LEFT: stay})


def _remove(entry: Entry, host: Host) -> None:
    if entry.state is MoveState.ROLLED_BACK:
        rows = host.remote.call("move.list", {"id": entry.id})["moves"]
        if any(row["id"] == entry.id for row in rows):
            raise ConflictError(
                "something of this Move is still on a host without which it was rolled back",
                details=f"{entry.id} of {entry.app} on {host.name}",
                resolution=f"Nothing was forgotten. First: portkit rollback {entry.id} --on "
                f"{host.name}",
            )
        return
    host.remote.call("move.end", {"id": entry.id, "app": entry.app})


def _stays(entry: Entry, name: str, why: str) -> str:
    """What a marker that stays means for its host."""
    there = f"{name} cannot be reached ({why}): the marker of this Move stays there, and refuses "
    way = f"portkit rollback {entry.id} --on {name}"
    if entry.state is not MoveState.ROLLED_BACK:
        way = f"remove /var/lib/portkit/moves/{entry.id}.json there"
    return f"{there}another Move of {entry.app}; when it can be reached again: {way}"
