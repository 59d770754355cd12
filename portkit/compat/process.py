"""What the App's process gets: its rights, and what a guest leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.rule import Case, Found
from portkit.model import DEFAULT_CAPABILITIES


def privileged(case: Case) -> Iterator[Found]:
    """`privileged: true` in a container."""
    if case.spec.privileged:
        yield Found("the container has every right on the host's kernel")


def capabilities(case: Case) -> Iterator[Found]:
    """Rights beyond those that an engine gives to every container."""
    more = [name for name in case.spec.capabilities if name not in DEFAULT_CAPABILITIES]
    if more and not case.spec.privileged:  # that has a rule of its own
        yield Found("the app gets capabilities beyond the engine's default", tuple(more))


def healthcheck(case: Case) -> Iterator[Found]:
    """The guest's init starts the app and nothing else."""
    check = case.spec.healthcheck
    if check is not None and check.test[:1] not in ((), ("NONE",)):
        yield Found("the guest does not run the healthcheck")


def init(case: Case) -> Iterator[Found]:
    """Docker puts tini before the app; the guest does not."""
    if case.spec.init:
        yield Found("the guest runs the app itself as PID 1, without a small init")
