"""Peak memory of portkit and of its remote halves while an app moves; engines are not counted."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import harness
from bench.hosts import SOURCE, TARGET, clear, shaped
from bench.sent import context
from portkit import lab, process
from portkit.lab import cgroups
from portkit.store import Store

REPEAT = 5
LARGE, SMALL = "4 GiB", "400 MB"
# Of bulk on top of the Python base of 0.4 GB.
_BULK_MIB = {LARGE: 3712, SMALL: 20}
LIMIT_MIB, LIMIT_RATIO = 256, 1.10
_LOOK_S = 0.05
_COMPOSE = """\
name: bulk
services:
  bulk:
    build: {{context: ., target: bulk, network: host, args: {{MEBIBYTES: "{mebibytes}"}}}}
    ports: ["8080:8080"]
    x-portkit:
      memory: 384m
      health: {{contains: bulk}}
"""


@dataclass(frozen=True)
class Peak:
    """MiB. here: of `portkit move`; remote: of the larger of its two remote halves."""

    here: float
    remote: float


def peak(store: Store, size: str) -> Peak:
    """One `portkit move` of both forms to a cleared target."""
    clear()
    with context() as folder, shaped():
        text = _COMPOSE.format(mebibytes=_BULK_MIB[size])
        (folder / "compose.yaml").write_text(text)
        words = ["move", str(folder), "--keep", "none", "--output", "json"]
        ends = ["--from", f"lab:{SOURCE}", "--to", f"lab:{TARGET}", "--progress", "quiet"]
        told = {"PORTKIT_STORE": str(store.root), "PORTKIT_LAB_NUMBER": str(lab.current().number)}
        argv = [str(Path(sys.executable).parent / "portkit"), *words, *ends]
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as errors,
            process.popen(argv, env=told, stdout=out, stderr=errors) as mover,
        ):
            with _watched(mover.pid) as seen:
                code = mover.wait()
            out.seek(0)
            errors.seek(0)
            if code != 0:
                raise process.failed(argv, code, errors.read())
            forms = json.loads(out.read())["forms"]
            assert all(form["boot"]["status"] == 200 for form in forms)
    return Peak(seen["here"] / 1024, seen["remote"] / 1024)


@contextmanager
def _watched(pid: int) -> Iterator[dict[str, int]]:
    """High-water marks in KiB, of the process and of what python3 runs as our remote half."""
    seen, done = {"here": 0, "remote": 0}, threading.Event()
    groups = [lab.current().cgroup(name) for name in (SOURCE, TARGET)]

    def look() -> None:
        while not done.wait(_LOOK_S):
            seen["here"] = max(seen["here"], _high_water(pid))
            for group in groups:
                for other in cgroups.processes(group):
                    if _is_remote_half(other):
                        seen["remote"] = max(seen["remote"], _high_water(other))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _high_water(pid: int) -> int:
    """VmHWM, KiB (proc_pid_status(5)); 0 when it has gone."""
    with contextlib.suppress(OSError):
        return harness.kib(Path(f"/proc/{pid}/status").read_text(), "VmHWM") or 0
    return 0


def _is_remote_half(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words[:3] == [b"python3", b"-I", b"-c"]
    return False


def rows(store: Store) -> list[harness.Row]:
    found = harness.turns(
        {
            f"memory, {LARGE}": lambda: peak(store, LARGE),
            f"memory, {SMALL}": lambda: peak(store, SMALL),
        },
        REPEAT,
    )
    large, small = found.values()
    made = []
    for side, title in (("here", "portkit"), ("remote", "remote half")):
        ours, peer = (tuple(getattr(value, side) for value in values) for values in (large, small))
        name = f"l: peak memory, {title}"
        made += [
            harness.Row(f"{name}, {LARGE}", "MiB", ours, (), LIMIT_MIB),
            harness.Row(f"{name}, {LARGE} to {SMALL}", "MiB", ours, peer, LIMIT_RATIO),
        ]
    return made
