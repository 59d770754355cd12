"""What a Report says of how a running App changed its host."""

from types import SimpleNamespace
from typing import Any

import pytest

from portkit.model import Form, Live
from portkit.move.carry import phases_of
from tests.factories import live, plan

STEPS = (
    "boot image",
    "create image",
    "fence",
    "last layer",
    "last sync",
    "presync",
    "stop",
    "verify source",
)


def phases(chosen: Live | None) -> list[str]:
    """Each step has one phase, of the step's name."""

    def result(name: str) -> dict[str, object]:
        row = {"name": name, "start_s": 1.0, "seconds": 2.0}
        return {"phases": [row]} if name in STEPS else {}

    steps: Any = SimpleNamespace(result=result)
    made = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=chosen)
    return [phase.name for phase in phases_of(Form.IMAGE, made, steps)]


CUT = ["presync", "fence", "stop", "last layer", "last sync"]


@pytest.mark.parametrize(
    ("chosen", "between", "after"), [(live(), CUT, ["verify source"]), (None, [], [])]
)
def test_the_phases_of_the_cutover_are_between_create_and_boot(
    chosen: Live | None, between: list[str], after: list[str]
) -> None:
    assert phases(chosen) == ["create image", *between, "boot image", *after]
