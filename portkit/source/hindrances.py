"""What keeps a running App from being stopped and started elsewhere. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from portkit.engines import docker_state
from portkit.model import Finding, Severity

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container
    from portkit.engines.described.project import Seen

_CONTAINER = "container:"  # of a mode, as the engine says it
_SWARM = "com.docker.swarm."
_POD = "io.kubernetes."


def hindrances(seen: Seen) -> tuple[Finding, ...]:
    """Errors for what a Move cannot stop safely."""
    found: list[Finding] = []
    for each in seen.containers:
        found += _container(each)
    if not any(docker_state.runs(each.State.Status) for each in seen.containers):
        found.append(_stopped(seen))
    counts = Counter(each.service for each in seen.containers)
    found += [_scaled(service, count) for service, count in counts.items() if count > 1]
    return tuple(found)


def at_rest(seen: Seen, front: str) -> Iterator[Finding]:
    """What is said of the containers that do not run, where others do. front: the service that
    answers for the App."""
    rows = [each for each in seen.containers if not docker_state.runs(each.State.Status)]
    if len(rows) == len(seen.containers):
        return  # `hindrances` has an error for that
    for one in rows:
        if one.service != front:
            yield rests(one.service)
            continue
        yield _error(
            "source-front-rests",
            f"{front}, which is asked whether the App is up, is stopped at its source",
            "Start it first. Or name another service that shows it: --health front=SERVICE.",
            front,
        )
    stopped = {f"{_CONTAINER}{each.Id}": each.service for each in rows}
    for one in seen.containers:
        host = one.HostConfig
        for mode in {host.NetworkMode, host.PidMode, host.IpcMode} & set(stopped):
            if one not in rows:
                yield _error(
                    "source-shares-stopped",
                    f"{one.service} shares a namespace of {stopped[mode]}, which is stopped, so "
                    "no engine could start it again",
                    f"Start {stopped[mode]} first, or stop {one.service}.",
                    one.service,
                )


def ailing(seen: Seen) -> Iterator[Finding]:
    """What is said of containers that run and do not do well."""
    for one in seen.containers:
        if one.State.Status == "restarting":
            yield _error(
                "source-restarting",
                f"{one.service} ends again and again at its source, where the engine starts it "
                "again",
                f"Read its log: docker logs {one.name}. Or stop it (docker stop {one.name}): it "
                "then stays stopped on the target.",
                one.service,
            )
        elif one.unhealthy:
            message = (
                f"the healthcheck of {one.service} fails at its source, so it is not waited for on "
                "the target"
            )
            remedy = "Read what it says: docker inspect."
            yield Finding("source-unhealthy", Severity.WARNING, message, (), remedy, (one.service,))


def compose_up(seen: Seen) -> Iterator[Finding]:
    """What compose would do with the App after its Move, where its containers are compose's."""
    if not any(each.project for each in seen.containers):
        return
    there = "creates its containers there anew, without what they had changed in their images"
    if len({each.service for each in seen.containers}) == 1:  # portkit's has no project then
        there = "starts a second container beside portkit's there"
    yield Finding(
        "compose-up",
        Severity.WARNING,
        "after the Move, `docker compose up` starts the App at its source again, although it runs "
        f"on the target; on the target it {there}",
        (),
        "Turn off whatever runs `docker compose up` at the source: a systemd unit, cron, CI.",
    )


def rests(service: str) -> Finding:
    """Of a service that does not run at the source."""
    message = f"{service} is stopped at its source, and stays stopped on the target"
    return Finding("source-rests", Severity.INFO, message, (), "", (service,))


def _container(one: Container) -> Iterator[Finding]:
    if one.HostConfig.AutoRemove:
        yield _error(
            "source-removed",
            f"{one.name} is removed when it stops (--rm), so a failed Move could not start it "
            "again",
            "Start it without --rm first.",
            one.service,
        )
    if one.State.Status == "paused":
        yield _error(
            "source-paused", f"{one.name} is paused", f"docker unpause {one.name}", one.service
        )
    if any(key.startswith((_SWARM, _POD)) for key in one.Config.Labels):
        yield _error(
            "source-scheduled",
            f"{one.name} belongs to a scheduler, which would start it again",
            "Move it with the scheduler's own tools.",
            one.service,
        )


def _stopped(seen: Seen) -> Finding:
    """It may have been moved away before: its data would be old, and the App runs elsewhere."""
    names = ", ".join(each.name for each in seen.containers)
    return _error(
        "source-stopped",
        f"{names[:200]} is not running",
        "If this is still the App that serves, start it first. If it has moved away, move it "
        "from the host where it runs now.",
    )


def _scaled(service: str, count: int) -> Finding:
    message = f"the service {service} has {count} containers, and portkit moves only one"
    return _error("source-scaled", message, "Scale it down to one first.", service)


def _error(rule: str, message: str, remedy: str, *services: str) -> Finding:
    return Finding(rule, Severity.ERROR, message, (), remedy, services)
