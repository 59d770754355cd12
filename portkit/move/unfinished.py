"""Moves that were left unfinished: refused a second time, or resumed."""

from __future__ import annotations

import time
from contextlib import ExitStack

from portkit import host as hosts
from portkit.clock import Clock
from portkit.errors import (
    ConflictError,
    HookError,
    HostError,
    TransferError,
)
from portkit.move import plan as plans
from portkit.move import walk
from portkit.move.by_marker import Connect
from portkit.move.carry import cargo_of, is_kept, walk_forward
from portkit.move.fingerprint import fingerprint
from portkit.move.ground import Ground
from portkit.move.journal import OPEN, Entry, Journal, MoveState, Steps
from portkit.move.open_entry import Ended, open_entry
from portkit.move.plan import Pause, Plan, plan_from
from portkit.move.read_again import changed, packed_of, source_host, source_of
from portkit.move.reported import form_reports, report_of
from portkit.move.source_gone import (
    Given,
    Lost,
    end_without,
    image_or_lost,
    lost_at_source,
    runs_on_target,
)
from portkit.move.waits import pause_of, take_over
from portkit.progress import NullObserver, Observer
from portkit.store import Store, default_root

_LOOK_S = 0.5  # at a Move that another process makes


def refuse(journal: Journal, app: str, target: str) -> None:
    """ConflictError when a Move of that App to that target is at work, or was left unfinished."""
    for entry in journal.moves():
        if entry.app != app or entry.target != target or entry.state not in OPEN:
            continue
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started))
        details = f"{entry.id}: {entry.source} -> {entry.target}, started {started}"
        if pause := pause_of(entry, journal.record(entry.id)):
            lost = " --discard-writes" if pause is Pause.COMMIT else ""
            raise ConflictError(
                f"another Move of {app} waits for {pause}",
                details=details,
                resolution=f"Let it go on: portkit {pause} {entry.id}\nOr roll it back: portkit "
                f"rollback {entry.id}{lost}",
            )
        if entry.live:
            raise ConflictError(
                f"another Move of {app} is running",
                details=details,
                resolution="Wait until it has ended. `portkit moves` shows it.",
            )
        raise ConflictError(
            f"an earlier Move of {app} is unfinished",
            details=details,
            resolution=f"Continue it: portkit resume {entry.id}\nOr roll it back: portkit "
            f"rollback {entry.id}",
        )


