"""A process is told from every other of its number."""

import os
import sys
from pathlib import Path

from portkit import process
from portkit.wire import processes


def test_a_process_keeps_its_start() -> None:
    mine = processes.started(os.getpid())
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert mine is not None
    assert mine == processes.started(os.getpid())
    assert mine.startswith(boot + " ")
    assert mine.split()[1].isdigit()


def test_a_name_with_brackets_and_spaces(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to(sys.executable)
    code = "import time; print(flush=True); time.sleep(60)"
    with process.popen([str(program), "-S", "-c", code], stdout=process.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            found = processes.started(child.pid)
            assert found is not None
            assert found.split()[1].isdigit()
        finally:
            child.kill()
        # It has ended, and nobody has asked for its exit code: it is a zombie or gone.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.started(child.pid) is None
    assert processes.started(child.pid) is None
