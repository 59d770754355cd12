"""Practice hosts on this machine: real Docker Engines and libvirts, each in a root of its own.

They share this machine's kernel and nothing else: own files, processes, network, hostname. See
docs/lab.md. Everything here needs root and Linux.
"""

from portkit.lab.base import base_image, load_base
from portkit.lab.control import (
    LabHost,
    counters,
    cut,
    down,
    host,
    leftovers,
    mend,
    reboot,
    shape,
    ssh_config,
    status,
    up,
)
from portkit.lab.plan import MEMBERS, Lab, current

__all__ = [
    "MEMBERS",
    "Lab",
    "LabHost",
    "base_image",
    "counters",
    "current",
    "cut",
    "down",
    "host",
    "leftovers",
    "load_base",
    "mend",
    "reboot",
    "shape",
    "ssh_config",
    "status",
    "up",
]
