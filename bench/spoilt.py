"""What comes of spoilt input on its way to a verdict of compatibility.

Each kind of input is spoilt in 500 ways (a number of a table is changed, bytes or lines are cut,
doubled or swapped, a value of JSON has another type), and portkit judges an app with it: ELF files
and os-release in an image, the image's configuration, what the programs of a host print
(docker info, runc, /proc/cpuinfo, modules, ...), and the host's answer as a whole. Each case has to
end in a verdict or in an error of portkit's own, within 2 s of processor time and 200 MiB. Anything
else is a fault: a traceback, a call that hangs, a process that dies.

The cases are those of `make fuzz` (tests/fuzz), with a seed that is always the same.
"""

from __future__ import annotations

import sys
import time

from bench import harness
from tests.fuzz.run import LIMIT_S, Most, watched

NAME, SEED, CASES = "spoilt", "bench", 500
DEADLINE_S = 900.0  # of one kind, on a busy machine
KINDS = {
    "ELF files": "verdict-elf",
    "os-release": "verdict-os-release",
    "image configurations": "verdict-config",
    "outputs of a host": "verdict-outputs",
    "answers of a host": "verdict-facts",
}


def rows(kind: str, reader: str) -> list[harness.Row]:
    """The cases of one kind."""
    most = Most()
    until = time.monotonic() + DEADLINE_S
    faults = list(watched(reader, SEED, 0, until, most, CASES))
    for number, why in faults:
        harness.tell(f"{reader}, case {number}: {why}")
    if most.cases + len(faults) < CASES:
        faults.append((most.cases, f"only {most.cases} cases in {DEADLINE_S:g} s"))
    return [
        harness.Row(f"{kind}: cases that are faults", "cases", (len(faults),), limit=0),
        harness.Row(f"{kind}: cases that end in a verdict", "cases", (most.read,)),
        harness.Row(f"{kind}: cases that end in an error", "cases", (most.cases - most.read,)),
        harness.Row(f"{kind}: the longest case", "s", (most.seconds,), limit=LIMIT_S),
    ]


def main() -> int:
    return harness.finish(NAME, [row for pair in KINDS.items() for row in rows(*pair)])


if __name__ == "__main__":
    sys.exit(main())
