"""The command line with words from elsewhere: shown without their escape codes and secrets."""

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from portkit_cli.main import CleanFormatter, main
from portkit_cli.observers import ConsoleObserver
from portkit_cli.render import clean, print_error

from portkit import app as apps
from portkit.errors import AppError, HostError

EVIL = "\x1b[31mred\x9b2J\x07\r\u202e\x00"
SECRET = "hunter2"


def raw(text: str) -> set[str]:
    return set(text) & set("\x1b\x9b\x07\r\u202e\x00")


# hostile input 28
@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_no_error_reaches_the_terminal_raw(
    monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise HostError(f"brief {EVIL}", details=f"details {EVIL}", resolution=f"do {EVIL}")

    monkeypatch.setattr(apps, "load", load)
    done = CliRunner().invoke(main, [*options, "move", "x", "--to", "web1"])
    assert done.exit_code == HostError.exit_code
    assert "brief [31mred2J" in done.stderr
    assert ("Traceback" in done.stderr) == bool(options)
    assert not raw(done.stderr)


def test_no_log_line_or_progress_is_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """hostile input 28"""
    record = logging.LogRecord("portkit", logging.INFO, "", 1, "said %s", (EVIL,), None)
    assert not raw(CleanFormatter("%(message)s").format(record))
    observer = ConsoleObserver(live=False)
    observer.message(EVIL)
    observer.phase(EVIL)
    print_error(AppError(EVIL, details=EVIL, resolution=EVIL))
    told = capsys.readouterr()
    assert "[31mred2J" in told.err
    assert not raw(told.err)


@given(st.text())
def test_what_is_cleaned_holds_no_control(text: str) -> None:  # hostile input 28
    assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in clean(text) if ord(c) < 256)


# hostile input 59
@pytest.mark.parametrize("options", [[], ["--debug"]])
@pytest.mark.parametrize(
    "value", [SECRET + "${1}", '"' + SECRET, "${" + SECRET + "!}", "@" + SECRET]
)
def test_no_value_in_an_error_or_its_traceback(
    tmp_path: Path, options: list[str], value: str
) -> None:
    text = f"services:\n  a:\n    image: x\n    environment:\n      PASSWORD: {value}\n"
    (tmp_path / "compose.yaml").write_text(text)
    done = CliRunner().invoke(main, [*options, "move", str(tmp_path), "--to", "web1"])
    assert done.exit_code == AppError.exit_code
    assert "compose.yaml:" in done.stderr
    assert SECRET not in done.output


# hostile inputs 24, 25, 30, 31: refused before anything is started
@pytest.mark.parametrize(
    "words",
    [
        ["move", "x", "--from", "h\nost", "--to", "web1"],
        ["move", "--to", "web1", "--", "-rf"],
        ["move", "../nowhere", "--to", "web1"],
        ["ps", "--on", "-oProxyCommand=touch x"],
        ["ps", "--on", "tcp://10.0.0.1:2375"],
        ["ps", "--on", "a b"],
        ["ps", "--on", "$(id)"],
        ["rm", "x", "--on", "h;id"],
    ],
)
def test_hostile_words(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *args, **_: started.append(args))
    done = CliRunner().invoke(main, words)
    assert done.exit_code in (AppError.exit_code, HostError.exit_code), done.output
    assert started == []
