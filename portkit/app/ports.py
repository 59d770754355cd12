"""Compose's `ports`: what is published, each address once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Port, Severity

_RANGE = 1000  # ports in one range
_LIMIT = 2000  # ports of a service: an engine starts a process for each
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True)
class Spec:
    """One entry, in words. published "": none is named."""

    target: str
    published: str = ""
    protocol: str = "tcp"
    host_ip: str = ""


def read(reader: Reader, value: Value) -> tuple[Port, ...]:
    """The ports of both forms, those that stand there twice once; AppError when one is no port, or
    two cannot be bound on one host."""
    found: dict[Port, None] = {}
    bound: dict[tuple[int, str], set[str]] = {}
    for each in reader.items(value, "ports"):
        spec = _long(reader, each) if isinstance(each.data, dict) else reader.use(each, _short)
        new = reader.use(replace(each, data=spec), expanded)
        _tell(reader, each, spec)
        if spec.protocol == "sctp":
            continue
        for port in new:
            if port in found:
                continue
            others = bound.setdefault((port.host_port, port.protocol), set())
            # An address and "every address" exclude each other: bind(2) answers EADDRINUSE to the
            # second.
            if others and (not port.host_ip or others & {"", port.host_ip}):
                raise reader.error(each, f"port {port.host_port} is published twice")
            others.add(port.host_ip)
            found[port] = None
        if len(found) > _LIMIT:
            raise reader.error(each, f"portkit publishes at most {_LIMIT} ports for each service")
    return tuple(found)


def parse(text: str) -> list[Port]:
    """The ports of the short form: [IP:][HOST:]CONTAINER[/PROTOCOL], with ranges."""
    return expanded(_short(text))


def _short(data: object) -> Spec:
    body, slash, protocol = str(data).partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"the protocol {protocol[:20]!r} is not tcp or udp")
    outside, _, target = body.rpartition(":")
    host_ip, colon, published = outside.rpartition(":")
    if not colon:
        return Spec(target, published, protocol)
    if host_ip.startswith("[") and host_ip.endswith("]"):
        host_ip = host_ip[1:-1]
    elif ":" in host_ip:
        raise ValueError(f"{host_ip[:40]!r}: write an IPv6 address as [ADDRESS]:HOST:CONTAINER")
    return Spec(target, published, protocol, values.address_of(host_ip))


def _long(reader: Reader, each: Value) -> Spec:
    row = reader.level(each, "ports[]", "ports")
    if "target" not in row:
        raise reader.error(each, "a port needs a target")
    _mode(reader, row.get("mode"))

    def text(key: str, default: str = "") -> str:
        return reader.text(row[key], f"ports.{key}") if key in row else default

    protocol = text("protocol").lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise reader.error(row["protocol"], f"the protocol {protocol[:20]!r} is not tcp or udp")
    address = text("host_ip")
    if "host_ip" in row:
        address = reader.use(row["host_ip"], lambda _: values.address_of(address))
    target = str(reader.use(row["target"], values.port))
    return Spec(target, text("published"), protocol, address)


def expanded(spec: Spec) -> list[Port]:
    """A Port for each port of the container."""
    targets = _range(spec.target)
    if not spec.published:
        return [Port(target, None, spec.protocol, spec.host_ip) for target in targets]
    outside = _range(spec.published)
    if len(targets) > 1 and len(outside) != len(targets):
        raise ValueError(
            f"{spec.published[:20]}:{spec.target[:20]}: both ranges must have the same length"
        )
    pairs = zip(targets, outside, strict=False)  # of a range onto one port, the first
    return [Port(target, number, spec.protocol, spec.host_ip) for target, number in pairs]


def _range(text: str) -> range:
    first, dash, last = text.partition("-")
    start = values.port(first)
    end = values.port(last) if dash else start
    if not start <= end < start + _RANGE:
        raise ValueError(f"{text[:40]!r} is not a range of at most {_RANGE} ports")
    return range(start, end + 1)


def _tell(reader: Reader, each: Value, spec: Spec) -> None:
    """Findings where the App is reached elsewhere than with compose."""
    if spec.protocol == "sctp":
        message = (
            f"the port {spec.target[:20]}/sctp is not published: portkit supports only tcp and udp"
        )
        reader.note("compose-not-carried", each, message, Severity.WARNING)
    elif not spec.published:
        message = f"the port {spec.target[:20]} is published under its own number"
        reader.note("port-chosen", each, message, Severity.INFO)
    elif "-" in spec.published and "-" not in spec.target:
        message = f"portkit publishes the first of the ports {spec.published[:20]}"
        reader.note("port-chosen", each, message, Severity.INFO)


def _mode(reader: Reader, value: Value | None) -> None:
    """`host` is what portkit does. `ingress`, which `docker compose config` writes into every
    port, means something only to several engines together."""
    if value is None or value.data in ("", "host"):
        return
    if value.data != "ingress":
        raise reader.error(value, "the mode of a port must be host or ingress")
    message = "portkit ignores 'ports.mode: ingress' and publishes the port on the host itself"
    reader.note("compose-not-carried", value, message, Severity.INFO)
