"""Which kernel this host runs, and in which of its namespaces it lives."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Dict

from portkit.remote.channel import Channel
from portkit.wire.json_types import JsonObject

_NAMESPACES = "/proc/self/ns"
# Those of a process's children are what /proc/self/ns has beside its own.
_OF_CHILDREN = "_for_children"


def identity(args: JsonObject, channel: Channel) -> JsonObject:
    """What tells an App's kernel and namespaces from the host's."""
    found: Dict[str, str] = {}
    for name in sorted(os.listdir(_NAMESPACES)):
        if not name.endswith(_OF_CHILDREN):
            found[name] = os.readlink(os.path.join(_NAMESPACES, name))
    return {
        "release": platform.release(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "namespaces": found,
    }
