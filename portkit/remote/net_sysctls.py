"""Which network settings a new container could set: those that a new network namespace has.

The kernel shows the others only in the first namespace, or lets nobody write them there. A trial is
the only way to know: the list differs between kernels, and with the modules that are loaded.
"""

from __future__ import annotations

import re
import subprocess
from typing import Iterable, List, Optional

_SECONDS = 10.0
_MOST = 2000
_EACH = re.compile(r"^(net\.ipv[46]\.(?:conf|neigh))\.[^.]+\.")


def gather() -> Optional[List[str]]:
    """Their names; None where no namespace can be made."""
    look = ["find", "/proc/sys/net", "-type", "f", "-perm", "-u+w"]
    try:
        done = subprocess.run(
            ["unshare", "--net", "--", *look],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = names(done.stdout.decode("utf-8", "replace").splitlines())
    return found or None


def names(paths: Iterable[str]) -> List[str]:
    """As sysctl(8) writes them. What each network interface has of its own is one name, with `*` in
    the interface's place."""
    rows = {path[len("/proc/sys/") :].replace("/", ".") for path in paths}
    return sorted({_EACH.sub(r"\1.*.", row) for row in rows})[:_MOST]
