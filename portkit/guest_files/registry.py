"""Which drivers Windows starts at its boot, by its registry, which libguestfs reads (hivex).

Source: Microsoft, "HKLM\\SYSTEM\\CurrentControlSet\\Services Registry Tree" (Start, StartOverride).
A driver whose file is there is loaded at boot only where its service says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def starts(g: Any, hive: str, names: Iterable[str]) -> dict[str, int]:
    """The Start of each service that is there: 0 is started by the boot loader; -1 has none.
    hive: the path of SYSTEM. RuntimeError where it cannot be read."""
    g.hivex_open(hive)
    try:
        root = g.hivex_root()
        current = _number(g, _child(g, root, "Select"), "Current")
        services = _child(g, root, f"ControlSet{current:03}", "Services")
        if current < 0 or not services:
            raise RuntimeError("its registry names no services")
        nodes = {name: _child(g, services, name) for name in names}
        return {name: _start(g, node) for name, node in nodes.items() if node}
    finally:
        g.hivex_close()


def _start(g: Any, service: int) -> int:
    """Windows writes a StartOverride for drivers that the machine did not need when it was
    installed."""
    override = _number(g, _child(g, service, "StartOverride"), "0")
    return override if override >= 0 else _number(g, service, "Start")


def _child(g: Any, node: int, *names: str) -> int:
    """A key below another one; 0 where there is none."""
    for name in names:
        node = g.hivex_node_get_child(node, name) if node else 0
    return node


def _number(g: Any, node: int, name: str) -> int:
    value = g.hivex_node_get_value(node, name) if node else 0
    return int.from_bytes(bytes(g.hivex_value_value(value))[:4], "little") if value else -1
