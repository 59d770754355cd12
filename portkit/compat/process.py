"""What the App's process is given: its rights, and what a guest does not do for it."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.rule import Case, Found
from portkit.health import runs_check, way_of
from portkit.model import DEFAULT_CAPABILITIES, Method


def privileged(case: Case) -> Iterator[Found]:
    """A privileged container can do everything on the host; in a VM it only owns the VM."""
    if case.spec.privileged:
        yield Found("the container has every right on the host's kernel")


def capabilities(case: Case) -> Iterator[Found]:
    """The App asks for more rights than an engine gives to every container."""
    more = [name for name in case.spec.capabilities if name not in DEFAULT_CAPABILITIES]
    if more and not case.spec.privileged:  # that has a rule of its own
        yield Found("the app gets capabilities beyond the engine's default", tuple(more))


def health(case: Case) -> Iterator[Found]:
    """Whether the app itself can be asked for its first answer."""
    way = way_of(case.spec, case.form)
    means = {
        Method.HOST: "it is asked at an address that only the host reaches",
        Method.HEALTHCHECK: "its own healthcheck says when it is up",
        Method.RUNNING: f"it counts as up when it has run for {case.spec.health.running_s:g} s",
    }
    if way.method is not Method.PUBLISHED:
        yield Found(f"the app is not asked on a published port: {means[way.method]}", way.reasons)


def healthcheck(case: Case) -> Iterator[Found]:
    """The guest's init starts the app and nothing else, so it runs no healthcheck."""
    if runs_check(case.spec.healthcheck):
        yield Found("the guest does not run the healthcheck")


def init(case: Case) -> Iterator[Found]:
    """Docker puts tini before the app; the guest does not."""
    if case.spec.init:
        yield Found("the guest runs the app itself as PID 1, without a small init")
