"""What an App that has moved away has left in an engine, and whether it is deleted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from portkit.engines import docker_spec
from portkit.engines.marks import ours
from portkit.model import Behind, Live, LiveVolume, OnTaken
from portkit.wire import labels

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import NetworkRow, Row, Volume

_PROJECT = labels.COMPOSE + "project"


def behind(
    volumes: Sequence[Volume],
    networks: Sequence[NetworkRow],
    rows: Sequence[Row],
    live: Live,
    back: Mapping[str, str],
    known: Collection[Behind] = (),
) -> list[Behind]:
    """The volumes and networks that were made for an App. volumes, networks, rows: all that the
    engine has. back: the volumes that are the App's again, with the id of the Move that did it.
    known: what was found while the App's containers were still there, which show what is theirs."""
    own = {each.id for each in live.containers}
    nets = {each.id for each in known if each.kind == "network"}
    return [*_volumes(volumes, rows, live, back, known), *_networks(networks, rows, own, nets)]


def _volumes(
    volumes: Sequence[Volume],
    rows: Sequence[Row],
    live: Live,
    back: Mapping[str, str],
    known: Collection[Behind],
) -> list[Behind]:
    """Those that the App has data in, and what portkit has put its files into.

    One of that name may have been made anew, and may hold other data. It is the same while a
    container of the App has it, which the engine does not let go. Its time of creation says so
    as well, but Docker 20.10 gives the time of the last change in the volume's folder instead.
    """
    own = {each.id for each in live.containers}
    users: dict[str, list[str]] = {}
    for row in rows:
        for mount in row.Mounts:
            users.setdefault(mount.Name, []).append(row.Id)
    data = {each.name: each for each in live.volumes if each.name}
    before = [each for each in known if each.kind == "volume"]
    files = {docker_spec.content_volume(move) for move in _made_by(rows, own)}
    files |= {each.id for each in before}
    # Of those that were to be deleted it was seen that they are the App's.
    created = {each.id: each.created for each in before if not each.why}
    found = []
    for each in volumes:
        used = users.get(each.Name, ())
        if each.Name in data:
            was = data[each.Name].created
            same = each.CreatedAt in (was, created.get(each.Name, was))
            why = _why_left(data[each.Name], same, used, own, back)
        elif each.Name in files:
            why = _in_use(used, own)
        else:
            continue
        found.append(Behind("volume", each.Name, each.Name, why, each.CreatedAt))
    return found


def _networks(
    networks: Sequence[NetworkRow],
    rows: Sequence[Row],
    own: Collection[str],
    known: Collection[str],
) -> list[Behind]:
    """Those that compose or portkit has made for the App: where one is, the App cannot come back.
    Others that it is in are somebody else's. known: the ids of those that were found before."""
    mine = [row for row in rows if row.Id in own]
    joined = {name for row in mine for name in row.networks}
    projects = {row.Labels.get(_PROJECT, "") for row in mine} - {""}
    moves = _made_by(rows, own)
    found = []
    for each in networks:
        made = each.Labels.get(_PROJECT) in projects or each.Labels.get(labels.MOVE) in moves
        if each.Id not in known and (each.Name not in joined or not made):
            continue
        why = _in_use([row.Id for row in rows if each.Name in row.networks], own)
        found.append(Behind("network", each.Id, each.Name, why))
    return found


def _made_by(rows: Sequence[Row], own: Collection[str]) -> set[str]:
    """The Moves that have made these containers here."""
    told = [row.Labels for row in rows if row.Id in own]
    return {
        each[labels.MOVE]
        for each in told
        if ours(each.get(labels.MOVE, ""), each.get(labels.APP, ""))
    }


def _why_left(
    volume: LiveVolume,
    same: bool,
    users: Sequence[str],
    own: Collection[str],
    back: Mapping[str, str],
) -> str:
    """Why a volume of the source is not deleted with what has moved away; "" where it is. same:
    whether the one that is there was created when the App's was. users: ids of all containers that
    have it, whether they run or not; own: those of the App."""
    if volume.way is OnTaken.KEEP:
        return "its data exists nowhere else"
    if volume.name in back:
        return f"the App uses it again, since Move {back[volume.name]}"
    if why := _in_use(users, own):
        return why
    return "" if same or users else "it may be another volume with that name"


def _in_use(users: Sequence[str], own: Collection[str]) -> str:
    """That containers other than the App's have a thing; "" where none has."""
    others = [each[:12] for each in users if each not in own]
    return f"it is in use by container {', '.join(others)[:200]}" if others else ""
