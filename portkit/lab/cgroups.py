"""The cgroup of a practice host: in every hierarchy, directly below the top.

All processes of a host are born in it and see it as their top (a cgroup namespace), so whatever a
host leaves behind is found there, whoever was killed before.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import LabError

_GENERIC = {"rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "seclabel"}
# How long the last processes may take to go: on a busy machine five seconds were not enough.
_BUSY_S = 60.0


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup hierarchy: "cgroup" (v1) or "cgroup2", where, and its mount options."""

    kind: str
    folder: Path
    options: str


def parse_mounts(text: str) -> list[Hierarchy]:
    """The cgroup hierarchies in /proc/self/mounts, each once."""
    found: dict[Path, Hierarchy] = {}
    for row in text.splitlines():
        words = row.split()
        if len(words) < 4 or words[2] not in {"cgroup", "cgroup2"}:
            continue
        options = [word for word in words[3].split(",") if word not in _GENERIC]
        # A hierarchy without a controller (systemd's own, of v1) is mounted with -o none,name=...
        if any(word.startswith("name=") for word in options):
            options.insert(0, "none")
        # v2's options can be set from the first cgroup namespace only, and are ignored elsewhere
        # (the kernel's admin-guide/cgroup-v2.rst).
        if words[2] == "cgroup2":
            options = []
        folder = Path(words[1])
        found[folder] = Hierarchy(words[2], folder, ",".join(options) or "rw")
    return list(found.values())


def parse_nspid(status: str) -> list[int]:
    """The process ids of a /proc/PID/status, from our namespace inwards."""
    match = re.search(r"^NSpid:\s*(.*)$", status, re.MULTILINE)
    return [int(word) for word in match.group(1).split()] if match else []


def hierarchies() -> list[Hierarchy]:
    """Those that are mounted on this machine."""
    return parse_mounts(Path("/proc/self/mounts").read_text())


def create(name: str) -> None:
    """Make the cgroup everywhere. cpuset groups of v1 start without any CPU or memory node."""
    for hierarchy in hierarchies():
        group = hierarchy.folder / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            own = group / setting
            if hierarchy.kind == "cgroup" and own.exists() and not own.read_text().strip():
                # A process cannot join a cpuset group without a CPU (cpuset(7)).
                own.write_text((hierarchy.folder / setting).read_text())


def _folders(name: str) -> Iterator[Path]:
    """Every folder of the group, deepest first."""
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy.folder / name, topdown=False):
            yield Path(folder)


def processes(name: str) -> set[int]:
    """The ids of all processes of the group, in our pid namespace."""
    found: set[int] = set()
    for folder in _folders(name):
        # A group may go, or one of v2 be of threads only, while we look.
        with contextlib.suppress(OSError):
            found |= {int(word) for word in (folder / "cgroup.procs").read_text().split()}
    # 0 stands for a process of a pid namespace that is not below ours.
    return found - {0}


def init_process(name: str) -> int | None:
    """The process that is PID 1 of the host itself (containers have a PID 1 further in)."""
    best: tuple[int, int] | None = None
    for pid in processes(name):
        with contextlib.suppress(OSError):
            ids = parse_nspid(Path(f"/proc/{pid}/status").read_text())
            if len(ids) > 1 and ids[-1] == 1 and (best is None or len(ids) < best[0]):
                best = (len(ids), pid)
    return best[1] if best else None


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process; fine when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_empty(name: str, seconds: float) -> bool:
    """Whether the group has no process left within `seconds`."""
    end = time.monotonic() + seconds
    while processes(name):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def kill(name: str, seconds: float = _BUSY_S) -> None:
    """SIGKILL everything in the group until nothing is left."""
    end = time.monotonic() + seconds
    # A loop: a process may fork between the list and the signal. v2 has cgroup.kill since Linux
    # 5.14 only.
    while left := processes(name):
        if time.monotonic() > end:
            raise LabError(
                f"processes of {name} survive SIGKILL",
                details=f"Process ids {sorted(left)}.",
                resolution="They hang in the kernel: run `ps -o pid,stat,wchan,cmd`, or restart "
                "this machine.",
            )
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(0.02)


def remove(name: str, seconds: float = _BUSY_S) -> None:
    """Remove the group and all below it; a group stays busy for a while after its last exit."""
    end = time.monotonic() + seconds
    while True:
        left = 0
        for folder in _folders(name):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left += 1
        if not left:
            return
        if time.monotonic() > end:
            raise LabError(
                f"the cgroups of {name} cannot be removed",
                details=", ".join(str(folder) for folder in _folders(name)),
                resolution="Check whether processes are left in their cgroup.procs.",
            )
        time.sleep(0.05)


def named(prefix: str) -> set[str]:
    """The names of the groups at the top whose name begins with `prefix`."""
    return {
        path.name
        for hierarchy in hierarchies()
        for path in hierarchy.folder.glob(f"{prefix}*")
        if path.is_dir()
    }
