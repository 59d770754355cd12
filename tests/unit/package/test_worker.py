"""The process that writes a disk ends with the one that asked for it, and QEMU with both."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portkit import process
from portkit.package.disk import _WORKER

# As libguestfs: waits in C for a child, with an end of a pipe that the child holds.
_GUESTFS = """
import atexit, ctypes, os, subprocess, sys
class GuestFS:
    def __init__(self, **_): pass
    def add_drive_opts(self, *_, **__): pass
    def set_memsize(self, _): pass
    def launch(self):
        child = subprocess.Popen(["sleep", "300"])
        open(os.environ["TMPDIR"] + "/left", "w").close()
        atexit.register(lambda: os.unlink(os.environ["TMPDIR"] + "/left"))
        print("child", child.pid, file=sys.stderr, flush=True)
        libc = ctypes.CDLL(None, use_errno=True)
        while libc.waitpid(child.pid, None, 0) == -1 and ctypes.get_errno() == 4: pass
        raise RuntimeError("appliance closed the connection unexpectedly")
"""


@contextmanager
def worker(folder: Path) -> Iterator[tuple[process.Process, int]]:
    """The worker at work, and the process that stands for QEMU."""
    (folder / "guestfs.py").write_text(_GUESTFS)
    path = os.pathsep.join([str(folder), *sys.path])
    env = {"PYTHONPATH": path, "TMPDIR": str(folder)}
    with process.popen(_WORKER, env=env, stdin=process.PIPE, stdout=process.DEVNULL) as started:
        assert started.stdin is not None
        assert started.stderr is not None
        started.stdin.write(json.dumps({"disk": "x", "memory_mib": 1}).encode() + b"\n")
        started.stdin.flush()
        line = b""
        while not line.startswith(b"child"):
            line = started.stderr.readline()
            assert line
        yield started, int(line.split()[1])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] in "ZX"
    except FileNotFoundError:
        return True


def waited(pid: int) -> bool:
    for _ in range(600):
        if gone(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("how", ["parent", "signal"])
def test_it_ends_with_its_parent(tmp_path: Path, how: str) -> None:
    with worker(tmp_path) as (started, child):
        assert not gone(child)
        if how == "parent":
            assert started.stdin is not None
            started.stdin.close()
        else:
            started.send_signal(signal.SIGTERM)
            os.kill(child, signal.SIGTERM)  # the whole group gets it
        assert process.wait(started, 30.0) not in (None, 0)
        assert waited(child)
    assert not (tmp_path / "left").exists(), "it ended in order"


def test_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL to the one that asked: nothing that it started goes on."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tests.unit.package.test_worker import worker\n"
        "with worker(Path(sys.argv[1])) as (started, child):\n"
        "    print(started.pid, child, flush=True); time.sleep(300)\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    argv = [sys.executable, "-c", code, tmp_path]
    with process.popen(argv, env=env) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert all(waited(pid) for pid in pids)
    assert not (tmp_path / "left").exists()
