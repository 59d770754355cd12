"""Which processes a signal does not reach."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from portkit.host import answers
from portkit.remote import stops

SLEEPS = "hrtimer_nanosleep"
TERM = 1 << (signal.SIGTERM - 1)


def status(numbers: str, caught: int, blocked: int = 0) -> str:
    return (
        f"Name:\tsh: x\nNSpid:\t{numbers}\nSigBlk:\t{blocked:016x}\n"
        f"SigCgt:\t{caught:016x}\nodd line\n"
    )


@pytest.mark.parametrize(
    ("numbers", "caught", "number", "dropped"),
    [
        ("4711\t1", 0, signal.SIGTERM, True),
        ("4711\t12\t1", 0, signal.SIGTERM, True),
        ("4711\t1", TERM, signal.SIGTERM, False),
        ("4711\t1", TERM, signal.SIGQUIT, True),
        ("4711\t7", 0, signal.SIGTERM, False),  # shares a namespace: the default is to end
        ("4711", 0, signal.SIGTERM, False),  # the host's own
        ("1", 0, signal.SIGTERM, False),
        ("4711\t1", 0, signal.SIGKILL, False),
    ],
)
def test_the_first_process_of_a_namespace_gets_only_what_it_catches(
    numbers: str, caught: int, number: int, dropped: bool
) -> None:
    assert stops.drops(status(numbers, caught), SLEEPS, number) is dropped


def test_a_signal_that_is_blocked_waits_for_the_process_to_take_it() -> None:
    assert not stops.drops(status("4711\t1", 0, TERM), SLEEPS, signal.SIGTERM)
    assert stops.drops(status("4711\t1", 0, TERM), SLEEPS, signal.SIGQUIT)


@pytest.mark.parametrize("waits_in", ["do_sigtimedwait.isra.0", "0", ""])
def test_who_takes_signals_as_they_come_is_told_apart(waits_in: str) -> None:
    """docker-init (`docker run --init`), whose mask shows nothing meanwhile; or it is not known."""
    assert not stops.drops(status("4711\t1", 0), waits_in, signal.SIGTERM)


@pytest.mark.parametrize("text", ["", "NSpid:\t5\t1\n", "SigCgt:\t0\n"])
def test_what_a_kernel_does_not_say_is_not_guessed(text: str) -> None:
    assert not stops.drops(text, SLEEPS, signal.SIGTERM)


def test_processes_of_this_host() -> None:
    channel: Any = None
    gone = 1 << 22  # proc(5): pid_max is at most that, and a process has a smaller number
    rows = [{"pid": pid, "signal": 15} for pid in (os.getpid(), gone)]
    assert "SigCgt" in Path("/proc/self/status").read_text()
    row = stops.ignored({"processes": rows}, channel)
    assert row == {"ignored": [False, False]}
    assert answers.wrong("process.ignored", row) == ""
