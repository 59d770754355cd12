"""The truth table: what portkit predicts for difficult artifacts and hosts, and what happens there.

Artifacts of a few KB (a program for a later processor, one without its loader, one that checks a
limit of the kernel, ...) are judged for the lab's hosts. Some of these are impaired first: a port
is taken, an engine is dead, IPv6 is off. All predictions are recorded before anything is started.
Then each cell is a Move that keeps nothing, even where it is predicted to fail. Kinds of hosts that
the lab cannot provide are judged by a profile, and compared with what a public report says about
them. Disk files that portkit did not make are in bench/compat_disks.py, and libvirt starts them.

    make bench-compat                         all cells
    CELLS='v3-marked beta' make bench-compat  those of an artifact or a host; the others stay
    CELLS=open make bench-compat              those that were not tried yet, or do not agree
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import compat_apps, compat_disks, compat_page, hosts
from bench.apps import Teller
from bench.compat_cells import CELLS
from portkit.host import connect
from portkit.source import OnHost

LAB = (hosts.SOURCE, hosts.TARGET, compat_apps.KEEPER, *compat_apps.ENGINES)


def main() -> int:
    wanted = os.environ.get("CELLS", "").split()
    results = compat_page.Results.read()
    settled = {name for name, row in results.rows.items() if row["agrees"]}
    names = {*wanted} - {"open"}

    def chosen(cells: Sequence[Any]) -> list[Any]:
        rows = [cell for cell in cells if not names or {cell.artifact, cell.host} & names]
        return [cell for cell in rows if "open" not in wanted or cell.name not in settled]

    disks = chosen(compat_disks.CELLS)
    if not wanted:
        compat_page.PATH.unlink(missing_ok=True)
    else:
        results.keep({cell.name for cell in (*CELLS, *compat_disks.CELLS)})
    with (
        hosts.practice(*LAB),
        tempfile.TemporaryDirectory(prefix="portkit-truth-") as name,
    ):
        compat_apps.play(chosen(CELLS), Path(name), results)
        if disks:
            with connect(f"lab:{hosts.SOURCE}", Teller()) as source:
                compat_disks.play(disks, Path(name) / "disks", results, OnHost(source))
    compat_page.main()
    return 0 if results.met() else 1


if __name__ == "__main__":
    sys.exit(main())
