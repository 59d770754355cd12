"""States of containers: of each, the order among them, and all of an App as one. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, assert_never

from portkit.engines import docker_spec
from portkit.model import Condition, Form, Instance, Life, ServiceState, worst_health
from portkit.wire import labels

if TYPE_CHECKING:  # it loads the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Inspected, Row, State

# Docker's states; all others are ends.
_STATES = {"created": "created", "running": "running", "paused": "running", "restarting": "running"}
# The list of containers has the exit code in a text for people only; `inspect` has it as a number
# and costs a request for each.
_EXITED = re.compile(r"Exited \((\d{1,3})\)")
# "Up 5 seconds (healthy)", "Up 2 seconds (health: starting)"
_HEALTH = re.compile(r"\((?:health: (starting)|(healthy|unhealthy))\)")
_STOP_S = 10  # what the engine gives an app to end unless it says otherwise
SAID_LIMIT = 8000  # characters of what a service or its healthcheck said last


def listed(row: Row) -> ServiceState:
    """A row of the list, which tells an end as "Exited (3) 2 minutes ago"."""
    match = _EXITED.match(row.Status)
    status = _STATES.get(row.State, "exited")
    health = _HEALTH.search(row.Status)
    return ServiceState(
        name=row.service,
        status=status,
        exit_code=int(match[1]) if match and status == "exited" else None,
        health=(health[1] or health[2]) if health and status == "running" else "",
    )


def life(row: Inspected) -> Life:
    """A container's inspection as a Life."""
    state = row.State
    status = _STATES.get(state.Status, "exited")
    health = state.Health.Status if state.Health else ""
    checks = state.Health.Log if state.Health else []
    networks = row.NetworkSettings.Networks if row.NetworkSettings else {}
    addresses = [str(each.IPAddress) for each in networks.values() if each and each.IPAddress]
    return Life(
        status=status,
        exit_code=state.ExitCode if status == "exited" else None,
        # While it waits to be started again, the time of its last start is still there.
        started=state.StartedAt if state.Status == "running" else "",
        restarts=row.RestartCount,
        health="" if health == "none" else health,
        address=next(iter(addresses), ""),
        said=checks[-1].Output.strip()[:SAID_LIMIT] if checks else "",
    )


def met(state: State, condition: Condition) -> bool | None:
    """Whether a container is as another one needs it; None when it never will be."""
    status = _STATES.get(state.Status, "exited")
    match condition:
        case Condition.STARTED:
            return status != "created"
        case Condition.HEALTHY:
            health = state.Health.Status if state.Health else ""
            if health == "unhealthy" or status == "exited":
                return None
            return health == "healthy"
        case Condition.COMPLETED:
            if status == "exited":
                return True if state.ExitCode == 0 else None
            return False
        case _:
            assert_never(condition)


def starts_again(policy: str, exit_code: int, times: int) -> bool:
    """Whether an engine starts a container again that has ended so, and was started again so many
    times. policy: as compose's `restart` says it."""
    kind, _, most = policy.partition(":")
    if kind == "on-failure":
        return exit_code != 0 and (not most.isdecimal() or int(most) == 0 or times < int(most))
    return kind in ("always", "unless-stopped")


def has_ended(state: State) -> bool:
    """Whether a container ran and does so no more."""
    return _STATES.get(state.Status, "exited") == "exited"


def runs(status: str) -> bool:
    """Whether a container of that status has not ended: it may also be paused, or about to be
    started again."""
    return _STATES.get(status, "exited") == "running"


def came_up(status: str, exit_code: int | None) -> bool:
    """Whether a container shows that its image lacks nothing for its start: it runs, or is done.
    One that is about to be started again may never have begun."""
    return status in ("running", "paused") or (status, exit_code) == ("exited", 0)


def never_started(rows: Sequence[Row]) -> frozenset[str]:
    """The services whose containers were never started; none where none of them was."""
    found = frozenset(row.service for row in rows if listed(row).status == "created")
    return found if len(found) < len(rows) else frozenset()


