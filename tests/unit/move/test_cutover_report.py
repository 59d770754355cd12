"""What a Report says of how a running App changed its host."""

from types import SimpleNamespace
from typing import Any

import pytest

from portkit.clock import Clock
from portkit.model import Basis, Foreseen, Form, Live, Part
from portkit.move import pause
from portkit.move.plan import plan_from
from portkit.move.reported import phases_of
from tests.factories import Heard, live, plan

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


def test_what_a_cutover_now_would_cost_is_said_while_it_waits() -> None:
    assert "copy for 4.0 s" in pause._would_cost(None, 4.0)[1], "of an older Move"
    part = Part(1.0, Basis.ASSUMED, "a guess", 1.0)
    known = Foreseen(
        data_bytes=part,
        wire_bytes=part,
        first_s=part,
        stop_s=part,
        layer_s=part,
        last_s=part,
        boot_s=part,
        rest_s=part,
    )
    seconds, said = pause._would_cost(known, 4.0)
    assert seconds == 8.0
    assert "a downtime of about 8.0 s" in said
    assert "last pass 4.00 s (measured)" in said
    made = plan(foreseen=known)
    assert plan_from(made.to_json()) == made


def test_what_a_cutover_would_cost_is_not_repeated_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard, now = Heard(), 1000.0
    ground: Any = SimpleNamespace(clock=Clock(heard), plan=plan(foreseen=None))
    monkeypatch.setattr(pause.time, "monotonic", lambda: now)
    cost = pause._Cost(ground)
    for seconds in (4.0, 4.1, 3.9, 9.0, 9.2, 1.0, 1.4):
        cost.tell(seconds)
    assert [text.split()[6] for text in heard.messages] == ["4.0", "9.0", "1.0"]
    now += 61.0
    cost.tell(1.1)
    assert len(heard.messages) == 4, "a sign of life"


CUT = ["presync", "fence", "stop", "last layer", "last sync"]


@pytest.mark.parametrize(
    ("chosen", "between", "after"), [(live(), CUT, ["verify source"]), (None, [], [])]
)
def test_the_phases_of_the_cutover_are_between_create_and_boot(
    chosen: Live | None, between: list[str], after: list[str]
) -> None:
    assert phases(chosen) == ["create image", *between, "boot image", *after]
