"""What an App that has moved away has left in an engine, and whether it is deleted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portkit.engines import docker_spec
from portkit.engines.marks import ours
from portkit.model import Live, LiveVolume, OnTaken
from portkit.wire import labels

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import NetworkRow, Row, Volume

_PROJECT = labels.COMPOSE + "project"


@dataclass(frozen=True)
class Behind:
    """What of an App that has moved away is still here. why: it is not deleted; "" where it is."""

    kind: str
    id: str
    name: str
    why: str = ""


def behind(
    volumes: Sequence[Volume],
    networks: Sequence[NetworkRow],
    rows: Sequence[Row],
    live: Live,
    back: Mapping[str, str],
) -> list[Behind]:
    """The volumes and networks that were made for an App. volumes, networks, rows: all that the
    engine has. back: the volumes that are the App's again, with the id of the Move that did it."""
    own = {each.id for each in live.containers}
    return [*_volumes(volumes, rows, live, back), *_networks(networks, rows, own)]


def _volumes(
    volumes: Sequence[Volume], rows: Sequence[Row], live: Live, back: Mapping[str, str]
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
    files = {docker_spec.content_volume(move) for move in _made_by(rows, own)}
    found = []
    for each in volumes:
        if each.Name in data:
            used = users.get(each.Name, ())
            why = _why_left(data[each.Name], each.CreatedAt, used, own, back)
            found.append(Behind("volume", each.Name, each.Name, why))
        elif each.Name in files:
            found.append(Behind("volume", each.Name, each.Name))
    return found


def _networks(
    networks: Sequence[NetworkRow], rows: Sequence[Row], own: Collection[str]
) -> list[Behind]:
    """Those that compose or portkit has made for the App: where one is, the App cannot come back.
    Others that it is in are somebody else's."""
    mine = [row for row in rows if row.Id in own]
    joined = {name for row in mine for name in row.networks}
    projects = {row.Labels.get(_PROJECT, "") for row in mine} - {""}
    moves = _made_by(rows, own)
    found = []
    for each in networks:
        made = each.Labels.get(_PROJECT) in projects or each.Labels.get(labels.MOVE) in moves
        if each.Name not in joined or not made:
            continue
        others = [row.Id[:12] for row in rows if row.Id not in own and each.Name in row.networks]
        why = f"it is in use by container {', '.join(others)[:200]}" if others else ""
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
    created: str,
    users: Sequence[str],
    own: Collection[str],
    back: Mapping[str, str],
) -> str:
    """Why a volume of the source is not deleted with what has moved away; "" where it is. created:
    when the one that is there was. users: ids of all containers that have it, whether they run or
    not; own: those of the App."""
    if volume.way is OnTaken.KEEP:
        return "its data exists nowhere else"
    if volume.name in back:
        return f"the App uses it again, since Move {back[volume.name]}"
    if others := [each[:12] for each in users if each not in own]:
        return f"it is in use by container {', '.join(others)[:200]}"
    if created != volume.created and not users:
        return "it may be another volume with that name"
    return ""
