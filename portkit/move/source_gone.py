"""The end of a Move whose App runs on the target, and which lacks something before the commit: its
source was removed or cannot be reached, or its image is no longer in the Store here.

What is left to do is on the target. Of the source, its data is verified where it is still there.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from portkit.clock import Clock
from portkit.errors import ConflictError, HostError, PortkitError, TransferError
from portkit.model import Artifact
from portkit.move.by_marker import Connect
from portkit.move.carry import walk_forward
from portkit.move.ground import Ground
from portkit.move.journal import Journal, MoveState, Steps
from portkit.move.plan import Plan
from portkit.move.read_again import image_of, source_host
from portkit.move.verified import or_without_source
from portkit.move.walk import StepState
from portkit.progress import Observer
from portkit.source.origin import origin
from portkit.store import Store


@dataclass(frozen=True)
class Given:
    """What the user asked of a Move that goes on, as in Ground."""

    skip_hooks: bool
    skip_quiesce: bool
    unverified: bool


@dataclass(frozen=True)
class Lost:
    """What of the App is no longer at its source, and what runs there in its place; in words. gone:
    why nothing there can be reached. image: why its image cannot be read from the Store here."""

    things: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    gone: PortkitError | None = None
    image: PortkitError | None = None


def runs_on_target(plan: Plan, steps: Steps) -> bool:
    """Whether a running App was started on the target: to keep it there, nothing is sent any more,
    and neither its image nor its containers at the source are needed."""
    return plan.live is not None and steps.state(f"boot {plan.forms[0]}") is StepState.DONE


def lost_at_source(
    plan: Plan, steps: Steps, observer: Observer, connect: Connect, *, unverified: bool
) -> Lost | None:
    """What is lost of an App that has been started on the target; None where nothing is, and before
    that: a Move that has yet to start it needs all of it.

    A source that cannot be reached is lost only to a user who has said that the target keeps the
    App whatever is there (unverified); else HostError or TransferError. The App was stopped and
    fenced there before it was started on the target.
    """
    if not runs_on_target(plan, steps):
        return None
    assert plan.live is not None, "it was asked above"
    with ExitStack() as opened:
        try:
            host = opened.enter_context(source_host(plan, observer, connect))
        except (HostError, TransferError) as error:
            if unverified:
                return Lost(gone=error)
            raise or_without_source(plan, error) from None
        assert host is not None, "a running App is on a host"
        with origin(host, plan.live) as there:
            things = there.lost()
            return Lost(things, there.in_its_place(plan.app_source)) if things else None


def image_or_lost(plan: Plan, steps: Steps, store: Store) -> Artifact | Lost:
    """The image of a Move; Lost where it is no longer in the Store here, and is needed no more."""
    try:
        return image_of(plan, store)
    except PortkitError as error:
        if not runs_on_target(plan, steps):
            raise
        return Lost(image=error)


def end_without(
    plan: Plan, lost: Lost, given: Given, journal: Journal, observer: Observer, connect: Connect
) -> MoveState:
    """Go to the end of such a Move. ConflictError where something runs in the place of the App at
    its source, unless the user keeps the target whatever is there (given.unverified)."""
    if lost.instead and not given.unverified:
        raise _in_its_place(plan, lost)
    with journal.held(plan.move), connect(plan.target, observer) as target, ExitStack() as opened:
        source = None
        if lost.gone is None:
            source = opened.enter_context(source_host(plan, observer, connect))
        observer.message(
            f"{_what(plan, lost)}; the Move is completed on {plan.target} without it"
            + (", and cannot be rolled back any more" if lost.things else "")
        )
        for each in lost.instead:
            observer.message(f"on {plan.source} {each} runs in its place; it is left running")
        steps = journal.record(plan.move)
        ground = Ground(
            plan,
            steps,
            target,
            source,
            Clock(observer),
            from_start=False,
            skip_hooks=given.skip_hooks,
            skip_quiesce=given.skip_quiesce,
            unverified=given.unverified,
            gone=lost.gone,
        )
        journal.goes_on(plan.move)
        walk_forward(ground, journal, steps)
    return journal.get(plan.move).state


def _what(plan: Plan, lost: Lost) -> str:
    if lost.gone is not None:
        return f"{plan.source} cannot be reached ({lost.gone.brief})"
    if lost.image is not None:
        return f"{lost.image.brief} ({lost.image.details})"
    return f"no longer on {plan.source}: {', '.join(lost.things)}"


def _in_its_place(plan: Plan, lost: Lost) -> ConflictError:
    return ConflictError(
        "the App was removed at its source, and something runs there in its place",
        details=f"{plan.source}: {', '.join(lost.things)} are gone; {', '.join(lost.instead)} run, "
        "or would start"[:2000],
        resolution="Decide which one shall continue. To keep the App on the target, stop them and "
        "set their restart policy to `no` (docker update --restart no), then: portkit commit "
        f"{plan.move}\nIf they have nothing to do with the App: portkit commit {plan.move} "
        "--unverified",
    )
