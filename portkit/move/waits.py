"""What a Move waits for, and how the process that waits is told to leave it to another one."""

from __future__ import annotations

import time

from portkit.move import plan as plans
from portkit.move.carry import is_kept
from portkit.move.journal import OPEN, Entry, Journal, MoveState, Steps
from portkit.move.plan import LET_GO, Pause, plan_from
from portkit.move.walk import StepState

_LOOK_S = 0.5
_PATIENCE_S = 120.0  # a process that copies while it waits looks between two passes


def pause_of(entry: Entry, steps: Steps) -> Pause | None:
    """What a Move waits for the user to say; None for one that does not, or has ended."""
    if not entry.plan.get("live") or entry.state not in OPEN:
        return None
    plan = plan_from(entry.plan)
    if is_kept(plan, steps):
        return None
    if entry.live:
        at = {plans.WAIT: Pause.CUTOVER, plans.CONFIRM: Pause.COMMIT}
        return next((at[name] for name in at if steps.state(name) is StepState.DOING), None)
    if entry.state is not MoveState.WAITING or plan.without_stop:
        return None
    booted = steps.state(f"boot {plan.forms[0]}") is StepState.DONE
    return Pause.COMMIT if booted else Pause.CUTOVER


def take_over(journal: Journal, identity: str) -> None:
    """The process in which the Move waits ends, and the App runs on where it is. One that does not
    end in time goes on."""
    journal.tell(identity, LET_GO)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while journal.get(identity).live and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    finally:
        journal.untell(identity, LET_GO)
