"""An error that nobody foresaw: readable, with a code of its own, and without any value."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from portkit_cli import main as cli

from portkit import app
from portkit.errors import AppError


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException, *options: str, **env: str) -> Result:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(app, "load", load)
    words = [*options, "pack", "x", "-o", "/nonexistent"]
    return CliRunner().invoke(cli.main, words, env=dict(env))


@pytest.mark.parametrize(
    "error", [KeyError("hunter2"), RecursionError("hunter2"), MemoryError(), ValueError("\ud800")]
)
def test_a_bug_is_said_without_values(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    done = run(monkeypatch, error)
    assert done.exit_code == cli.Bug.exit_code == 70
    assert "bug in portkit" in done.stderr
    assert type(error).__name__ in done.stderr
    assert "hunter2" not in done.output
    assert "Traceback" not in done.output


def test_the_traceback_is_shown_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, env in ((("--debug",), {}), ((), {"PORTKIT_DEBUG": "1"})):
        done = run(monkeypatch, KeyError("hunter2"), *options, **env)
        assert (done.exit_code, "Traceback" in done.stderr) == (70, True)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["check", "x" * 5000, "--on", "local"])
    assert done.exit_code not in (0, 70)
    assert "Traceback" not in done.output


def test_other_ends_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, AppError("mine")).exit_code == 3
    assert run(monkeypatch, OSError(36, os.strerror(36), "x")).exit_code == 1
    assert run(monkeypatch, KeyboardInterrupt()).exit_code == 130
    assert CliRunner().invoke(cli.main, ["pack", "--nonsense"]).exit_code == 2
