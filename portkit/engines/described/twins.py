"""Which containers of one name are the App as it is now: those that have moved away stay where they
were, stopped, also beside the ones that came back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from portkit.engines import docker_state
from portkit.engines.docker_client import Row
from portkit.engines.marks import ours
from portkit.errors import AppError
from portkit.wire import labels


def move_of(row: Row) -> str:
    """The Move that made a container; "" for one that somebody else made."""
    move = row.Labels.get(labels.MOVE, "")
    return move if ours(move, row.Labels.get(labels.APP, "")) else ""


def current(rows: Sequence[Row], name: str) -> list[Row]:
    """Of the containers of a project those that belong together: what runs, and what was made with
    that. AppError when it cannot be said which they are."""
    awake = {move_of(row) for row in rows if docker_state.runs(row.State)}
    found = list(rows)
    if awake:
        found = [row for row in rows if move_of(row) in awake]
        # One without a service is an App on its own, which can be named as a container.
        found = [row for row in found if _service(row)] or found
    places = {(_service(row), move_of(row)) for row in found}
    moves = {move for _, move in places}
    # Of what runs, compose may have made one service anew, but not twice.
    if len(moves) > 1 and (not awake or len({service for service, _ in places}) < len(places)):
        raise several(found, name)
    return found


def added(rows: Sequence[Row], known: Collection[str]) -> list[str]:
    """The containers that a project has beside those that are known: their ids."""
    moves = {move_of(row) for row in rows if row.Id in known}
    return [
        row.Id
        for row in rows
        if row.Id not in known
        and _service(row)
        and (move_of(row) in moves or docker_state.runs(row.State))
    ]


def several(rows: Sequence[Row], name: str) -> AppError:
    """The error where a name does not say which containers are meant."""
    listed = ", ".join(f"{row.Id[:12]} ({row.State})" for row in rows)
    return AppError(
        "several containers on the host belong to an App of that name",
        details=f"{name[:80]!r}; there: {listed}"[:2000],
        resolution="Start the App that you mean, remove the other one, or name a container by its "
        "id: container:ID. `docker ps -a` on that host lists them.",
    )


def _service(row: Row) -> str:
    return row.Labels.get(labels.COMPOSE + "service", "")
