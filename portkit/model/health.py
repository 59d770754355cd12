"""How it is found out that an App is up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# What an ordinary app needs for its first answer on an ordinary host, many times over.
DEFAULT_TIMEOUT_S = 60.0


# What Docker takes where a healthcheck leaves it out (moby, daemon/health.go).
CHECK_INTERVAL_S = CHECK_TIMEOUT_S = 30.0
CHECK_RETRIES = 3


@dataclass(frozen=True)
class Healthcheck:
    """An engine's own check, as in compose and in Docker's extension of the OCI config.

    test: ("CMD", word, ...), ("CMD-SHELL", text), ("NONE",) to switch it off, or () for the one of
    the image. None means that the engine's default counts.
    """

    test: tuple[str, ...] = ()
    interval_s: float | None = None
    timeout_s: float | None = None
    retries: int | None = None
    start_period_s: float | None = None


class Method(StrEnum):
    """How it is known that an App is up; the time to the first answer says which one it was."""

    PUBLISHED = "published"  # asked on a port that the host publishes
    HOST = "host"  # asked at an address that only the host can reach
    HEALTHCHECK = "healthcheck"  # the engine says that the App's own healthcheck passes
    RUNNING = "running"  # it has been running for some seconds


@dataclass(frozen=True)
class HealthProbe:
    """How to find out whether the app is up (x-portkit.health).

    scheme: http, https or tcp. port: the container's port; None is the first published TCP port.
    contains: text of the right answer's body; expect: text with `*` for any other, in a line of its
    head or body. By these the App is told from whatever else may listen there; "" is any answer.
    ca_file: PEM file of a private CA. timeout_s: how long to wait for the
    first answer; None is a default that fits the host (`portkit.health.deadline`). method: None is
    the best one that the App allows. running_s: how long an App that cannot be asked has to run
    until it counts as up. settle_s: how long after its first answer the App has to be still
    running, and to answer again.
    """

    scheme: str = "http"
    path: str = "/"
    port: int | None = None
    contains: str = ""
    ca_file: Path | None = None
    timeout_s: float | None = None
    method: Method | None = None
    running_s: float = 10.0
    settle_s: float = 3.0
    expect: str = ""

    @property
    def patience_s(self) -> float:
        """`timeout_s`, or the default for an ordinary host."""
        return DEFAULT_TIMEOUT_S if self.timeout_s is None else self.timeout_s
