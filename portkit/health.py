"""Which method can tell that an App is up, in which Form. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from portkit.errors import AppError
from portkit.model import (
    DEFAULT_TIMEOUT_S,
    Form,
    Healthcheck,
    HealthProbe,
    Method,
    Port,
    RunSpec,
    Verdict,
)

# An emulated processor is about ten times slower, but only a part of a start is computing, and an
# app that never answers is found that much later.
_EMULATED = 5.0
_USUAL_LOOP_S = 0.03  # `Facts.loop_s` of an ordinary host: 0.02 to 0.04
_SLOW = 3.0  # times as long as usual; less is another Python or a moment's load
# Nobody who set no timeout waits longer than ten minutes for an app that never answers.
_MOST = 10.0


@dataclass(frozen=True)
class Way:
    """The method, and why not a better one. port: the published one; inner: the container's."""

    method: Method
    reasons: tuple[str, ...] = ()
    port: Port | None = None
    inner: int = 0


@dataclass(frozen=True)
class Deadline:
    """How long the first answer is waited for, and why so long. grown: beyond the default."""

    seconds: float
    reason: str
    grown: bool = False


def slowness(loop_s: float | None) -> float:
    """How many times as long as an ordinary host one takes, by `Facts.loop_s`; 1 where that is not
    known."""
    return 1.0 if loop_s is None else loop_s / _USUAL_LOOP_S


def deadline(health: HealthProbe, verdict: Verdict, loop_s: float | None) -> Deadline:
    """The time that the App names (x-portkit.health.timeout), else one that fits the host.

    loop_s: `Facts.loop_s`; None where it was not measured.
    """
    if health.timeout_s is not None:
        return Deadline(health.timeout_s, "x-portkit.health.timeout")
    factor, reason = 1.0, f"the default of {DEFAULT_TIMEOUT_S:g} s"
    if verdict is Verdict.EMULATED:
        factor = _EMULATED
        reason += f", times {_EMULATED:g} because the VM's processor is emulated"
    times = 1.0 if loop_s is None else round(slowness(loop_s), 1)
    if times >= _SLOW:
        factor *= times
        reason += f", times {times:g} because the host is that much slower than usual"
    if factor > _MOST:
        factor = _MOST
        reason += f", at most {DEFAULT_TIMEOUT_S * _MOST:g} s"
    return Deadline(round(DEFAULT_TIMEOUT_S * factor), reason, factor > 1)


def choose(ports: Sequence[Port], health: HealthProbe, form: Form, *, checks_itself: bool) -> Way:
    """The method that the App names (x-portkit.health.method), else the best that is possible.

    checks_itself: whether it has a healthcheck of its own. AppError when the App names the
    published port and has none, and where nothing would be asked that could be what it expects.
    """
    way = _chosen(ports, health, form, checks_itself=checks_itself)
    if health.expect and way.method not in (Method.PUBLISHED, Method.HOST):
        raise AppError(
            "x-portkit.health.expect needs a response to compare with, but portkit cannot ask "
            "the App",
            details=f"portkit would use the method {way.method} for the {form} form",
            resolution="Publish a TCP port, or set x-portkit.health.port. Or remove "
            "x-portkit.health.expect.",
        )
    return way


def _chosen(ports: Sequence[Port], health: HealthProbe, form: Form, *, checks_itself: bool) -> Way:
    seen = tuple(_ways(ports, health, form, checks_itself=checks_itself))
    possible = {way.method: way for way in seen if isinstance(way, Way)}
    if health.method in possible:
        return replace(possible[health.method], reasons=("x-portkit.health.method names it",))
    if health.method is Method.PUBLISHED:
        raise _unpublished(ports)
    # The order of `_ways` is the order of preference; `running` is always possible.
    best = next(iter(possible.values()))
    before = seen[: seen.index(best)]
    return replace(best, reasons=tuple(why for why in before if isinstance(why, str)))


def way_of(spec: RunSpec, form: Form) -> Way:
    """`choose` for an App whose image is known; its AppError names the App."""
    try:
        return choose(spec.ports, spec.health, form, checks_itself=runs_check(spec.healthcheck))
    except AppError as error:
        error.details = f"{spec.app}: {error.details}"
        raise


def runs_check(check: Healthcheck | None) -> bool:
    """Whether a healthcheck says what to run; an empty one and NONE do not."""
    return check is not None and check.test[:1] not in ((), ("NONE",))


def _ways(
    ports: Sequence[Port], health: HealthProbe, form: Form, *, checks_itself: bool
) -> Iterator[Way | str]:
    """Every method in order: it as a Way, or the reason why it is not possible."""
    guest = form is Form.DISK
    published = [port for port in ports if port.protocol == "tcp"]
    leading = [port for port in published if health.port in (None, port.target)]
    if leading:
        yield Way(Method.PUBLISHED, port=leading[0])
    else:
        yield "no published TCP port leads to the app"
    if health.port is None:
        yield "x-portkit.health.port is not set"
    elif guest:
        yield f"a VM can be reached only through its published ports, not at port {health.port}"
    else:
        # A container has an address on the host's bridge; a guest behind QEMU's user-mode network
        # has none.
        yield Way(Method.HOST, inner=health.port)
    if not checks_itself:
        yield "the app has no healthcheck"
    else:
        yield Way(Method.HEALTHCHECK)
    yield Way(Method.RUNNING)


def _unpublished(ports: Sequence[Port]) -> AppError:
    numbers = ", ".join(str(port.host_port) for port in ports if port.protocol == "tcp")
    return AppError(
        "no published TCP port leads to the app",
        details=f"published: {numbers or 'none'}",
        resolution="Publish a port with `ports:`, or remove x-portkit.health.method.",
    )
