import os
import signal
import time
from pathlib import Path

import pytest

from portkit import process
from portkit.errors import ToolError


def test_output_and_code() -> None:
    done = process.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", check=False)
    assert (done.code, done.stdout, done.stderr) == (3, b"in", b"err\n")


def test_a_slow_program_gets_all_of_its_input_and_all_of_its_output_comes() -> None:
    """It is waited for in pieces."""
    data = os.urandom(1 << 20)
    assert process.run(["sh", "-c", "sleep 1.3; cat"], input=data, timeout=30).stdout == data
    done = process.run(["sh", "-c", "seq 50000; sleep 1.3; seq 3"], timeout=30)
    assert done.text.split() == [*map(str, range(1, 50_001)), "1", "2", "3"]


def test_failure_tells_command_and_output() -> None:
    with pytest.raises(ToolError) as caught:
        process.run(["sh", "-c", "echo why >&2; exit 9"])
    assert "exit code 9" in caught.value.brief
    assert "why" in caught.value.details


def test_missing_program_points_to_doctor() -> None:
    with pytest.raises(ToolError, match="not installed") as caught:
        process.run(["no-such-program-here"])
    assert "portkit doctor" in caught.value.resolution


def test_arguments_stay_single_words() -> None:
    hostile = "a b; $(touch x) `id` \n -rf *"
    assert process.run(["printf", "%s", hostile]).text == hostile


def test_secrets_of_our_environment_do_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PASSWORD", "hunter2")
    assert b"hunter2" not in process.run(["env"]).stdout


def test_a_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(ToolError, match="did not finish"):
        process.run(["sh", "-c", f"sleep 60 & echo $! > {file}; wait"], timeout=0.3)
    child = int(file.read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    os.kill(child, 9)
    pytest.fail("the child outlived the deadline")


def test_memory_limit_holds() -> None:
    argv = ["python3", "-c", "bytearray(1 << 30)"]
    done = process.run(argv, memory_bytes=512 * 1024**2, check=False)
    assert done.code != 0
    assert b"MemoryError" in done.stderr


def test_uninterrupted_holds_signals_back() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), process.uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
