"""What the guest's init writes about its services, read back. Pure.

Its lines begin with "portkit: ". An App of one service is called "app" in them (src/services.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from portkit.model import Life, ServiceState, worst_health

ONLY = "app"  # the name of a service that is alone
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")
_LINE = re.compile(r"^portkit: (.*)$", re.MULTILINE)
_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)"
_STARTING = re.compile(rf"starting (?:{_NAME}: )?")
_EXITED = re.compile(rf"{_NAME} exited with code ([0-9]{{1,3}})(; it is started again)?")
_HEALTH = re.compile(rf"{_NAME} is (healthy|unhealthy)(?:: (.*))?")
_NEVER = re.compile(rf"{_NAME} is not started: ")
_RESTS = re.compile(rf"{_NAME} rests")


@dataclass(frozen=True)
class About:
    """What is known of an Instance's services beside the log. services: their names; one that is
    alone is ONLY. checks: those with a healthcheck."""

    services: tuple[str, ...] = (ONLY,)
    front: str = ONLY
    checks: tuple[str, ...] = ()


@dataclass
class _Service:
    status: str = "created"
    code: int | None = None
    health: str = ""
    said: str = ""
    rests: bool = False
    again: bool = False  # it has ended, and init starts it again
    starts: int = 0
    ends: int = 0


@dataclass
class _Said:
    services: dict[str, _Service] = field(default_factory=dict)

    def of(self, name: str) -> _Service:
        return self.services.setdefault(name, _Service())


def plain(log: str) -> str:
    """A serial log without carriage returns and without the firmware's escape codes."""
    return _ESCAPES.sub("", log).replace("\r", "")


def exit_code(log: str, about: About) -> int | None:
    """The exit code of an App that has ended; None when nothing wrote one."""
    return _ended(_said(log, about), about)[1]


def states(log: str, about: About, *, active: bool) -> tuple[ServiceState, ...]:
    """Each of several services as the guest told it last; none for one that is alone."""
    if len(about.services) < 2:
        return ()
    said = _said(log, about)
    return tuple(_state(name, said.of(name), about, active=active) for name in about.services)


def _state(name: str, one: _Service, about: About, *, active: bool) -> ServiceState:
    status, code = one.status, one.code
    if active and one.again:
        status, code = "running", None  # as of a container that is about to be started again
    if not active and status == "running":
        status, code = "exited", None  # the guest was cut off
    health = (one.health or "starting") if name in about.checks and status == "running" else ""
    return ServiceState(name, status, code, health)


def life(log: str, about: About, *, active: bool, whole: bool, booted: bool = True) -> Life:
    """The Instance as one.

    active: whether its VM runs. whole: whether `log` is all that was written since the boot.
    booted: whether anything came over its console; a guest may end before its init says a word.
    """
    said = _said(log, about)
    restarts = sum(max(one.starts - 1, one.ends) for one in _lasting(said))
    if not active:
        status, code = _ended(said, about)
        return Life(status if booted else "created", code, restarts=restarts)
    for name, one in said.services.items():
        # A service that ended with code 0 has done its work, unless it answers for the App; among
        # several, one that failed is the end of the App.
        ended = one.status == "exited" and not one.again and (one.code or name == about.front)
        if ended and len(about.services) > 1:
            return Life("exited", one.code, restarts=restarts, service=name)
    front = said.of(about.front)
    begun = not front.again and (front.starts or not whole)
    again = [(name, one.code) for name, one in said.services.items() if one.again]
    checked = [one for one in map(said.of, about.checks) if not one.rests]
    ill = [name for name in about.checks if said.of(name).health == "unhealthy"]
    return Life(
        status="running",
        started=_start(front.starts) if begun else "",
        restarts=restarts,
        health=worst_health(one.health or "starting" for one in checked if one.status != "exited"),
        service=ill[0] if ill and len(about.services) > 1 else "",
        again="".join(f"{name} exited with code {code}" for name, code in again[:1]),
        said=said.of(ill[0]).said if ill else "",
    )


def _start(number: int) -> str:
    """Which start of what answers for the App it is; of a log whose beginning is cut off, nobody
    knows."""
    return f"this boot, start {number}" if number > 1 else "this boot"


def _lasting(said: _Said) -> Iterator[_Service]:
    """Services whose end is no success."""
    for one in said.services.values():
        if not (
            one.status == "exited" and one.code == 0 and one.starts == 1 and len(said.services) > 1
        ):
            yield one


def _ended(said: _Said, about: About) -> tuple[str, int | None]:
    if not said.services:
        return "exited", None
    codes = [one.code for one in said.services.values() if one.code]
    return "exited", codes[0] if codes and len(about.services) > 1 else said.of(about.front).code


def _said(log: str, about: About) -> _Said:
    known: Mapping[str, None] = dict.fromkeys(about.services)
    said = _Said()
    for line in _LINE.findall(plain(log)):
        if match := _STARTING.match(line):
            name = match[1] if match[1] in known else about.front
            one = said.of(name)
            one.status, one.code, one.health, one.starts = "running", None, "", one.starts + 1
            one.again = False
        elif (match := _EXITED.match(line)) and match[1] in known:
            one = said.of(match[1])
            one.status, one.code, one.ends = "exited", int(match[2]), one.ends + 1
            one.again = match[3] is not None
        elif (match := _HEALTH.match(line)) and match[1] in known:
            said.of(match[1]).health, said.of(match[1]).said = match[2], match[3] or ""
        elif (match := _NEVER.match(line)) and match[1] in known:
            said.of(match[1]).status, said.of(match[1]).code = "exited", 1
        elif (match := _RESTS.fullmatch(line)) and match[1] in known:
            said.of(match[1]).rests = True
    return said
