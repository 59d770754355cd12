"""Single values in compose's notation: sizes, durations, numbers, volumes. Pure; ValueError."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

from portkit.model import Mount

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(b|[kmgtp]i?b?)?", re.IGNORECASE | re.ASCII)
_FACTORS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_PART = re.compile(rf"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)({'|'.join(_UNITS)})")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_LEAST_MEMORY = 6 << 20  # moby, daemon/daemon_unix.go
_WHOLE = re.compile(r"[-+]?[0-9]+", re.ASCII)
# Engines count durations in nanoseconds in 64 bits, which end after 292 years; nobody waits longer
# than one.
_LONGEST_S = 366 * 86400.0
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
# A volume over one of them hides what every process needs, in a container and in a VM.
_SYSTEM = frozenset(
    ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
)
# Who can write there is root on the host.
_HOSTS_OWN = frozenset(
    [
        "/",
        "/root",
        "/run",
        "/var",
        "/var/lib",
        "/var/run",
        "/var/lib/portkit",
        "/var/lib/docker",
        "/var/lib/containerd",
        "/var/lib/libvirt",
        "/run/docker",
        "/run/containerd",
        "/run/libvirt",
        "/var/run/docker",
        "/var/run/containerd",
        "/var/run/libvirt",
    ]
)
_SOCKETS = frozenset(
    [
        "buildkitd.sock",
        "containerd.sock",
        "crio.sock",
        "docker.sock",
        "podman.sock",
        "libvirt-sock",
        "virtqemud-sock",
    ]
)


def size(value: object) -> int:
    """Bytes of 512, "64k", "1gb", "0.5g" (powers of 1024, as compose counts)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _in_64_bits(value)
    if isinstance(value, float):  # compose takes it for 0, so for no limit
        raise ValueError("a size with a fraction needs its unit, such as 0.5g")
    match = _SIZE.fullmatch(str(value).strip())
    # Before int(): Python 3.11 refuses more than 4,300 digits with an error of its own, and earlier
    # versions took quadratic time for them.
    if match is None or len(match[1]) > 18:
        raise ValueError(f"{str(value)[:40]!r} is not a size such as 512m")
    # Fractions: 0.1 as a binary float times 2**40 would be off by some bytes.
    return _in_64_bits(int(Fraction(match[1]) * _FACTORS[(match[2] or "b").lower()[0]]))


def _in_64_bits(value: int) -> int:
    if value >= 1 << 63:
        raise ValueError("a number is too large")
    return value


def duration(value: object) -> float:
    """Seconds of "1m30s"; a bare number but 0 is refused, as compose does."""
    text = str(value)
    if text != "0" and not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a duration such as 1m30s")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST_S:
        raise ValueError("a duration is longer than a year")
    return seconds


def whole(value: object) -> int:
    """A whole number, also as text, as a variable gives it."""
    if isinstance(value, str) and len(value) < 20 and _WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{str(value)[:40]!r} is not a whole number")
    return value


def count(value: object) -> int:
    """A whole number from 0 on."""
    number = whole(value)
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return _in_64_bits(number)


def processors(value: object) -> float | None:
    """A share of processors: 0.5, "2"; None for 0, which is no limit."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{str(value)[:40]!r} is not a number of processors")
    number = float(value)
    if not 0 <= number <= 4096:
        raise ValueError(f"{str(value)[:40]!r} is not a number of processors")
    return number or None


def memory(value: object) -> int | None:
    """Bytes that the engine takes as a limit; None for 0, which is no limit."""
    number = 1 if str(value).startswith("-") else size(value)
    if 0 < number < _LEAST_MEMORY:
        raise ValueError(
            f"{str(value)[:40]!r} is not a memory limit: use 6m or more, or 0 for none"
        )
    return number or None


def port(value: object) -> int:
    """One port's number."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) < 65536):
        raise ValueError(f"{text[:20]!r} is not a port from 1 to 65535")
    return int(text)


def address_of(text: str) -> str:
    """An address to bind to, checked; "" for all of them."""
    return "" if text == "0.0.0.0" else str(ipaddress.ip_address(text))  # noqa: S104 - read, not bound


def mount(text: str, same_paths: Collection[str] = ()) -> tuple[Mount, tuple[str, ...]]:
    """The short form: [SOURCE:]TARGET[:OPTIONS], and the options but `ro` and `rw`. A source that
    is a path is a bind mount. same_paths: as of `checked_mount`."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError(f"{text[:80]!r} is not [SOURCE:]TARGET[:OPTIONS]")
    options = parts.pop().split(",") if len(parts) == 3 else []
    access = [option for option in options if option in ("ro", "rw")]
    source, target = parts if len(parts) == 2 else ("", parts[0])
    bind = source.startswith(("/", ".", "~"))
    found = Mount("bind" if bind else "volume", target, source, access[-1:] == ["ro"])
    return checked_mount(found, same_paths), tuple(
        option for option in options if option not in access
    )


def checked_mount(row: Mount, same_paths: Collection[str] = ()) -> Mount:
    """The mount, its target as the engine has it: without needless slashes, and `..` carried out in
    the text. ValueError when it is on the root, a folder of the system or an engine's socket, or a
    name is malformed. same_paths: what may be mounted of any host, as the user said."""
    # Docker 20.10 to 28.5 refuse it for every kind of mount; none takes it as below working_dir.
    if not row.target.startswith("/"):
        raise ValueError(f"{row.target[:80]!r} is not an absolute path, which the engine requires")
    if _CONTROL.search(row.target):
        raise ValueError(f"{row.target[:80]!r} contains a control character")
    target = posixpath.normpath("/" + row.target.lstrip("/"))
    if target == "/":
        raise ValueError("a volume cannot be mounted on /")
    allowed = row.type == "bind" and row.source in same_paths
    if posixpath.basename(target) in _SOCKETS and not allowed:
        raise ValueError(_commands(row.source or target))
    if target in _SYSTEM:
        raise ValueError(f"a volume cannot be mounted on {target[:80]}")
    if row.type == "volume" and row.source and not _VOLUME.fullmatch(row.source):
        raise ValueError(f"{row.source[:80]!r} is not a volume's name")
    return replace(row, target=target)


def checked_source(path: str) -> str:
    """The absolute path of a folder to bind; ValueError when an App may never have it."""
    path = posixpath.normpath("/" + path.lstrip("/"))
    below = (path + "/").startswith(("/proc/", "/sys/"))
    if posixpath.basename(path) in _SOCKETS:
        raise ValueError(_commands(path))
    if path in _SYSTEM | _HOSTS_OWN or below:
        raise ValueError(f"{path[:80]} belongs to the host, and no App may have it")
    return path


def _commands(path: str) -> str:
    return (
        f"{path[:80]} is an engine's socket, and whoever can write to it is root on the host. "
        "portkit does not move an App that controls its engine, unless you allow that with "
        f"--same-path {path[:80]}: it then controls the target's"
    )
