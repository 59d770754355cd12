"""Compose's `ulimits`, `cpus`, `mem_limit`, `deploy`, `healthcheck`, `stop_signal`, `cap_add`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.app.resolve import DEFAULT_ULIMITS, capability
from portkit.errors import AppError
from portkit.guest.config import signal_number
from portkit.model import Healthcheck, Ulimit

# What compose 2.40 makes of deploy.restart_policy.condition for an engine. Without one it is `no`,
# though the specification says any.
_CONDITIONS = {
    **dict.fromkeys(("any", "always"), "always"),
    **dict.fromkeys(("", "none", "no"), "no"),
    "on-failure": "on-failure",
    "unless-stopped": "unless-stopped",
}


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
        raise reader.error(value, "the list must begin with NONE, CMD or CMD-SHELL")
    return words


def ulimits(reader: Reader, value: Value) -> dict[str, Ulimit]:
    """A number for both limits, or soft and hard."""
    found = {}
    for key, each in reader.mapping(value).items():
        if key not in DEFAULT_ULIMITS:  # it has every limit of Linux
            raise reader.error(
                each, f"{key[:40]!r} is not a resource limit of Linux: see getrlimit(2)"
            )
        row = {"soft": each, "hard": each}
        if isinstance(each.data, dict):
            row = reader.level(each, "ulimits[]", f"ulimits.{key[:40]}")
        if not {"soft", "hard"} <= set(row):
            raise reader.error(each, f"the limit {key[:40]} must be a number, or soft and hard")
        soft, hard = (reader.use(row[name], _limit) for name in ("soft", "hard"))
        # setrlimit(2) fails with EINVAL for a soft limit above the hard one.
        if hard >= 0 and not 0 <= soft <= hard:
            raise reader.error(each, f"the soft limit of {key[:40]} is higher than its hard limit")
        found[key] = Ulimit(soft, hard)
    return found


def _limit(data: object) -> int:
    number = values.whole(data)
    if not -1 <= number < 1 << 63:
        raise ValueError(f"{number} is not a limit: use 0 or more, or -1 for unlimited")
    return number


@dataclass(frozen=True)
class Resources:
    """What a service may use at most, and what is kept for it. None: no limit."""

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    reserved: int | None = None


def resources(reader: Reader, row: dict[str, Value]) -> Resources:
    """From the service's own keys or from deploy.resources; AppError where both say something and
    not the same, as in compose."""
    deployed = _deployed(reader, row)
    most, least = deployed.get("limits"), deployed.get("reservations")

    def limit(key: str, other: str, level: dict[str, Value] | None, read: Read) -> Any:
        own = reader.use(row[key], read) if key in row else None
        if level is None:
            return own
        told = reader.use(level[other], read) if other in level else None
        if own and own != told:
            where = "limits" if level is most else "reservations"
            why = f"{key} and deploy.resources.{where}.{other} differ"
            raise reader.error(row[key], why)
        return told

    return Resources(
        cpus=limit("cpus", "cpus", most, values.processors),
        memory=limit("mem_limit", "memory", most, values.memory),
        pids=limit("pids_limit", "pids", most, _pids),
        reserved=limit("mem_reservation", "memory", least, values.memory),
    )


Read = Callable[[Any], Any]


def _deployed(reader: Reader, row: dict[str, Value]) -> dict[str, dict[str, Value]]:
    """`limits` and `reservations` of `deploy.resources`, where they are."""
    value = deploy(reader, row).get("resources")
    if value is None:
        return {}
    name = "deploy.resources"
    inner = reader.level(value, name)
    return {key: reader.level(each, f"{name}.{key}") for key, each in inner.items()}


def deploy(reader: Reader, row: dict[str, Value]) -> dict[str, Value]:
    """The mapping `deploy`; it may say nothing."""
    value = row.get("deploy")
    return {} if value is None or value.data is None else reader.mapping(value)


def _pids(data: object) -> int | None:
    """0 and -1 are no limit."""
    number = values.whole(data)
    if number < -1:
        raise ValueError(f"{number} is not a valid number of processes")
    return number if number > 0 else None


def memory_and_swap(data: object) -> int | None:
    """-1 is without a limit; None for 0, which is as the engine likes."""
    return -1 if str(data) == "-1" else values.size(data) or None


def score(data: object) -> int:
    """oom_score_adj, as proc(5) wants it."""
    number = values.whole(data)
    if not -1000 <= number <= 1000:
        raise ValueError(f"{number} is not between -1000 and 1000")
    return number


def restart_policy(reader: Reader, value: Value) -> str:
    """deploy.restart_policy in the words of `restart`."""
    row = reader.level(value, "deploy.restart_policy")
    text = reader.text(row["condition"], "condition") if "condition" in row else ""
    if text not in _CONDITIONS:
        raise reader.error(row["condition"], f"{text[:40]!r} is not a restart condition")
    count = reader.use(row["max_attempts"], values.count) if "max_attempts" in row else 0
    policy = _CONDITIONS[text]
    return f"{policy}:{count}" if policy == "on-failure" and count else policy


def scale(reader: Reader, row: dict[str, Value]) -> int:
    """How many containers, from `scale` or deploy.replicas."""
    own = reader.use(row["scale"], values.count) if "scale" in row else None
    deployed = deploy(reader, row)
    if "replicas" not in deployed:
        return 1 if own is None else own
    told = reader.use(deployed["replicas"], values.count)
    if own is not None and own != told:
        raise reader.error(row["scale"], "scale and deploy.replicas differ")
    return told


def stop_signal(reader: Reader, value: Value) -> str | None:
    """A signal as it is written, of those that the guest can send; None for an empty one."""
    text = reader.text(value)
    try:
        if text:
            signal_number(text)
    except AppError:
        raise reader.error(value, f"{text[:40]!r} is not a signal of Linux") from None
    return text or None


def capabilities(reader: Reader, value: Value, key: str) -> tuple[str, ...]:
    """Names as they are written, each of a capability or ALL."""
    found = []
    for each in reader.items(value, key):
        text = reader.text(each)
        try:
            capability(text)
        except AppError as error:
            raise reader.error(each, f"{text[:40]!r} is not a capability of Linux") from error
        found.append(text)
    return tuple(dict.fromkeys(found))
