"""Temporary folders end with their process, or with the next one."""

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit import process, runtime
from portkit.errors import PortkitError
from portkit.wire import processes

_HEAD = """
import os, sys, time
from pathlib import Path
from portkit import process, runtime
base = Path(sys.argv[1])
runtime.root = lambda: base
"""
_OWNER = """
path = runtime.folder()
(path / "secret").write_text("x")
child = process.spawn(["sleep", "300"])
runtime.record(child.pid)
print(path, child.pid, flush=True)
time.sleep(300)
"""
Owner = tuple[process.Process, Path, int]


def program(code: str, base: Path) -> list[str]:
    return [sys.executable, "-c", _HEAD + code, str(base)]


def output(code: str, base: Path) -> str:
    extra = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return process.run(program(code, base), env=extra).text


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base of the test's own, which is also what `root` gives."""
    base = tmp_path / "portkit"
    monkeypatch.setattr(runtime, "root", lambda: base)
    return base


@pytest.fixture
def owner(base: Path) -> Iterator[Owner]:
    """A process that has claimed a folder and recorded a program; both, and the program's pid."""
    extra = {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = process.spawn(program(_OWNER, base), env=extra)
    assert started.stdout is not None
    path, pid = started.stdout.readline().decode().split()
    yield started, Path(path), int(pid)
    process.end(started)


def kill(started: process.Process) -> None:
    started.kill()
    started.wait()


def running(pid: int) -> bool:
    return processes.started(pid) is not None


def test_a_folder_is_private_short_and_the_same_each_time(base: Path) -> None:
    path = runtime.folder()
    assert path == runtime.claim(base)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(base.stat().st_mode) == 0o700
    assert len(path.name) <= 10


def test_what_a_killed_process_left_is_removed_with_its_program(base: Path, owner: Owner) -> None:
    started, path, pid = owner
    assert runtime.sweep(base) == 0, "its owner is at work"
    assert (path / "secret").exists()
    kill(started)
    assert runtime.sweep(base) == 1
    assert not path.exists()
    assert not running(pid)


def test_the_next_claim_sweeps(base: Path, owner: Owner) -> None:
    kill(owner[0])
    assert runtime.claim(base).exists()
    assert not owner[1].exists()


def test_a_process_of_the_same_number_is_not_ended(base: Path, owner: Owner) -> None:
    started, path, pid = owner
    (path / f"pid-{pid}").write_text("another boot 1")
    kill(started)
    try:
        assert runtime.sweep(base) == 1
        assert running(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_process_that_ends_by_itself_leaves_nothing(base: Path) -> None:
    assert not Path(output("print(runtime.folder())", base).strip()).exists()


def test_a_forked_child_leaves_its_parents_folder_alone(base: Path) -> None:
    code = """
mine = runtime.folder()
if os.fork() == 0:
    assert runtime.folder() != mine
    sys.exit(0)
assert os.wait()[1] == 0
print(mine.is_dir(), list(base.iterdir()) == [mine])
"""
    assert output(code, base) == "True True\n"


def test_a_base_of_somebody_else_is_refused(base: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    base.symlink_to(theirs)
    with pytest.raises(PortkitError, match="cannot be trusted"):
        runtime.claim(base)


@pytest.mark.parametrize("told", ["relative", "/nonexistent", "/tmp", "/" + "x" * 60])
def test_a_runtime_dir_that_is_not_private_or_too_long_is_not_used(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_RUNTIME_DIR", told)
    assert not str(runtime.root()).startswith(told + "/portkit/")
    assert runtime.root() in (Path("/run/portkit"), Path(f"/tmp/portkit-{os.geteuid()}"))


def test_the_users_runtime_dir_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    told = Path(f"/tmp/pk-test-{os.getpid()}-{time.monotonic_ns()}")
    told.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(told))
    try:
        assert runtime.root() == told / "portkit"
    finally:
        told.rmdir()
