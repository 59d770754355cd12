"""What the probe saw, as frozen values, and whose kernel that was. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# In place of an error number (probe.c): a filter killed the caller; no process could be made to try
# it; a file is hidden behind /dev/null.
KILLED, UNTRIED, MASKED = -1, -2, -3


@dataclass(frozen=True)
class Processes:
    """names: of the first that are no threads of the kernel. count: of all."""

    names: tuple[str, ...]
    count: int
    kernel_threads: int


@dataclass(frozen=True)
class Devices:
    """Block and character devices in /dev, without those that every container has. names: of the
    first that are no terminals."""

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """memory, pids, cpu: of the cgroup, in the kernel's words; None where the process sees none.
    memory_bytes, cpus: that the kernel says it has."""

    memory: str | None
    pids: str | None
    cpu: str | None
    memory_bytes: int
    cpus: int


@dataclass(frozen=True)
class Seen:
    """What a process in the App's place saw and reached.

    namespaces: as in /proc/self/ns. mounts: ro or rw. writes, reads: files that were opened so, and
    closed, with the error's number, 0 for none, or MASKED. status: of /proc/self/status. mac: the
    label of AppArmor or SELinux. uid_map: as in /proc/self. syscalls: the error's number of each,
    which had arguments that are always refused; 0 for none, or KILLED or UNTRIED.
    """

    release: str
    boot_id: str | None
    namespaces: Mapping[str, str]
    processes: Processes
    devices: Devices
    mounts: Mapping[str, str]
    writes: Mapping[str, int]
    reads: Mapping[str, int]
    status: Mapping[str, str]
    mac: str | None
    uid_map: str | None
    limits: Limits
    syscalls: Mapping[str, int]


@dataclass(frozen=True)
class HostKernel:
    """Of the host itself, asked beside the App. namespaces: of a process of portkit's there."""

    release: str
    boot_id: str
    namespaces: Mapping[str, str]


@dataclass(frozen=True)
class Isolation:
    """What was seen of one App in one Form on one host.

    seen: None where the probe did not run; reason: why. own_kernel: whether it is another kernel
    than the host's, by the id that a kernel draws when it boots; None where that was not seen.
    shared: the namespaces that are the host's.
    """

    seen: Seen | None = None
    own_kernel: bool | None = None
    shared: tuple[str, ...] = ()
    reason: str = ""


def compared(seen: Seen, host: HostKernel) -> Isolation:
    """What was seen, held against the host."""
    own = None if seen.boot_id is None else seen.boot_id != host.boot_id
    # The numbers of namespaces mean something within one kernel only.
    shared = (
        () if own else tuple(n for n, v in seen.namespaces.items() if host.namespaces.get(n) == v)
    )
    return Isolation(seen, own, shared)
