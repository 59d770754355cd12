"""What a service publishes, as a Service of Kubernetes has it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portkit.model import Port, RunSpec, Severity
from portkit.wire.json_types import JsonObject

_EVERY = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def published(service: RunSpec) -> list[JsonObject]:
    """Its ports, each number once: a Service has one address for all those of a host."""
    return [
        {
            "name": f"{port.protocol}-{port.host_port}",
            "port": port.host_port,
            "targetPort": port.target,
            "protocol": port.protocol.upper(),
        }
        for port in _first(service).values()
    ]


def _first(service: RunSpec) -> dict[tuple[str, int], Port]:
    rows: dict[tuple[str, int], Port] = {}
    for port in service.ports:
        if not port.is_local:
            rows.setdefault((port.protocol, port.host_port), port)
    return rows


def lacks(service: RunSpec) -> Iterator[tuple[Severity, str]]:
    """What a Service cannot say of them, and how much it weighs."""
    first = _first(service)
    if local := _numbers(port for port in service.ports if port.is_local):
        yield Severity.WARNING, f"{local}: was published for its own host alone, and is not now"
    others = [port for port in service.ports if not port.is_local]
    if wider := _numbers(port for port in others if port.host_ip not in _EVERY):
        text = "was published at one address of its host, and is now wherever the cluster does"
        yield Severity.WARNING, f"{wider}: {text}"
    if lost := _numbers(
        port for port in others if first[port.protocol, port.host_port].target != port.target
    ):
        text = "led to another port at another address, which is left out"
        yield Severity.ERROR, f"{lost}: {text}"


def _numbers(ports: Iterable[Port]) -> str:
    return ", ".join(dict.fromkeys(str(port.host_port) for port in ports))
