"""Runs `ours` and `peer` in turns, keeps every value, and writes bench/results/NAME.json."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results"

Run = Callable[[], float]
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One comparison. limit: what the ratio of the medians may be at most, without a peer what the
    median itself may be; None = no bar."""

    row: str
    unit: str
    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """median(ours) / median(peer); None without a peer."""
        return statistics.median(self.ours) / statistics.median(self.peer) if self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.limit is None:
            return None
        value = statistics.median(self.ours) if self.ratio is None else self.ratio
        return value <= self.limit

    def document(self) -> dict[str, Any]:
        """As it stands in the results; "ours" and "peer" are the medians of "runs"."""
        ratio = self.ratio
        return {
            "row": self.row,
            "ours": round(statistics.median(self.ours), 4),
            "peer": round(statistics.median(self.peer), 4) if self.peer else None,
            "ratio": None if ratio is None else round(ratio, 4),
            "limit": self.limit,
            "unit": self.unit,
            "runs": {
                "ours": [round(value, 4) for value in self.ours],
                "peer": [round(value, 4) for value in self.peer],
            },
        }


def turns(runs: Mapping[str, Callable[[], T]], repeat: int = 1) -> dict[str, tuple[T, ...]]:
    """What each run gave, `repeat` times, in turns: what else the machine does then falls on all
    alike. Who goes first changes with every turn, so that none always finds what another left."""
    values: dict[str, list[T]] = {name: [] for name in runs}
    for turn in range(repeat):
        for name in list(runs) if turn % 2 == 0 else reversed(list(runs)):
            values[name].append(runs[name]())
            tell(f"{name} {turn + 1}/{repeat}: {values[name][-1]}")
    return {name: tuple(found) for name, found in values.items()}


def more(name: str, ours: Sequence[float], peer: Sequence[float], most: float) -> Row:
    """Bytes that may be at most so many more than the peer's median."""
    row = Row(name, "bytes", tuple(ours), tuple(peer))
    median = row.document()["peer"]
    return replace(row, limit=round((median + most) / median, 4))


def compare(
    name: str, *, ours: Run, peer: Run | None, unit: str, limit: float | None, repeat: int = 1
) -> Row:
    """One figure of ours against a peer's, in turns."""
    runs = {f"{name}, ours": ours} | ({f"{name}, peer": peer} if peer is not None else {})
    values = list(turns(runs, repeat).values())
    return Row(name, unit, values[0], values[1] if peer is not None else (), limit)


def machine() -> dict[str, Any]:
    """What the figures depend on: {"cpu", "cores", "memory_gib", "kernel"}."""
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = kib(_read("/proc/meminfo"), "MemTotal")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
    }


def kib(text: str, name: str) -> int | None:
    """The value of a line of /proc/meminfo or of /proc/PID/status; None where it is not there."""
    match = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
    return int(match[1]) if match else None


def _read(path: str) -> str:
    return Path(path).read_text(errors="replace")


def made(command: str) -> dict[str, Any]:
    """When, how and where figures were made, as it stands in the results."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "machine": machine(),
    }


def save(name: str, rows: Sequence[Row], folder: Path = RESULTS, *, command: str = "") -> Path:
    """Write NAME.json: one object a row, each with the date, the machine and the command.

    command: where it made only some rows; the others stay as they are.
    """
    made_by = made(command or f"make bench-{name}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    old = json.loads(path.read_text()) if command and path.exists() else []
    found = {row["row"]: row for row in old} | {row.row: row.document() | made_by for row in rows}
    path.write_text(json.dumps([found[key] for key in sorted(found)], indent=1) + "\n")
    return path


def finish(name: str, rows: Sequence[Row], *, command: str = "") -> int:
    """Save and print rows; the exit code: 1 when a bar is missed."""
    save(name, rows, command=command)
    return report(rows)


def report(rows: Sequence[Row]) -> int:
    """Print rows; the exit code: 1 when a bar is missed."""
    for row in rows:
        document = row.document()
        bar = {None: "no bar", True: f"at most {row.limit}", False: f"MISSED, {row.limit}"}
        tell(
            f"{row.row}: ours {document['ours']} {row.unit}, peer {document['peer']}, "
            f"ratio {document['ratio']} ({bar[row.met]})"
        )
    return 1 if any(row.met is False for row in rows) else 0


def tell(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
