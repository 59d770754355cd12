"""What is found about an App and a host, and what it amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How serious a Finding is: `error` stops a Move, `warning` and `info` do not. `unknown`: it is
    not known whether it would be an error, because a fact that the rule needs was not read."""

    ERROR = "error"
    UNKNOWN = "unknown"
    WARNING = "warning"
    INFO = "info"


class Verdict(StrEnum):
    """The conclusion from the findings about a Form. `emulated`: it runs on an emulated
    processor."""

    NATIVE = "native"
    EMULATED = "emulated"
    INCOMPATIBLE = "incompatible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One statement about the compatibility of an App and a host.

    rule: a stable name such as "port-free"; evidence: one string for each value that was read;
    remedy: what the user can do about it. services: the App's services that it concerns; () means
    all.
    """

    rule: str
    severity: Severity
    message: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    services: tuple[str, ...] = ()
