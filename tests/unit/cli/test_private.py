"""What the command line writes is private, and what a killed one left goes with the next."""

import os
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from portkit_cli import main as cli

from portkit import process, runtime

_KILLED = "import os, signal; from portkit import runtime; (runtime.folder() / 'x').mkdir(); "
_KILLED += "os.kill(os.getpid(), signal.SIGKILL)"


def test_umask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        monkeypatch.setattr(runtime, "sweep", lambda: (tmp_path / "made").touch())
        CliRunner().invoke(cli.main, ["lab", "status", "--help"])
        assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
        assert os.umask(0) == 0, "the caller's is back"
    finally:
        os.umask(before)


def test_the_next_command_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = Path(f"/tmp/pk{os.getpid()}")  # pytest's own paths are too long for sockets
    private.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private))
    try:
        extra = {"XDG_RUNTIME_DIR": str(private), "PYTHONPATH": os.pathsep.join(sys.path)}
        killed = process.run([sys.executable, "-c", _KILLED], env=extra, check=False)
        assert killed.code == -signal.SIGKILL
        (left,) = (private / "portkit").iterdir()
        CliRunner().invoke(cli.main, ["lab", "status", "--help"])
        assert not left.exists()
    finally:
        for path in (private / "portkit", private):
            path.rmdir()
