"""How an engine is set up, against what a service asks of it."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.rule import Case, Found, UnknownFact, engine_name, engine_of
from portkit.model import Severity
from portkit.model.run import security_option

_UNCONFINED = "unconfined"
_OWN = ("docker-default", "containers-default")  # what engines call theirs, and load themselves


def limits(case: Case) -> Iterator[Found]:
    """An engine that cannot limit something, as one without root privileges with cgroup v1, starts
    the container without that limit. Docker creates none with a limit of processors then."""
    spec, engine = case.spec, engine_of(case.facts)
    asked = {
        "memory": ("mem_limit", spec.mem_limit_bytes or spec.mem_reservation_bytes),
        "swap": ("memswap_limit", spec.memswap_bytes),
        "cpu": ("cpus", spec.cpus),
        "cpuset": ("cpuset", spec.cpuset),
        "pids": ("pids_limit", spec.pids_limit),
    }
    unable = engine.unable
    if unable is None and engine.rootless and engine.cgroup == 1:
        unable = tuple(asked)
    for name in unable or ():
        key, value = asked.get(name, ("", None))
        if not value:
            continue
        refuses = name == "cpu" and not engine.podman
        yield Found(
            f"{engine_name(case.facts)} cannot limit {name} there, and "
            + ("creates no container with that limit" if refuses else "ignores the limit"),
            (f"{key}: {value}", f"{case.facts.host}: its engine's own answer"),
            severity=Severity.ERROR if refuses else None,
        )


def user_namespaces(case: Case) -> Iterator[Found]:
    """An engine that gives every container a user namespace (userns-remap) creates no privileged
    one, and none in the host's network or among its processes."""
    spec, options = case.spec, engine_of(case.facts).security or ()
    if "userns" not in options or spec.userns_mode == "host":
        return
    asked = {
        "privileged: true": spec.privileged,
        "network_mode: host": spec.network_mode == "host",
        "pid: host": spec.pid == "host",
    }
    for told in (name for name, value in asked.items() if value):
        yield Found(
            f"the engine puts containers into a user namespace, and creates none with {told}",
            (told, f"{case.facts.host}: userns-remap"),
        )


def apparmor(case: Case) -> Iterator[Found]:
    """A profile of AppArmor that the file names must be loaded on the host. Without AppArmor,
    Docker starts the service without any; Podman refuses."""
    told = dict(security_option(text) for text in case.spec.security_opt)
    name, engine = told.get("apparmor", ""), engine_of(case.facts)
    if name in ("", _UNCONFINED, *_OWN) or case.spec.privileged:
        return
    if engine.security is None:
        raise UnknownFact("whether it has AppArmor")
    if "apparmor" in engine.security:
        yield Found(
            f"it is not known whether the host has loaded the AppArmor profile {name[:80]}",
            (f"security_opt: apparmor={name[:80]}",),
            "Check there: aa-status. Without it the container does not start.",
            Severity.UNKNOWN,
        )
        return
    yield Found(
        f"the host has no AppArmor, so the profile {name[:80]} "
        + ("cannot be applied" if engine.podman else "is not applied"),
        (
            f"security_opt: apparmor={name[:80]}",
            f"{case.facts.host}: security options of its engine",
        ),
        severity=Severity.ERROR if engine.podman else None,
    )


def init(case: Case) -> Iterator[Found]:
    """`init: true` starts a small program of the host's before the service: docker-init, or
    Podman's catatonit."""
    if case.spec.init and engine_of(case.facts).init is False:
        name = "catatonit" if engine_of(case.facts).podman else "docker-init"
        yield Found(
            f"the host lacks {name}, which `init: true` starts",
            ("init: true", f"{case.facts.host}: no {name}"),
            f"Install it there (on Debian: {'catatonit' if name == 'catatonit' else 'tini'}), or "
            "remove `init`.",
        )
