"""Which services are not started on the target."""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.model import Live, LiveContainer, LiveDomain, Standing
from portkit.move.was import standing
from tests.factories import live

NAMES = ("db", "web", "worker")


def running(*names: str) -> Live:
    rows = tuple(LiveContainer(name, name, "no", running=name in names) for name in NAMES)
    return live(containers=rows, volumes=())


def ground(planned: Live | None, was: Live | None = None, front: str = "web") -> Any:
    told = {} if was is None else {"was": asdict(was)}
    return SimpleNamespace(
        plan=SimpleNamespace(live=planned),
        results=SimpleNamespace(result=lambda step: told),
        cargo=SimpleNamespace(spec=SimpleNamespace(front=SimpleNamespace(service=front))),
    )


@pytest.mark.parametrize(
    ("planned", "was", "expected"),
    [
        (NAMES, NAMES, ()),
        (NAMES, ("db", "web"), ("worker",)),  # it was stopped after the Move had begun
        (("db", "web"), NAMES, ()),
        (("db", "web"), None, ("worker",)),  # it was not fenced yet
        (("db", "web"), (), ("worker",)),  # its user has stopped all of it, to move it
        (NAMES, ("db",), ()),
    ],
)
def test_what_did_not_run_when_it_was_fenced(
    planned: tuple[str, ...], was: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    found = ground(running(*planned), None if was is None else running(*was))
    assert standing(found).resting == expected
    found.cargo = None  # its source is gone
    if was != ("db",):
        assert standing(found).resting == expected


def test_a_healthcheck_that_failed_there() -> None:
    was = running("db", "web")
    rows = tuple(replace(each, ill=each.service != "web") for each in was.containers)
    found = ground(running(*NAMES), replace(was, containers=rows))
    assert standing(found) == Standing(("worker",), ("db",))


def test_of_a_vm_and_of_an_app_that_is_only_made() -> None:
    domain = LiveDomain("pk-0123456789ab", "no", False, True, resting=("worker",))
    assert standing(ground(replace(live(), containers=(), domain=domain))).resting == ("worker",)
    assert standing(ground(None)) == Standing()
