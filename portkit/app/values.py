"""Single values in compose's notation: sizes, durations, ports, volumes. Pure; ValueError."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Any

from portkit.model import Mount, Port

_SIZE = re.compile(r"([0-9]+)\s*(b|k|kb|m|mb|g|gb|kib|mib|gib)?", re.IGNORECASE)
_FACTORS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:us|ms|s|m|h|d))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def size(value: Any) -> int:
    """Bytes of 512, "64k", "1gb" (powers of 1024, as compose counts)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{str(value)[:40]!r} is not a size such as 512m")
    return int(match[1]) * _FACTORS[(match[2] or "b").lower()[0]]


def duration(value: Any) -> float:
    """Seconds of "1m30s"; a bare number is refused, as compose does."""
    text = str(value)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a duration such as 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


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
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"{text[:20]!r} is not a port from 1 to 65535")
    return int(text)


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
        if options - {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"}:
            raise ValueError(f"{text[:80]!r}: the options are not understood")
    source, target = parts if len(parts) == 2 else ("", parts[0])
    bind = source.startswith(("/", ".", "~"))
    return checked_mount(Mount("bind" if bind else "volume", target, source, "ro" in options))


def checked_mount(row: Mount) -> Mount:
    """The mount if its target is an absolute path other than the root, without dots."""
    parts = row.target.split("/")
    if not row.target.startswith("/") or ".." in parts or "\0" in row.target:
        raise ValueError(f"{row.target[:80]!r} is not an absolute path")
    if not any(part not in ("", ".") for part in parts):
        raise ValueError("a volume cannot be mounted on /")
    return row
