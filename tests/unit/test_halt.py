"""A lane that fails ends the other one wherever that looks."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from portkit import boot
from portkit.halt import Halt, Halted, Heeding
from portkit.health import Deadline, Way
from portkit.model import HealthProbe, Life, Method
from portkit.watch import watch
from tests.factories import Heard

FULL = RuntimeError("full")


def later(action: Any, seconds: float = 0.1) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


def test_nothing_happens_while_all_is_well() -> None:
    halt = Halt()
    halt.check()
    halt.pause(0.01)
    halt.until(lambda: True)


def test_the_first_error_stays() -> None:
    halt = Halt()
    halt.give_up(FULL)
    halt.give_up(KeyboardInterrupt())
    assert halt.error is FULL
    with pytest.raises(Halted):
        halt.check()


@pytest.mark.parametrize("wait", [lambda halt: halt.pause(30), lambda halt: halt.until(bool)])
def test_a_wait_ends_at_once(wait: Any) -> None:
    halt, begun = Halt(), time.monotonic()
    later(lambda: halt.give_up(FULL))
    with pytest.raises(Halted):
        wait(halt)
    assert time.monotonic() - begun < 10


def test_a_change_is_seen() -> None:
    halt, there = Halt(), set[str]()
    later(lambda: halt.tell(lambda: there.add("image")))
    halt.until(lambda: "image" in there)


def test_ctrl_c_ends_the_wait_for_the_other_lane() -> None:
    later(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        Halt().until(bool)


def test_who_reports_progress_is_halted() -> None:
    heard, halt = Heard(), Halt()
    observer = Heeding(heard, halt)
    observer.message("on the way")
    halt.give_up(FULL)
    for tell in (
        lambda: observer.message("further"),
        lambda: observer.phase("boot"),
        lambda: observer.bytes("transfer", 1, 2),
    ):
        with pytest.raises(Halted):
            tell()
    assert heard.messages == ["on the way"]


def test_a_silent_app_is_not_waited_for() -> None:
    class Silent:
        def life(self, *_: object, **__: object) -> Life:
            halt.give_up(FULL)
            return Life("created")

    halt, runner = Halt(), Silent()
    silent: Any = runner
    way, probe = Way(Method.RUNNING), HealthProbe(running_s=60)
    typed: boot.Runner = silent
    target: Any = None
    watched = watch(typed, "pk-1", target, probe, way, Deadline(300, "told"), halt=halt)
    with pytest.raises(Halted):
        watched.first_answer(time.monotonic())
