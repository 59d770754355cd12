"""Compose's `ulimits`, `cpus`, `mem_limit`, `deploy`, `healthcheck`, `stop_signal`, `cap_add`."""

from __future__ import annotations

from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.app.resolve import DEFAULT_ULIMITS, capability
from portkit.errors import AppError
from portkit.guest.config import signal_number
from portkit.model import Healthcheck, Ulimit


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
    if words and words[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise reader.error(value, "a list begins with NONE, CMD or CMD-SHELL")
    return words


def ulimits(reader: Reader, value: Value) -> dict[str, Ulimit]:
    """A number for both limits, or soft and hard."""
    found = {}
    for key, each in reader.mapping(value).items():
        if key not in DEFAULT_ULIMITS:  # it has every limit of Linux
            raise reader.error(each, f"{key[:40]!r} is no limit of Linux: see getrlimit(2)")
        row = {"soft": each, "hard": each}
        if isinstance(each.data, dict):
            row = reader.level(each, "ulimits[]", f"ulimits.{key[:40]}")
        if not {"soft", "hard"} <= set(row):
            raise reader.error(each, f"the limit {key[:40]} is a number, or soft and hard")
        soft, hard = (reader.use(row[name], _limit) for name in ("soft", "hard"))
        # setrlimit(2) fails with EINVAL for a soft limit above the hard one.
        if hard >= 0 and not 0 <= soft <= hard:
            raise reader.error(
                each, f"the limit {key[:40]} has a soft one that is higher than its hard one"
            )
        found[key] = Ulimit(soft, hard)
    return found


def _limit(data: object) -> int:
    number = values.whole(data)
    if not -1 <= number < 1 << 63:
        raise ValueError(f"{number} is no limit: from 0 on, or -1 for none")
    return number


def resources(reader: Reader, row: dict[str, Value]) -> tuple[float | None, int | None]:
    """cpus and bytes of memory, from the service's own keys or deploy.resources.limits; AppError
    where both say something and not the same, as in compose."""
    cpus = reader.use(row["cpus"], values.processors) if "cpus" in row else None
    memory = reader.use(row["mem_limit"], values.memory) if "mem_limit" in row else None
    level, name = row.get("deploy"), "deploy"
    for inner in ("resources", "limits"):
        if level is None or (name == "deploy" and level.data is None):
            return cpus, memory
        level, name = reader.level(level, name).get(inner), f"{name}.{inner}"
    if level is None:
        return cpus, memory
    told = reader.level(level, name)
    deployed = reader.use(told["cpus"], values.processors) if "cpus" in told else None
    if cpus and cpus != deployed:
        raise reader.error(row["cpus"], "cpus and deploy.resources.limits.cpus are not the same")
    most = reader.use(told["memory"], values.memory) if "memory" in told else None
    if memory and memory != most:
        raise reader.error(
            row["mem_limit"], "mem_limit and deploy.resources.limits.memory are not the same"
        )
    return deployed, most


def stop_signal(reader: Reader, value: Value) -> str | None:
    """A signal as it is written, of those that the guest can send; None for an empty one."""
    text = reader.text(value)
    try:
        if text:
            signal_number(text)
    except AppError:
        raise reader.error(value, f"{text[:40]!r} is no signal of Linux") from None
    return text or None


def capabilities(reader: Reader, value: Value, key: str) -> tuple[str, ...]:
    """Names as they are written, each of a capability or ALL."""
    found = []
    for each in reader.items(value, key):
        text = reader.text(each)
        try:
            capability(text)
        except AppError as error:
            raise reader.error(each, f"{text[:40]!r} is no capability of Linux") from error
        found.append(text)
    return tuple(dict.fromkeys(found))
