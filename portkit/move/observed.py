"""What came of a cell of a Matrix when it was tried, beside what was predicted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from portkit.model import Finding, Severity, Verdict

# What must not be tried on a host that others use, and why. All else that refuses is tried.
HARMFUL = {
    "space": "a trial would fill the host's disk",
    "volume-taken": "a trial would start the app on data that is somebody else's",
    "network-taken": "a trial would join, or make a twin of, a network that is somebody else's",
    "running": "the app runs at its source, and a second one would start beside it",
    "port-shared": "the apps are tried one after the other, not together",
}


class Outcome(StrEnum):
    """Whether the App was up when it was tried, or was not tried."""

    RUNS = "runs"
    FAILS = "does not run"
    UNTRIED = "not tried"


@dataclass(frozen=True)
class Observed:
    """What a trial showed. reason: for an App that was not up, what the engine or the guest
    reported; for one that was not tried, why. agrees: whether it matches the Verdict; None if the
    App was not tried, or if nothing was predicted."""

    outcome: Outcome
    reason: str = ""
    agrees: bool | None = None


def observed(verdict: Verdict, outcome: Outcome, reason: str = "") -> Observed:
    """What was seen, compared with what was predicted."""
    if outcome is Outcome.UNTRIED or verdict is Verdict.UNKNOWN:
        return Observed(outcome, reason)
    runs = outcome is Outcome.RUNS
    return Observed(outcome, reason, runs == (verdict is not Verdict.INCOMPATIBLE))


def untried(verdict: Verdict, reason: str) -> Observed:
    """A cell that no trial can be made of."""
    return observed(verdict, Outcome.UNTRIED, reason)


def harm(findings: Iterable[Finding]) -> str:
    """Why a cell must not be tried; "" where it may be."""
    rules = [row.rule for row in findings if row.severity is Severity.ERROR]
    return next((HARMFUL[rule] for rule in rules if rule in HARMFUL), "")
