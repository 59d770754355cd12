"""Which process a number means. The kernel gives the number of one that has ended to another."""

from __future__ import annotations

from pathlib import Path
from typing import Optional


def started(pid: int) -> Optional[str]:
    """A text that no other process of that number has: the id of this boot and the start in clock
    ticks since then. None when the process has ended, also while its parent has not noticed."""
    try:
        # proc(5): field 2 of stat is the program's name in brackets, which may itself hold
        # brackets and spaces, so what follows the last bracket is field 3 (state) and onwards.
        text = Path("/proc/%d/stat" % pid).read_text(errors="replace")
        # Ticks count from the boot: after a reboot another process may have the same number.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    state, start = fields[0], fields[19]  # fields 3 and 22
    return None if state in "ZX" else boot + " " + start  # zombie, dead
