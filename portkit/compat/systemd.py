"""systemd as the first process of a container."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.engine import cgroup_of
from portkit.compat.rule import Case, Found, engine_of
from portkit.model import Severity, Software

# The first that mounts and recognises the file system type cgroup2 (systemd#2903, which was merged
# after 229), and the first without cgroup v1 (its NEWS of 258).
_WITH_V2, _WITHOUT_V1 = 230, 258


def cgroup_v2(case: Case) -> Iterator[Found]:
    """A systemd before 230 as init does not work with cgroup v2, whose file system type it does not
    know: it freezes."""
    found = _systemd(case)
    if found is not None and 0 < _number(found) < _WITH_V2 and cgroup_of(case) == 2:
        yield _init(case, found, 2)


def cgroup_v1(case: Case) -> Iterator[Found]:
    """A systemd from 258 on as init does not start with cgroup v1."""
    found = _systemd(case)
    if found is not None and _number(found) >= _WITHOUT_V1 and cgroup_of(case) == 1:
        yield _init(case, found, 1)


def rights(case: Case) -> Iterator[Found]:
    """systemd as the first process mounts file systems and creates cgroups, which an unprivileged
    container may not. Podman gives it what it needs."""
    found = _systemd(case)
    if found is None or case.spec.privileged or engine_of(case.facts).podman:
        return
    given = "CAP_SYS_ADMIN" in case.spec.capabilities or any(
        each.target.startswith("/sys/fs/cgroup") for each in case.spec.mounts
    )
    yield Found(
        f"{_perhaps(found)}systemd as the first process needs privileges that a container does "
        "not have",
        (f"{found.path}: systemd {found.version or '(its version is not known)'}",),
        severity=Severity.UNKNOWN if given or not found.sure else None,
    )


def _systemd(case: Case) -> Software | None:
    return case.needs.software_named("systemd") if case.needs else None


def _number(systemd: Software) -> int:
    """Its version; 0 is unknown."""
    return int(systemd.version) if systemd.version.isdecimal() else 0


def _perhaps(found: Software) -> str:
    """What a script may start, it may also leave out, as it can see that it is in a container."""
    return "" if found.sure else "if a script starts it, "


def _init(case: Case, found: Software, has: int) -> Found:
    return Found(
        f"{_perhaps(found)}systemd {found.version} as init does not start with cgroup v{has}",
        (f"{found.path}: systemd {found.version}", f"{case.facts.host}: cgroup v{has}"),
        severity=None if found.sure else Severity.UNKNOWN,
    )
