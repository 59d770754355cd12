"""An interrupt is never lost, not even where Python cannot raise it."""

import signal
import sys
import threading

import pytest
from portkit_cli import main as cli


class Dying:
    """Freed while a signal arrives."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "number"),
    [(KeyboardInterrupt(), signal.SIGINT), (cli.Terminated(), signal.SIGTERM)],
)
def test_sent_once_more(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, number: signal.Signals
) -> None:
    came = threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", cli._again)
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
    monkeypatch.setattr(sys, "unraisablehook", cli._again)
    dying = Dying(ValueError("lost"))
    del dying
    assert "ValueError: lost" in capsys.readouterr().err
