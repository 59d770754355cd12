"""Single values in compose's notation: sizes, durations, ports, volumes. Pure; ValueError."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from dataclasses import replace
from fractions import Fraction
from typing import Any

from portkit.model import Mount, Port

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(b|[kmgt]i?b?)?", re.IGNORECASE | re.ASCII)
_FACTORS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MOUNT_OPTIONS = frozenset(["ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"])
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:us|ms|s|m|h|d))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
_LONGEST_S = 366 * 86400.0
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
# A volume over one of them hides what every process needs, in a container and in a VM.
_SYSTEM = frozenset(
    ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
)
# Who can write there is root on the host.
_HOSTS_OWN = frozenset(
    [
        *("/", "/root", "/run", "/var", "/var/lib", "/var/run", "/var/lib/portkit"),
        *("/var/lib/docker", "/var/lib/containerd", "/var/lib/libvirt"),
        *("/run/docker", "/run/containerd", "/run/libvirt"),
        *("/var/run/docker", "/var/run/containerd", "/var/run/libvirt"),
    ]
)
_SOCKETS = frozenset(
    [
        *("buildkitd.sock", "containerd.sock", "crio.sock", "docker.sock", "podman.sock"),
        *("libvirt-sock", "virtqemud-sock"),
    ]
)


def size(value: Any) -> int:
    """Bytes of 512, "64k", "1gb", "0.5g" (powers of 1024, as compose counts)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return _in_64_bits(value)
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or len(match[1]) > 18:
        raise ValueError(f"{str(value)[:40]!r} is not a size such as 512m")
    return _in_64_bits(int(Fraction(match[1]) * _FACTORS[(match[2] or "b").lower()[0]]))


def _in_64_bits(value: int) -> int:
    if value >= 1 << 63:
        raise ValueError("a number is too big")
    return value


def duration(value: Any) -> float:
    """Seconds of "1m30s"; a bare number is refused, as compose does."""
    text = str(value)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a duration such as 1m30s")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST_S:
        raise ValueError("a duration is over a year")
    return seconds


def count(value: Any) -> int:
    """A whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is not a whole number")
    return _in_64_bits(value)


def processors(value: Any) -> float:
    """A share of processors: 0.5, "2"."""
    number = float(value)
    if isinstance(value, bool) or not 0 < number <= 4096:
        raise ValueError(f"{str(value)[:40]!r} is not a number of processors")
    return number


def words(value: Any) -> tuple[str, ...]:
    """A command: a list as it is, a string split like a shell would."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(shlex.split(value))
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        return tuple(str(v) for v in value)
    raise ValueError("wants a string or a list of strings")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) < 65536):
        raise ValueError(f"{text[:20]!r} is not a port from 1 to 65535")
    return int(text)


def port(value: Any) -> int:
    """One port's number."""
    return _number(str(value))


def _range(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    start = _number(first)
    end = _number(last) if dash else start
    if not start <= end <= start + 999:
        raise ValueError(f"{text[:40]!r} is not a range of at most 1000 ports")
    return list(range(start, end + 1))


def ports(text: str) -> list[Port]:
    """The short form: [IP:][HOST:]CONTAINER[/PROTOCOL], with ranges."""
    body, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"the protocol {protocol[:20]!r} is not tcp or udp")
    host_ip, body = _split_ip(body)
    published, colon, target = body.rpartition(":")
    targets = _range(target)
    if not colon or not published:
        if host_ip:
            raise ValueError("a port with an address needs a published port too")
        return [Port(port, None, protocol, host_ip) for port in targets]
    outside = _range(published)
    if len(outside) != len(targets):
        raise ValueError(f"{text[:40]!r}: both ranges must have the same length")
    return [Port(t, p, protocol, host_ip) for t, p in zip(targets, outside, strict=True)]


def _split_ip(body: str) -> tuple[str, str]:
    if body.startswith("["):
        address, bracket, rest = body[1:].partition("]:")
        if not bracket:
            raise ValueError(f"{body[:40]!r}: an IPv6 address is written [ADDRESS]:HOST:CONTAINER")
        return address_of(address), rest
    if body.count(":") == 2:
        address, _, rest = body.partition(":")
        return address_of(address), rest
    return "", body


def address_of(text: str) -> str:
    """An address to bind to, checked; "" for all of them."""
    if text in ("", "0.0.0.0"):  # noqa: S104 - read, not bound
        return ""
    return str(ipaddress.ip_address(text))


def mount(text: str) -> Mount:
    """The short form: [SOURCE:]TARGET[:ro|rw]. A source that is a path is a bind mount."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError(f"{text[:80]!r} is not [SOURCE:]TARGET[:OPTIONS]")
    options: set[str] = set()
    if len(parts) == 3 or (len(parts) == 2 and not parts[1].startswith("/")):
        options = set(parts.pop().split(","))
        if options - MOUNT_OPTIONS:
            raise ValueError(f"{text[:80]!r}: the options are not understood")
    source, target = parts if len(parts) == 2 else ("", parts[0])
    bind = source.startswith(("/", ".", "~"))
    return checked_mount(Mount("bind" if bind else "volume", target, source, "ro" in options))


def checked_mount(row: Mount) -> Mount:
    """The mount, its target without needless slashes; ValueError when it is on the root, a folder
    of the system or an engine's socket, or a name is malformed."""
    parts = row.target.split("/")
    if not row.target.startswith("/") or ".." in parts or _CONTROL.search(row.target):
        raise ValueError(f"{row.target[:80]!r} is not an absolute path")
    target = "/" + "/".join(part for part in parts if part not in ("", "."))
    if target == "/":
        raise ValueError("a volume cannot be mounted on /")
    if target in _SYSTEM or parts[-1] in _SOCKETS:
        raise ValueError(f"a volume cannot be mounted on {target[:80]}")
    if row.type == "volume" and row.source and not _VOLUME.fullmatch(row.source):
        raise ValueError(f"{row.source[:80]!r} is not a volume's name")
    return replace(row, target=target)


def checked_source(path: str) -> str:
    """The absolute path of a folder to bind; ValueError when an App may never have it."""
    path = posixpath.normpath("/" + path.lstrip("/"))
    below = (path + "/").startswith(("/proc/", "/sys/"))
    if path in _SYSTEM | _HOSTS_OWN or below or posixpath.basename(path) in _SOCKETS:
        raise ValueError(f"{path[:80]} is the host's own, no App may have it")
    return path
