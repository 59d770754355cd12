"""Whether the target keeps data of which it is known that it is what the source had. Pure."""

from __future__ import annotations

from typing import Protocol

from portkit.errors import HostError, PortkitError
from portkit.model import Finding, LiveVolume, Severity
from portkit.move.ground import Results
from portkit.move.plan import VERIFY_SOURCE, Plan
from portkit.move.walk import Record, StepState


class Journalled(Results, Record, Protocol):
    """What the journal has of a Move's steps."""


def unverified(plan: Plan, steps: Journalled) -> Finding | None:
    """What is to be said of a Move that the user let the target keep without a proof
    (`commit --unverified`), for as long as the journal knows it; None of any other."""
    if plan.live is None or steps.state(VERIFY_SOURCE) is not StepState.DONE:
        return None
    if steps.result(VERIFY_SOURCE).get("verified") is not False:
        return None
    return Finding(
        "unverified",
        Severity.WARNING,
        "the data on the target was not completely compared with the stopped source: the Move "
        "went on without that, as the user requested",
        (f"{plan.source} -> {plan.target}: portkit commit {plan.move} --unverified",),
        "Compare the data yourself, and keep what is at the source until then.",
    )


def unverifiable(plan: Plan, volume: LiveVolume, why: HostError) -> HostError:
    """What is raised where the source cannot be compared any more with what was sent."""
    return HostError(
        "the data at the source cannot be compared with what was sent",
        details=f"{volume.called} on {plan.source}: {why.brief} ({why.details})",
        resolution="If it was removed there, nobody can verify it any more. To keep the App on "
        f"{plan.target} without that: portkit commit {plan.move} --unverified",
    )


def or_without_source(plan: Plan, gone: PortkitError) -> PortkitError:
    """gone, why the source cannot be reached, with the way out for one that never will be again."""
    gone.resolution = (
        f"{gone.resolution}\nIf {plan.source} is lost for good, keep the App on {plan.target} "
        f"without it: portkit commit {plan.move} --unverified"
    ).strip()
    return gone
