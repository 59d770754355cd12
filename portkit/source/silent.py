"""Whether a running App answers at its source, as it is going to be asked on the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from portkit import measure
from portkit import watch as watching
from portkit.errors import AppError, BootError
from portkit.health import choose, runs_check
from portkit.host import Host
from portkit.model import Finding, Form, Healthcheck, HealthProbe, Method, Service, Severity
from portkit.watch import Place

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container

# An app that serves answers at once; an app that is silent is asked for so long before every Move.
_PATIENCE_S = 10.0
# For a connection, where the host has just been asked for so long.
_TCP_S = 3.0
MESSAGE = (
    "the App does not answer at its source, so portkit could not tell on the target "
    "whether it is up"
)
_OTHERWISE = "If it needs another request, describe it with --health, such as --health path=/ready."
_LATER = "If it is still starting, try again when it answers."
_TCP = "If it does not speak HTTP, add --health scheme=tcp."
# Where it is not known what would help.
REMEDY = f"{_TCP} {_OTHERWISE}"


def silent(host: Host, front: Service, containers: Sequence[Container]) -> tuple[Finding, ...]:
    """An error where the service that answers for the App runs and is silent. containers: of the
    App; one that does not run is another finding."""
    one = next((each for each in containers if each.service == front.name), None)
    if one is None or one.State.Status != "running":
        return ()
    check = one.Config.Healthcheck
    checks_itself = check is not None and runs_check(Healthcheck(tuple(check.Test)))
    try:
        way = choose(front.ports, front.health, Form.IMAGE, checks_itself=checks_itself)
    except AppError:  # the rule `health` says it
        return ()
    if way.port is None:
        return _ill(front) if way.method is Method.HEALTHCHECK and one.unhealthy else ()
    port = one.reached(way.port)
    if port is None:
        return ()
    place = watching.published_place(host, port)
    why = _silence(front.health, place, _PATIENCE_S)
    if not why:
        return ()
    healthy = one.State.Health is not None and one.State.Health.Status == "healthy"
    remedy = " ".join((*_ways_out(front.health, place, healthy=healthy), _OTHERWISE, _LATER))
    return (Finding("source-silent", Severity.ERROR, MESSAGE, (why,), remedy, (front.name,)),)


def _ill(front: Service) -> tuple[Finding, ...]:
    """Of one that nobody can ask but the engine."""
    message = (
        f"the healthcheck of {front.name}, which shows whether the App is up, fails at its source"
    )
    remedy = "Find out why: docker inspect. Or have it counted as up when it has kept running for "
    remedy += "some seconds: --health method=running."
    return (Finding("source-silent", Severity.ERROR, message, (), remedy, (front.name,)),)


def _ways_out(health: HealthProbe, place: Place, *, healthy: bool) -> Iterator[str]:
    """What would be known as an answer of the App now. healthy: its own healthcheck passes."""
    if health.scheme != "tcp" and not _silence(replace(health, scheme="tcp"), place, _TCP_S):
        yield f"It accepts connections there. {_TCP}"
    if healthy and not health.expect:  # which needs an answer to look at
        yield "Its own healthcheck passes, which counts with --health method=healthcheck."


def _silence(health: HealthProbe, place: Place, patience_s: float) -> str:
    """Where it was asked and what came instead of the right answer; "" for that."""
    timeout = min(patience_s, health.patience_s)
    try:
        measure.ttfr(
            replace(health, timeout_s=timeout), place.address, started=0.0, alive=lambda: None
        )
    except BootError as error:
        return str(error.details)
    return ""
