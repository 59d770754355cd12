"""Which settings below /proc/sys a container has for itself, and which only the host has."""

from __future__ import annotations

import re

# What has a value of its own in each IPC namespace (runc, libcontainer/configs/validate; ipc(5)).
OF_IPC = re.compile(
    r"kernel\.(sem|shm(all|max|mni|_rmid_forced)|msg(max|mnb|mni))|"
    r"fs\.mqueue\.(queues_max|msg_max|msgsize_max|msg_default|msgsize_default)"
)
INTERFACE = re.compile(r"^(net\.ipv[46]\.(?:conf|neigh))\.([^.]+)\.")
# Settings below net.* that only the first network namespace has, or that only it may set (Linux,
# net/core/sysctl_net_core.c, net/ipv4/sysctl_net_ipv4.c).
_OF_THE_HOST = frozenset(
    (
        "net.core.default_qdisc",
        "net.core.dev_weight",
        "net.core.netdev_budget",
        "net.core.netdev_max_backlog",
        "net.core.rmem_default",
        "net.core.rmem_max",
        "net.core.wmem_default",
        "net.core.wmem_max",
        "net.ipv4.tcp_max_orphans",
        "net.ipv4.tcp_mem",
        "net.ipv4.udp_mem",
    )
)


def is_of_the_host(name: str, own: tuple[str, ...] | None) -> bool:
    """Whether a container has no such setting. own: what was seen on the host; None where nobody
    looked: then what no kernel gives to a container."""
    if own is None:
        return name in _OF_THE_HOST
    return INTERFACE.sub(r"\1.*.", name) not in own
