"""Which kernel this host runs, since when, and in which of its namespaces it lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

from portkit.remote.channel import Channel
from portkit.wire import processes
from portkit.wire.json_types import JsonObject

_NAMESPACES = "/proc/self/ns"
# Those of a process's children are what /proc/self/ns has beside its own.
_OF_CHILDREN = "_for_children"
# Where dockerd writes its process id (--pidfile).
_DOCKERD = Path("/run/docker.pid")


def _since() -> str:
    # proc(5): starttime, the 22nd field; the name before it may have spaces. A host that shares its
    # kernel has a first process of its own.
    return Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]


def _engine_since() -> str:
    # Podman has no daemon that its containers end with.
    try:
        text = _DOCKERD.read_text().strip()
    except OSError:
        return ""
    return processes.started(int(text)) or "" if text.isdecimal() else ""


def identity(args: JsonObject, channel: Channel) -> JsonObject:
    """What tells an App's kernel and namespaces from the host's, and one start of the host from the
    next. since: when its first process was started, in ticks of its kernel. engine_since: what no
    other start of Docker's daemon has; "" where it does not run, or writes its id elsewhere."""
    found: Dict[str, str] = {}
    for name in sorted(os.listdir(_NAMESPACES)):
        if not name.endswith(_OF_CHILDREN):
            found[name] = os.readlink(os.path.join(_NAMESPACES, name))
    return {
        "release": os.uname().release,
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "namespaces": found,
        "since": _since(),
        "engine_since": _engine_since(),
    }
