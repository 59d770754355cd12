"""When the source of a cutover may be stopped, so that its downtime is counted from an answer."""

import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import BootError, EngineError
from portkit.model import Form, Port
from portkit.move import cutover, downtime
from portkit.move.downtime import Downtime
from tests.factories import spec


class Clock:
    """A halt that notes its pauses and lets no time pass but theirs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        times = SimpleNamespace(monotonic=lambda: self.now, sleep=self.pause)
        monkeypatch.setattr(downtime, "time", times)

    def pause(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.mark.parametrize(
    ("answers_s", "waits_s"), [(0.0, 0.5), (0.4, 0.5), (3.0, 3.0), (60.0, 30.0)]
)
def test_the_first_answer_is_waited_for(
    answers_s: float, waits_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    prober: Any = SimpleNamespace(
        began=100.0, answered=lambda side: side == "source" and clock.now >= 100 + answers_s
    )
    halt: Any = clock
    Downtime(prober).await_source(halt)
    assert clock.now - 100 == pytest.approx(waits_s, abs=0.15)
    clock.now = 500.0
    Downtime(prober).await_source(halt)
    assert clock.now == 500, "it was asked for long enough before"


@pytest.mark.parametrize("answers", [True, False])
def test_an_app_that_does_not_answer_at_its_source_is_not_stopped(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    prober: Any = SimpleNamespace(began=100.0, answered=lambda side: answers)
    asked = Downtime(prober)
    asked._url = "http://192.0.2.1:8090/"
    ground: Any = SimpleNamespace(downtime=asked, halt=clock)
    if answers:
        cutover._await_an_answer(ground)
        return
    with pytest.raises(BootError) as raised:
        cutover._await_an_answer(ground)
    assert "http://192.0.2.1:8090/" in raised.value.details
    assert "--health scheme=tcp" in raised.value.resolution


@pytest.mark.parametrize("runs", [True, False])
def test_one_that_was_stopped_meanwhile_is_not_waited_for(
    runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (
        SimpleNamespace(service="web", running=runs),
        SimpleNamespace(service="b", running=True),
    )
    live = SimpleNamespace(domain=None, containers=rows)
    spec = SimpleNamespace(front=SimpleNamespace(service="web"))
    ground: Any = SimpleNamespace(loaded=SimpleNamespace(spec=spec))
    there = nullcontext(SimpleNamespace(seen=lambda: live))
    monkeypatch.setattr(cutover, "origin_of", lambda ground: there)
    assert cutover._runs(ground) is runs


def test_where_nobody_is_asked_nothing_is_waited_for() -> None:
    began = time.monotonic()
    halt: Any = None
    Downtime().await_source(halt)
    assert time.monotonic() - began < 5
    assert Downtime().await_source_again() == ""
    assert Downtime().in_vain == ""


def test_a_source_whose_engine_chose_another_port_is_asked_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    class Prober:
        def __init__(self, sides: Any) -> None:
            asked.append(sides["source"].address)

        def start(self) -> None: ...

        def moved(self, name: str, side: Any) -> None:
            asked.append(side.address)

    monkeypatch.setattr(downtime, "Prober", Prober)
    host: Any = SimpleNamespace(name="local", address=lambda: "127.0.0.1")
    front = spec(ports=(Port(80),))
    nobody = Downtime()
    nobody.begin(front, Form.IMAGE, host, host, reached=lambda service, port: None)
    assert asked == [], "who answers at the port of that number is not the App"
    known = Downtime()
    for number in (49153, 49153, 49160):
        reached = lambda service, port, number=number: replace(port, published=number)  # noqa: E731
        if not asked:
            known.begin(front, Form.IMAGE, host, host, reached=reached)
        known.source_started(reached)

    def fails(service: str, port: Port) -> Port:
        raise EngineError("gone")

    known.source_started(fails)
    assert asked == [("127.0.0.1", 49153), ("127.0.0.1", 49160)]


@pytest.mark.parametrize(
    ("answers_s", "said"),
    [
        (0.0, "the App answers at its source again; no host answered for 7.25 s"),
        (40.0, "the App answers at its source again; no host answered for 7.25 s"),
        (90.0, "the App has not answered at its source for 60 s"),
    ],
)
def test_a_move_that_goes_back_says_for_how_long_nobody_answered(
    answers_s: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    prober: Any = SimpleNamespace(
        back=lambda: None,
        answered=lambda side: side == "source" and clock.now >= 100 + answers_s,
        stop=lambda: SimpleNamespace(downtime_s=7.25),
    )
    known = Downtime(prober)
    assert known.await_source_again() == "", "it has not gone back"
    known.goes_back()
    assert known.await_source_again() == said
    assert clock.now - 100 == pytest.approx(min(answers_s, 60.0), abs=0.15)