def resume(
    identity: str,
    *,
    journal: Journal | None = None,
    store: Store | None = None,
    skip_hooks: bool = False,
    skip_quiesce: bool = False,
    unverified: bool = False,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Ended:
    """Continue an unfinished Move to its end; steps that are done are not repeated.

    The App is read again from its original place. Raises AppError if it has changed since; one that
    runs on the target may have been removed at its source, or its image here, and then there is no
    Report. If the Move fails now, it is rolled back like any other. skip_hooks: do not run the
    remaining commands for after the commit, one of which may raise HookError. skip_quiesce: do not
    run those of x-portkit.quiesce. unverified: the target keeps a running App even if its source is
    not, or no longer, what was sent, or cannot be reached.
    """
    journal, observer = journal or Journal(), observer or NullObserver()
    store = store or Store(default_root())
    entry = open_entry(journal, identity)
    plan = plan_from(entry.plan)
    given = Given(skip_hooks, skip_quiesce, unverified)
    steps = journal.record(identity)
    if is_kept(plan, steps):
        return _released(plan, given, journal, observer, connect)
    lost = lost_at_source(plan, steps, observer, connect, unverified=unverified)
    image = lost or image_or_lost(plan, steps, store)
    if isinstance(image, Lost):
        return Ended(identity, end_without(plan, image, given, journal, observer, connect))
    with (
        journal.held(identity),
        source_of(plan, observer, connect) as (app, source),
        connect(plan.target, observer) as target,
    ):
        # As it was asked for when the Move began.
        target.limit(plan.limit)
        packed = packed_of(plan, app, source, target, image, observer)
        if fingerprint(journal, packed.spec) != plan.fingerprint:
            raise changed(plan, "its settings, or the values of variables in them")
        with packed.turn.taken() as clock:
            cargo = cargo_of(packed, store, source)
            ground = Ground(
                plan,
                steps,
                target,
                source.host,
                clock,
                cargo,
                from_start=False,
                skip_hooks=skip_hooks,
                skip_quiesce=skip_quiesce,
                unverified=unverified,
            )
            journal.goes_on(identity)
            walk_forward(ground, journal, steps)
        report = report_of(packed, (), form_reports(plan, steps, packed, cargo), plan, steps)
    return Ended(identity, journal.get(identity).state, report)


def _released(
    plan: Plan, given: Given, journal: Journal, observer: Observer, connect: Connect
) -> Ended:
    """The end of a Move whose App the target has kept already. Of the source it needs no more than
    to remove its marker, so a source that is gone keeps nobody from being told."""
    source, gone = None, None
    with (
        journal.held(plan.move),
        connect(plan.target, observer) as target,
        ExitStack() as opened,
    ):
        try:
            source = opened.enter_context(source_host(plan, observer, connect))
        except (HostError, TransferError) as error:
            gone = error
        steps = journal.record(plan.move)
        ground = Ground(
            plan,
            steps,
            target,
            source,
            Clock(observer),
            from_start=False,
            skip_hooks=given.skip_hooks,
            unverified=given.unverified,
            gone=gone,
        )
        walk_forward(ground, journal, steps)
    return Ended(plan.move, journal.get(plan.move).state)


def _require_waits(entry: Entry, steps: Steps, pause: Pause) -> None:
    """ConflictError for a Move that waits nowhere, or has not come so far."""
    if plan_from(entry.plan).live is None:
        raise ConflictError(
            "only the Move of a running App can wait",
            details=f"{entry.id} of {entry.app}",
            resolution=f"portkit resume {entry.id}",
        )
    booted = steps.state(f"boot {plan_from(entry.plan).forms[0]}")
    if pause is Pause.COMMIT and booted not in (walk.StepState.DOING, walk.StepState.DONE):
        raise ConflictError(
            "the App has not been started on the target yet",
            details=f"{entry.id} of {entry.app}, {entry.source} -> {entry.target}",
            resolution=f"First: portkit cutover {entry.id}",
        )


def go_on(
    identity: str,
    pause: Pause,
    *,
    unverified: bool = False,
    journal: Journal | None = None,
    store: Store | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Ended:
    """Let the Move of a running App go on where it waits, or would wait, and see it to its end.

    A process that is at work on it makes the rest, and this waits for it; else the Move is resumed.
    ConflictError for a Move that waits nowhere, or was taken back meanwhile; HookError where the
    target has kept the App and a command after the commit has failed, whichever process ran it.
    unverified: as for `resume`; a process that waits for the commit lets the Move go, and while one
    is at work on it, this is a ConflictError.
    """
    journal = journal or Journal()
    entry = open_entry(journal, identity)
    steps = journal.record(identity)
    _require_waits(entry, steps, pause)
    if unverified and entry.live:
        entry = _left_by_its_process(journal, entry, steps)
    journal.tell(identity, pause)
    if not entry.live:
        return resume(
            identity,
            unverified=unverified,
            journal=journal,
            store=store,
            observer=observer,
            connect=connect,
        )
    wanted = {Pause.CUTOVER: plans.FENCE, Pause.COMMIT: plans.CONFIRM}[pause]
    news, observer = "", observer or NullObserver()
    while entry.live:
        time.sleep(_LOOK_S)
        entry = journal.get(identity)
        doing = next((n for n, state, _ in steps.entries() if state is walk.StepState.DOING), news)
        if doing != news:
            observer.phase(doing)
            news = doing
        waits = steps.state(plans.CONFIRM) is walk.StepState.DOING and pause is Pause.CUTOVER
        if waits and steps.state(wanted) is walk.StepState.DONE:
            return Ended(identity, MoveState.WAITING)
    _require_done(entry, steps)
    return Ended(identity, entry.state)


def _left_by_its_process(journal: Journal, entry: Entry, steps: Steps) -> Entry:
    """The entry of a Move that the process which waits with it has let go: that one does not know
    that its source is not needed. ConflictError where it does anything else."""
    if pause_of(entry, steps) is Pause.COMMIT:
        take_over(journal, entry.id)
        entry = journal.get(entry.id)
        if not entry.live:
            return entry
    doing = next((n for n, state, _ in steps.entries() if state is walk.StepState.DOING), "a step")
    way = "Wait until it has ended, or waits for you (`portkit moves` shows it), and try again."
    if runs_on_target(plan_from(entry.plan), steps):
        way += (
            f" Or end it with Ctrl-C where it runs: the App keeps serving on {entry.target}, and "
            "this command can be repeated."
        )
    raise ConflictError(
        "another portkit is still working on this Move",
        details=f"{entry.id} of {entry.app}: {doing}",
        resolution=way,
    )


def _require_done(entry: Entry, steps: Steps) -> None:
    """The Move that another process has made is done, else an error says what it is."""
    if entry.state is MoveState.WAITING and _hook_failed(plan_from(entry.plan), steps):
        raise HookError(
            entry.error or "the App has moved, but a command of --after-commit failed",
            details=f"{entry.id} of {entry.app}: the process that made it has printed more",
            resolution=f"The App runs on {entry.target}. When the cause is fixed: portkit resume "
            f"{entry.id}\nTo end the Move without it: portkit resume {entry.id} --skip-hooks",
        )
    if entry.state is not MoveState.DONE:
        raise ConflictError(
            f"the Move did not complete: it is {entry.state}",
            details=entry.error or entry.id,
            resolution=f"Run portkit show {entry.id}, and read the output of the process that "
            "made it.",
        )


def _hook_failed(plan: Plan, steps: Steps) -> bool:
    """Whether the target has kept the App, and what follows it was begun and has not succeeded."""
    after = (name for name in plan.steps() if name.startswith((plans.HOOK, plans.FORWARD)))
    return is_kept(plan, steps) and any(steps.state(name) is walk.StepState.DOING for name in after)
