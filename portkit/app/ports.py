"""Compose's `ports`: what is published, each address once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from portkit.app import values
from portkit.app.document import Value
from portkit.model import Port, Severity

if TYPE_CHECKING:
    from portkit.app.compose import Reader


def read(reader: Reader, value: Value) -> tuple[Port, ...]:
    """The ports of both forms; AppError when one is none, or would be bound twice."""
    found: list[Port] = []
    for each in reader.list_of(value):
        new = _long(reader, each) if isinstance(each.data, dict) else _short(reader, each)
        for port in new:
            if any(_clash(port, other) for other in found):
                raise reader.error(each, f"port {port.host_port} is published twice")
            found.append(port)
    return tuple(found)


def _short(reader: Reader, each: Value) -> list[Port]:
    return reader.use(each, lambda data: values.ports(str(data)))


def _long(reader: Reader, each: Value) -> list[Port]:
    told = reader.level(each, "ports[]", "ports")
    row = each.plain()
    if "target" not in row:
        raise reader.error(each, "a port needs a target")
    _mode(reader, told.get("mode"))
    # 0 is no port; absent and empty mean "the same number".
    published = "" if row.get("published") in (None, "") else f"{row['published']}:"
    text = f"{published}{row['target']}/{row.get('protocol', 'tcp')}"
    host_ip = reader.use(each, lambda data: values.address_of(str(data.get("host_ip") or "")))
    new = reader.use(replace(each, data=text), values.ports)
    return [replace(port, host_ip=host_ip) for port in new]


def _mode(reader: Reader, value: Value | None) -> None:
    """`host` is what portkit does. `ingress`, which `docker compose config` writes into every
    port, means something only to several engines together."""
    if value is None or value.data in (None, "", "host"):
        return
    if value.data != "ingress":
        raise reader.error(value, "a port's mode is host or ingress")
    message = "'ports.mode: ingress' is not carried out: the host itself publishes the port"
    reader.note("compose-not-carried", value, message, Severity.INFO)


def _clash(one: Port, other: Port) -> bool:
    """Whether both cannot be bound on one host: "" is every address."""
    same = (one.host_port, one.protocol) == (other.host_port, other.protocol)
    return same and (one.host_ip == other.host_ip or "" in (one.host_ip, other.host_ip))
