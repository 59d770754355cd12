"""What was seen, in words for people: a line for each thing, and what the line means. Pure."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from portkit.isolation.seen import KILLED, UNTRIED, Isolation, Seen
from portkit.model import CAPABILITIES

# With one of these, root in a container is about as good as root on the host (capabilities(7)).
POWERFUL = (
    "CAP_SYS_ADMIN",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_PTRACE",
    "CAP_SYS_BOOT",
    "CAP_SYS_TIME",
    "CAP_DAC_READ_SEARCH",
    "CAP_NET_ADMIN",
    "CAP_BPF",
    "CAP_PERFMON",
)
_REFUSED = (errno.EPERM, errno.EACCES, KILLED)
_NUMBERS = {name: number for number, name in enumerate(CAPABILITIES)}
_SECCOMP = {"0": "off", "1": "strict", "2": "a filter"}

MEANINGS = {
    "kernel": "Whose kernel serves the app's system calls. A fault in the host's is a way to the "
    "host; a fault in its own is a way into the VM only. Known by the id that a kernel draws when "
    "it boots.",
    "shares": "Namespaces that the app has in common with the host: what it sees of them is the "
    "host's.",
    "processes": "What is in /proc. In a container, processes of others are there only where it "
    "shares the pid namespace; in a VM those of the VM.",
    "user": "The app's user id, and the one that the same kernel knows it by outside of its user "
    "namespace. 0 outside is root, held back only by what the lines below say.",
    "capabilities": "The parts of root's rights that it has and can get. Named are those that "
    "amount to control of the kernel, whoever's that is.",
    "new privileges": "Whether setuid programs and file capabilities can give it more rights.",
    "seccomp": "Whether a filter stands before the kernel's system calls.",
    "MAC": "The label by which AppArmor or SELinux confines it. none, or unconfined: neither does.",
    "devices": "Devices in /dev beside null, zero and the like. In a VM they are the VM's.",
    "mounted": "Whether the kernel's file systems are mounted so that they can be written.",
    "writable": "Kernel interfaces that it could open for writing (nothing was written). On the "
    "host's kernel, each changes the host.",
    "readable": "Interfaces that it could open for reading, and that tell of all of the kernel's "
    "memory, keys or timers.",
    "calls let in": "System calls that the kernel itself answered, to arguments that it always "
    "refuses: each is code of the kernel that the app can attack.",
    "calls refused": "System calls that a filter, or the lack of a right, stopped.",
    "calls absent": "System calls that do not exist there: the kernel was built without them, or a "
    "filter says so.",
    "memory limit": "Of its cgroup; none: all that its kernel has. A VM is limited from outside, "
    "too, by the memory that it was given.",
    "process limit": "Of its cgroup; none: it can fill its kernel's table of processes.",
    "CPU limit": "Of its cgroup: microseconds of each period.",
    "sees": "The memory and processors that the kernel names: in a container those of the host, "
    "whatever its limits are.",
}


def lines(found: Isolation) -> dict[str, str]:
    """For each of MEANINGS what was seen; empty where the probe did not run."""
    seen = found.seen
    if seen is None:
        return {}
    return {
        "kernel": f"{seen.release}, {_whose(found.own_kernel)}",
        "shares": _shared(found),
        "processes": _processes(seen),
        "user": _user(found, seen),
        "capabilities": _capabilities(seen.status),
        "new privileges": {"0": "possible", "1": "none"}.get(
            seen.status.get("NoNewPrivs", ""), "?"
        ),
        "seccomp": _SECCOMP.get(seen.status.get("Seccomp", ""), "not in this kernel"),
        "MAC": seen.mac or "none",
        "devices": f"{seen.devices.count}{_listed(seen.devices.names)}",
        "mounted": ", ".join(f"{path} {how}" for path, how in seen.mounts.items()),
        "writable": _opened(seen.writes),
        "readable": _opened(seen.reads),
        **_calls(seen.syscalls),
        "memory limit": _mebibytes(_limit(seen.limits.memory)),
        "process limit": _limit(seen.limits.pids),
        "CPU limit": _limit(seen.limits.cpu),
        "sees": f"{seen.limits.memory_bytes >> 20} MiB, {seen.limits.cpus} CPUs",
    }


def _whose(own: bool | None) -> str:
    return {True: "its own", False: "the host's", None: "whose is not known"}[own]


def _shared(found: Isolation) -> str:
    if found.own_kernel:
        return "nothing: another kernel"
    return ", ".join(found.shared) or "none"


def _processes(seen: Seen) -> str:
    kernel = seen.processes.kernel_threads
    threads = f", {kernel} of them threads of the kernel" if kernel else ""
    return f"{seen.processes.count}{threads}{_listed(seen.processes.names)}"


def _listed(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _user(found: Isolation, seen: Seen) -> str:
    uid = seen.status.get("Uid", "?")
    outside = outer(uid, seen.uid_map or "")
    where = "in its own kernel" if found.own_kernel else f"{outside} outside"
    return f"{uid}, {where}"


def outer(uid: str, uid_map: str) -> str:
    """The id outside of a user namespace (user_namespaces(7)); "unknown" where the map has none."""
    for row in uid_map.splitlines():
        fields = row.split()
        if len(fields) == 3 and all(map(str.isdecimal, (uid, *fields))):
            inner, base, count = map(int, fields)
            if inner <= int(uid) < inner + count:
                return str(base + int(uid) - inner)
    return "unknown"


def _capabilities(status: Mapping[str, str]) -> str:
    effective, bounding = (_bits(status.get(name, "")) for name in ("CapEff", "CapBnd"))
    if effective is None or bounding is None:
        return "?"
    held = [name.removeprefix("CAP_") for name in POWERFUL if effective >> _NUMBERS[name] & 1]
    powerful = f": {', '.join(held)}" if held else ""
    return f"{effective.bit_count()} of {bounding.bit_count()}{powerful}"


def _bits(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None


def _opened(tried: Mapping[str, int]) -> str:
    names = [name for name, error in tried.items() if error == 0]
    return f"{len(names)} of {len(tried)}{_listed(names)}"


def _calls(tried: Mapping[str, int]) -> dict[str, str]:
    refused = [name for name, error in tried.items() if error in _REFUSED]
    absent = [name for name, error in tried.items() if error == errno.ENOSYS]
    untried = [name for name, error in tried.items() if error == UNTRIED]
    other = (*refused, *absent, *untried)
    let_in = [name for name in tried if name not in other]
    told = {"calls let in": let_in, "calls refused": refused, "calls absent": absent}
    return {what: f"{len(names)}{_listed(names)}" for what, names in told.items()}


def _limit(text: str | None) -> str:
    # cgroup v1 has no word for it: -1, or the largest number of whole pages.
    if text is None or text.split()[:1] in (["max"], ["-1"], ["9223372036854771712"]):
        return "none"
    return text


def _mebibytes(limit: str) -> str:
    return f"{int(limit) >> 20} MiB" if limit.isdecimal() else limit
