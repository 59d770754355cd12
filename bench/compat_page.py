"""Makes docs/compat-truth.md from its results: `python -m bench.compat_page`."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import harness

PATH = harness.RESULTS / "compat" / "cells.json"
PAGE = Path(__file__).parents[1] / "docs" / "compat-truth.md"
LEAST_CELLS, LEAST_TRIED, MOST_UNKNOWN = 40, 28, 4
_WORDS = 110

_HEAD = """\
# Truth table of compatibility

`make bench-compat` makes this page from bench/results/compat/cells.json; do not edit it by hand.

What [portkit check](how-to/check.md) predicts, beside what happened. The predictions were recorded
before anything was tried. A cell is tried with a Move that keeps nothing, in the same steps as any
Move, even where a rule says that it cannot run. The hosts are those of the [lab](lab.md): alpha is
Debian 12, beta 13, gamma testing, and delta is Debian 13 with Podman; the brackets say what was
done to the host before. Without KVM their VMs are emulated, and have QEMU's `max` processor unless
the artifact names another one. A cell *by profile* is about a host that the lab cannot provide: the
observed result is what the named public report says, and was not tried here. The lab's hosts are
containers of one machine. So they have its kernel, in which iptables-legacy works, and may not
raise limits above their own: a kernel without ip_tables is shown by a VM, and a limit of 2^30 open
files by a profile alone.

A *disk file* is a disk that portkit does not know to be its own: it is judged by `portkit check
NAME.qcow2` from its file alone, and libvirt starts it in the machine in brackets. It counts as
running when the system on it has started.

A cell agrees if it ran or did not run as predicted, and for the reason that it must have.
`unknown` does not count as agreement. A run may cover only some cells: the results have the time of
each prediction and each trial. A cell that did not agree at first was a fault, which was fixed, and
the cell was tried again.
"""

Row = dict[str, Any]


@dataclass
class Results:
    """The rows of all cells, by their ids."""

    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Results:
        """What is there."""
        if not PATH.exists():
            return cls()
        return cls({row["cell"]: row for row in json.loads(PATH.read_text())["cells"]})

    def put(self, row: Row) -> None:
        """One cell, written at once: a run that is cut keeps what it has, and one for each host may
        be at work."""
        PATH.parent.mkdir(parents=True, exist_ok=True)
        with PATH.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.rows = {**Results.read().rows, row["cell"]: row}
            document = {"machine": harness.machine(), "cells": list(self.rows.values())}
            PATH.write_text(json.dumps(document, indent=1) + "\n")

    def keep(self, names: Collection[str]) -> None:
        """Forget cells that are not there any more."""
        self.rows = {name: row for name, row in self.rows.items() if name in names}
        document = json.loads(PATH.read_text()) | {"cells": list(self.rows.values())}
        PATH.write_text(json.dumps(document, indent=1) + "\n")

    def counts(self) -> dict[str, int]:
        """How many cells there are of each kind."""
        rows = self.rows.values()
        done = [row for row in rows if row["observed"]]
        return {
            "cells": len(rows),
            "tried": sum(
                row["by"] == "trial" and row["observed"]["outcome"] != "not tried" for row in done
            ),
            "agree": sum(row["agrees"] is True for row in rows),
            "disagree": sum(row["agrees"] is False for row in rows),
            "unknown": sum(row["predicted"]["verdict"] == "unknown" for row in rows),
        }

    def met(self) -> bool:
        """Whether the bars are met."""
        found = self.counts()
        return (
            found["cells"] >= LEAST_CELLS
            and found["tried"] >= LEAST_TRIED
            and found["unknown"] <= MOST_UNKNOWN
            and found["agree"] == found["cells"] - found["unknown"]
        )


def page(results: Results, machine: Mapping[str, Any]) -> str:
    """The whole page."""
    found = results.counts()
    lines = [
        _HEAD,
        f"{found['cells']} cells, {found['tried']} of them tried: {found['agree']} agree, "
        f"{found['disagree']} do not, {found['unknown']} are unknown. "
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}.",
        "",
        "| artifact | form | host | predicted | rule | observed | agrees |",
        "|---|---|---|---|---|---|---|",
        *map(_line, results.rows.values()),
    ]
    return "\n".join([*lines, ""])


def _line(row: Row) -> str:
    said, seen = row["predicted"], row["observed"]
    place = row["host"] + (f" ({row['ground']})" if row["ground"] else "")
    place += " *by profile*" if row["by"] == "profile" else ""
    rules = [rule for rule, severity in said["rules"].items() if _weighs(said, rule, severity)]
    what = "not yet" if seen is None else seen["outcome"]
    more = "" if seen is None else _short(seen["said"] or seen["reason"])
    agrees = {True: "yes", False: "**no**", None: "-"}[row["agrees"]]
    cells = [row["artifact"], row["form"], place, said["verdict"], ", ".join(rules)]
    cells += [f"{what}: {more}" if more else what, agrees]
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _weighs(said: Row, rule: str, severity: str) -> bool:
    wanted = {"incompatible": "error", "unknown": "unknown"}.get(said["verdict"], "warning")
    return severity == wanted and rule != "accelerator"


def _short(text: str) -> str:
    return text if len(text) <= _WORDS else "..." + text[-_WORDS:]


def _plain(text: str) -> str:
    for sign in "\\|<[`":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def main() -> None:
    results = Results.read()
    PAGE.write_text(page(results, json.loads(PATH.read_text())["machine"]))


if __name__ == "__main__":
    main()
