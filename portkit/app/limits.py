"""Compose's `ulimits`, `cpus`, `mem_limit`, `deploy` and `healthcheck`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from portkit.app import values
from portkit.app.document import Value
from portkit.model import Healthcheck, Severity, Ulimit

if TYPE_CHECKING:
    from portkit.app.compose import Reader

_HEALTH = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}
_ULIMIT = re.compile(r"[a-z]{1,32}")


def healthcheck(reader: Reader, value: Value) -> Healthcheck:
    """The engine's own check; `disable` is ("NONE",)."""
    row = reader.mapping(value)
    for key, each in row.items():
        if key not in _HEALTH:
            raise reader.error(each, f"a healthcheck has no {key[:80]!r}")
    if "start_interval" in row:
        message = "'healthcheck.start_interval' is not carried out"
        reader.note("compose-not-carried", row["start_interval"], message, Severity.WARNING)
    if "disable" in row and reader.flag(row["disable"]):
        return Healthcheck(("NONE",))

    def seconds(key: str) -> float | None:
        return reader.use(row[key], values.duration) if key in row else None

    return Healthcheck(
        test=_test(reader, row["test"]) if "test" in row else (),
        interval_s=seconds("interval"),
        timeout_s=seconds("timeout"),
        retries=reader.use(row["retries"], values.count) if "retries" in row else None,
        start_period_s=seconds("start_period"),
    )


def _test(reader: Reader, value: Value) -> tuple[str, ...]:
    if not isinstance(value.data, list):
        return ("CMD-SHELL", reader.text(value))
    words = tuple(reader.text(each) for each in value.data)
    if not words or words[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise reader.error(value, "a list begins with NONE, CMD or CMD-SHELL")
    return words


def ulimits(reader: Reader, value: Value) -> dict[str, Ulimit]:
    """A number for both limits, or soft and hard."""
    found = {}
    for key, each in reader.mapping(value).items():
        row = each.plain()
        soft, hard = (row, row)
        if isinstance(row, dict):
            soft, hard = row.get("soft"), row.get("hard")
            if set(row) - {"soft", "hard"}:
                raise reader.error(each, f"the limit {key[:40]} has soft and hard, nothing else")
        if not (_ULIMIT.fullmatch(key) and _limit(soft) and _limit(hard)):
            raise reader.error(each, f"the limit {key[:40]} is a number, or soft and hard")
        found[key] = Ulimit(soft, hard)
    return found


def _limit(number: Any) -> bool:
    whole = isinstance(number, int) and not isinstance(number, bool)
    return whole and -1 <= number < 1 << 63


def resources(reader: Reader, row: dict[str, Value]) -> tuple[float | None, int | None]:
    """cpus and bytes of memory, from the service's own keys or deploy.resources.limits."""
    cpus, memory = row.get("cpus"), row.get("mem_limit")
    if "deploy" in row:
        deploy = _carried(reader, row["deploy"], "deploy", {"resources"})
        outer = deploy.get("resources", Value({}, 1))
        inner = _carried(reader, outer, "deploy.resources", {"limits"})
        bounds = inner.get("limits", Value({}, 1))
        told = _carried(reader, bounds, "deploy.resources.limits", {"cpus", "memory"})
        cpus, memory = cpus or told.get("cpus"), memory or told.get("memory")
    return (
        reader.use(cpus, values.processors) if cpus and cpus.data is not None else None,
        reader.use(memory, values.size) if memory and memory.data is not None else None,
    )


def _carried(reader: Reader, value: Value, name: str, known: set[str]) -> dict[str, Value]:
    """The mapping; each of its other keys is a Finding."""
    row = reader.mapping(value)
    for key, each in row.items():
        if key not in known:
            message = f"'{name}.{key[:80]}' is not carried out"
            reader.note("compose-not-carried", each, message, Severity.WARNING)
    return row
