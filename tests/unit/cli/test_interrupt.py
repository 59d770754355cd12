"""An interrupt is never lost, not even where Python cannot raise it."""

import signal
import socket
import sys
import threading
from collections.abc import Iterator

import pytest
from portkit_cli import interrupt


class Dying:
    """Freed while a signal arrives."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "number"),
    [(KeyboardInterrupt(), signal.SIGINT), (interrupt.Terminated(), signal.SIGTERM)],
)
def test_sent_once_more(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, number: signal.Signals
) -> None:
    came = threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", interrupt._again)
    before = signal.signal(number, lambda *_: came.set())
    try:
        dying = Dying(error)
        del dying
        assert came.wait(10)
    finally:
        signal.signal(number, before)


def test_other_errors_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", interrupt._again)
    dying = Dying(ValueError("lost"))
    del dying
    assert "ValueError: lost" in capsys.readouterr().err


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGURG)}
    interrupt.install()
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, interrupt.Terminated)],
)
@pytest.mark.usefixtures("installed")
def test_a_call_that_blocks_already(number: signal.Signals, error: type[BaseException]) -> None:
    """Taken by another thread, a signal is only noted, as one that comes just before the call."""
    ours, theirs = socket.socketpair()
    given_up, ended = threading.Event(), threading.Event()

    def send() -> None:
        signal.pthread_kill(threading.get_ident(), number)
        if not ended.wait(20):
            given_up.set()
            theirs.send(b"x")

    timer = threading.Timer(0.2, send)
    with ours, theirs, pytest.raises(error):
        timer.start()
        ours.recv(1)
    ended.set()
    timer.join()
    assert not given_up.is_set()
