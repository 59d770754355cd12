"""Run the readers on spoilt input: python -m tests.fuzz.run --seconds N [--seed S] [--reader NAME]

A child process reads; this one watches it. Only PortkitError (or what the table of readers allows)
may come out, each within 2 s and below 200 MiB. What does not is written to fuzz-findings/.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from portkit import process
from portkit.errors import ToolError
from tests.fuzz.readers import Reader, readers

LIMIT_S = 2.0
LIMIT_BYTES = 200 << 20
_SILENCE_S = 30.0  # a loop in C that no signal ends; a child also has to start on a busy machine
_CASES = 2000  # of one child
_ADDRESSES = 4 << 30  # bytes of a child's address space, for the machine's sake
FINDINGS = Path("fuzz-findings")


class Slow(BaseException):
    """A call took longer than it may. No reader can catch it as an Exception."""


@dataclass
class Most:
    """The longest call of a reader, and the most memory that one took beyond its process. read: how
    many of the cases were read to their end; the others ended with an error."""

    seconds: float = 0.0
    peak_bytes: int = 0
    cases: int = 0
    read: int = 0

    def take(self, seconds: float, peak_bytes: int, read: int) -> None:
        """Count a case."""
        self.seconds, self.peak_bytes = max(self.seconds, seconds), max(self.peak_bytes, peak_bytes)
        self.cases, self.read = self.cases + 1, self.read + read


def attempt(reader: Reader, data: bytes, most: Most) -> str:
    """Read it once; what is wrong with how it ended, "" when nothing is.

    Memory is the peak of the process above what it had at first: it is measured by the kernel, so
    that C libraries count as well.
    """
    _reset_peak()
    before, read = _peak(), False
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        try:
            _alarm(LIMIT_S)
            read = reader.run(data, Path(folder))
        except (Slow, MemoryError) as error:
            return f"{type(error).__name__} at {_place(error)}"
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            return f"{type(error).__name__} at {_place(error)}"
        finally:
            _alarm(0)
            took = time.process_time() - began
            peak = _peak() - before
            most.take(took, peak, read)
    if peak > LIMIT_BYTES:
        return f"took {peak >> 20} MiB"
    return f"took {took:.1f} s" if took > LIMIT_S else ""


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew


def _peak() -> int:
    """Bytes: the most memory that the process had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise LookupError("VmHWM")


def _alarm(seconds: float) -> None:
    # The processor's time, not the clock's: a busy machine is no fault of a reader.
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}portkit{os.sep}" in frame.filename] or frames
    return f"{ours[-1].filename.rpartition('/portkit/')[2]}:{ours[-1].lineno}"


def child(name: str, seed: str, first: int, cases: int) -> None:
    """Read case after case; a line of JSON for each: what is wrong with it, and what it took."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))

    def late(*_: Any) -> None:
        raise Slow

    signal.signal(signal.SIGPROF, late)
    reader = readers()[name]
    for number in range(first, first + cases):
        most = Most()
        why = attempt(reader, reader.case(f"{seed} {number}"), most)
        print(json.dumps([number, why, most.seconds, most.peak_bytes, most.read]), flush=True)


def watched(
    name: str, seed: str, first: int, until: float, most: Most, cases: int = _CASES
) -> Iterator[tuple[int, str]]:
    """What is wrong in the cases of one child, until it ends or its time is over."""
    argv = [sys.executable, "-m", "tests.fuzz.run", "--child", name, seed, str(first), str(cases)]
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    with process.popen(argv, env=env, stderr=process.DEVNULL) as running:
        assert running.stdout is not None
        number = first
        while time.monotonic() < until:
            try:
                with process.deadline(running, _SILENCE_S):
                    line = running.stdout.readline()
            except ToolError:
                yield number, f"did not end within {_SILENCE_S:g} s"
                return
            if not line:
                if number < first + cases:
                    yield number, f"the process ended: {running.wait()}"
                return
            _, why, *took = json.loads(line)
            most.take(*took)
            if why:
                yield number, why
            number += 1


def main() -> int:
    """Take the readers in turn, a child for each, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", default=str(Random().randrange(10**9)))
    parser.add_argument("--reader", action="append")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        child(*told.child[:2], *map(int, told.child[2:]))
        return 0
    return _all(told.seconds, told.seed, told.reader or list(readers()))


def _all(seconds: float, seed: str, names: list[str]) -> int:
    print(f"seed {seed}")
    table, found, done = readers(), {}, 0
    end, most = time.monotonic() + seconds, {name: Most() for name in names}
    slice_s = max(5.0, seconds / len(names) / 4)
    while time.monotonic() < end:
        for name in names:
            until = min(end, time.monotonic() + slice_s)
            for number, why in watched(name, seed, done * _CASES, until, most[name]):
                if (name, why) not in found:
                    found[name, why] = number
                    _keep(table[name], f"{seed} {number}", why)
        done += 1
    print(f"{'reader':<16} {'cases':>8} {'longest':>9} {'memory':>9}")
    for name, row in most.items():
        mib = row.peak_bytes >> 20
        print(f"{name:<16} {row.cases:>8} {row.seconds:>7.2f} s {mib:>5} MiB")
    print(f"{len(found)} findings")
    return 1 if found else 0


def _keep(reader: Reader, seed: str, why: str) -> None:
    FINDINGS.mkdir(exist_ok=True)
    path = FINDINGS / f"{reader.name}-{seed.replace(' ', '-')}"
    path.write_bytes(reader.case(seed))
    print(f"{reader.name}: {why}: {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
