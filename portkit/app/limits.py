"""Compose's `ulimits`, `cpus`, `mem_limit`, `deploy`, `healthcheck`, `stop_signal`, `cap_add`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portkit.app import values
from portkit.app.document import Value
from portkit.app.resolve import DEFAULT_ULIMITS, capability
from portkit.errors import AppError
from portkit.guest.config import signal_number
from portkit.model import Healthcheck, Ulimit

if TYPE_CHECKING:
    from portkit.app.compose import Reader


def healthcheck(reader: Reader, value: Value) -> Healthcheck:
    """The engine's own check; `disable` is ("NONE",)."""
    row = reader.level(value, "healthcheck")
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
            reader.level(each, "ulimits[]", f"ulimits.{key[:40]}")
            soft, hard = row.get("soft"), row.get("hard")
        if key not in DEFAULT_ULIMITS:  # it has every limit of Linux
            raise reader.error(each, f"{key[:40]!r} is no limit of Linux: see getrlimit(2)")
        if not (_limit(soft) and _limit(hard)):
            raise reader.error(each, f"the limit {key[:40]} is a number, or soft and hard")
        found[key] = Ulimit(soft, hard)
    return found


def _limit(number: Any) -> bool:
    whole = isinstance(number, int) and not isinstance(number, bool)
    return whole and -1 <= number < 1 << 63


def resources(reader: Reader, row: dict[str, Value]) -> tuple[float | None, int | None]:
    """cpus and bytes of memory, from the service's own keys or deploy.resources.limits."""
    cpus, memory = _told(row, "cpus"), _told(row, "mem_limit")
    if "deploy" in row:
        deploy = reader.level(row["deploy"], "deploy")
        outer = deploy.get("resources", Value({}, 1))
        inner = reader.level(outer, "deploy.resources")
        bounds = inner.get("limits", Value({}, 1))
        told = reader.level(bounds, "deploy.resources.limits")
        cpus, memory = cpus or _told(told, "cpus"), memory or _told(told, "memory")
    return (
        reader.use(cpus, values.processors) if cpus else None,
        reader.use(memory, values.size) if memory else None,
    )


def _told(row: dict[str, Value], key: str) -> Value | None:
    value = row.get(key)
    return None if value is None or value.data is None else value


def stop_signal(reader: Reader, value: Value) -> str:
    """A signal as it is written, of those that the guest can send."""
    text = reader.text(value)
    try:
        known = signal_number(text) < 65
    except (AppError, ValueError):
        known = False
    if not known:
        raise reader.error(value, f"{text[:40]!r} is no signal of Linux")
    return text


def capabilities(reader: Reader, value: Value) -> tuple[str, ...]:
    """Names as they are written, each of a capability or ALL."""
    found = []
    for each in reader.list_of(value):
        text = reader.text(each)
        try:
            capability(text)
        except AppError as error:
            raise reader.error(each, f"{text[:40]!r} is no capability of Linux") from error
        found.append(text)
    return tuple(found)