def ordered(rows: Sequence[Row]) -> list[Row]:
    """By what each needs; rows that need each other, which nobody but a stranger would write, stay
    as they are."""
    known = {row.service: row for row in sorted(rows, key=lambda row: row.service)}
    try:
        order = list(TopologicalSorter(_needs(known.values())).static_order())
    except CycleError:
        return list(rows)
    return [known[name] for name in order] if len(known) == len(rows) else list(rows)


def waves(rows: Sequence[Row]) -> list[list[Row]]:
    """Which are stopped at the same time: those that nothing needs any more first."""
    needs = _needs(rows)
    sorter = TopologicalSorter(
        {name: [other for other in needs if name in needs[other]] for name in needs}
    )
    waves = []
    try:
        sorter.prepare()
    except CycleError:
        return [list(rows)]
    if len(needs) < len(rows):  # names that a stranger's labels repeat
        return [list(rows)]
    while names := sorter.get_ready():
        waves.append([row for row in rows if row.service in names])
        sorter.done(*names)
    return waves


def _needs(rows: Iterable[Row]) -> dict[str, list[str]]:
    """What each needs of the others, by name."""
    names = [row.service for row in rows]
    return {
        row.service: [n.service for n in docker_spec.needs_of(row.Labels) if n.service in names]
        for row in rows
    }


def together(rows: Sequence[tuple[Row, Life]], unasked: Collection[str] = ()) -> Life:
    """The containers of an App as one: it runs as long as its front does, and none has failed.

    A service that ended with code 0 has done its work; one that failed is the App's end. unasked:
    services whose healthchecks do not count.
    """
    if len(rows) == 1:
        return rows[0][1]
    rows = [
        (row, replace(life, health="")) if row.service in unasked else (row, life)
        for row, life in rows
    ]
    lives = [life for _, life in rows]
    front = next((life for row, life in rows if row.front), lives[-1])
    failed = next(((row, life) for row, life in rows if life.exit_code), None)
    status, code = front.status, front.exit_code
    ill = next(((row, life) for row, life in rows if life.health == "unhealthy"), None)
    service, said = ("", "") if ill is None else (ill[0].service, ill[1].said)
    if failed is not None:
        status, code, service = "exited", failed[1].exit_code, failed[0].service
    return Life(
        status=status,
        exit_code=code,
        # Of the others some may end well meanwhile.
        started=front.started,
        restarts=sum(life.restarts for life in lives),
        health=worst_health(life.health for life in lives if life.status == "running"),
        address=front.address,
        service=service,
        again=next((life.again for life in lives if life.again), ""),
        said=said,
    )


def instance(identity: str, rows: Sequence[Row], host: str) -> Instance:
    """From the list itself: a container may be gone before it could be looked at."""
    services = tuple(listed(row) for row in sorted(rows, key=lambda row: row.service))
    running = any(each.status == "running" for each in services)
    created = all(each.status == "created" for each in services)
    code = next((each.exit_code for each in services if each.exit_code), services[0].exit_code)
    ports = {each.PublicPort for row in rows for each in row.Ports} - {0}
    return Instance(
        id=identity,
        app=rows[0].Labels.get(labels.APP, ""),
        form=Form.IMAGE,
        host=host,
        status="running" if running else "created" if created else "exited",
        exit_code=None if running or created else code,
        url=" ".join(f":{port}" for port in sorted(ports)),
        services=services if len(services) > 1 else (),
    )


def stop_of(seen: Inspected) -> tuple[int, str, float]:
    """How an engine stops a container: the process, the signal that it is sent, and the seconds
    after which it is killed."""
    config = seen.Config
    asked = None if config is None else config.StopTimeout
    signal = "" if config is None else config.StopSignal
    return seen.State.Pid, signal or "SIGTERM", _STOP_S if asked is None else asked
