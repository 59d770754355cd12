"""What is found about an App and a host, and what it amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a Finding weighs: `error` stops a Move, `warning` and `info` do not. `unknown`: it
    is not known whether it would be an error, because what the rule has to know was not read."""

    ERROR = "error"
    UNKNOWN = "unknown"
    WARNING = "warning"
    INFO = "info"


class Verdict(StrEnum):
    """What the findings about a Form amount to. `emulated`: it runs, on an emulated processor."""

    NATIVE = "native"
    EMULATED = "emulated"
    INCOMPATIBLE = "incompatible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One statement about how well an App and a host go together.

    rule: stable name such as "port-free"; evidence: one string for each thing that was read;
    remedy: what the user can do about it. services: those of the App that it is about; () is all.
    """

    rule: str
    severity: Severity
    message: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    services: tuple[str, ...] = ()
