"""One Move carried out: from what is packaged, through its recorded steps, to the Report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from portkit import boot, process
from portkit.errors import ConflictError, HookError, PortkitError, ToolError, VerifyError
from portkit.halt import Halt
from portkit.model import (
    Finding,
    Form,
    OnTaken,
    Severity,
)
from portkit.move import predict, walk
from portkit.move.ground import Cargo, Ground, WhileUp
from portkit.move.journal import Journal, MoveState, Steps
from portkit.move.live_step import on_target
from portkit.move.marker import give_room
from portkit.move.plan import (
    CONFIRM,
    FENCE,
    LET_GO,
    PRESYNC,
    UNQUIESCE,
    VERIFY_SOURCE,
    WAIT,
    Course,
    Plan,
)
from portkit.move.planned import plan_of
from portkit.move.prepare import Job, Packed
from portkit.move.reported import form_reports, report_of
from portkit.move.steps import steps_of
from portkit.progress import NullObserver, Observer
from portkit.report import (
    Report,
)
from portkit.source import Source
from portkit.source.origin import origin
from portkit.store import Store


def carry_out(
    packed: Packed,
    job: Job,
    journal: Journal,
    stays: Form | None,
    repeat: int,
    course: Course | None = None,
    while_up: WhileUp | None = None,
) -> tuple[Report, HookError | None]:
    """Make the Move. When it fails it is rolled back; what even that could not do is said.

    while_up: is called while each form is up, before it is stopped; a Move that is resumed does
    without.

    Returns the Report, and the error where the App runs on the target and a hook has failed.
    """
    # A trial, which no user's course leads, is about something else.
    predicted, foreseen = predict.before(packed, job, journal) if course else ({}, None)
    before = packed.turn.clock.take()
    course = course or Course()
    plan = replace(
        plan_of(packed, job, journal, stays, repeat),
        pauses=course.pauses,
        hooks=course.hooks,
        forward=course.forward,
        predicted=predicted,
        foreseen=foreseen,
    )
    steps = journal.record(plan.move)
    cargo = replace(cargo_of(packed, job.store, job.source), while_up=while_up)
    with journal.held(plan.move), packed.turn.taken() as clock:
        ground = Ground(plan, steps, job.target, job.source.host, clock, cargo)
        journal.add(
            plan.move,
            app=plan.app,
            source=job.source.name,
            target=plan.target,
            plan=plan.to_json(),
        )
        failed = _walked(ground, journal, steps)
    reports = form_reports(plan, steps, packed, cargo)
    if failed is not None:
        note = Finding(
            "after-commit", Severity.ERROR, failed.brief, (failed.details,), failed.resolution
        )
        reports = [
            replace(each, findings=(*each.findings, note)) if each.form is plan.keep else each
            for each in reports
        ]
    return report_of(packed, before, reports, plan, steps), failed


def _walked(ground: Ground, journal: Journal, steps: Steps) -> HookError | None:
    try:
        walk_forward(ground, journal, steps)
    except HookError as error:
        return error
    return None


def cargo_of(packed: Packed, store: Store, source: Source) -> Cargo:
    """What is at hand when the Move begins: most often the image, and no disk yet."""
    there = {form: made for form, made in packed.artifacts.items() if made is not None}
    return Cargo(packed.app, packed.spec, packed.image, there, packed.target, store, source)


def walk_forward(ground: Ground, journal: Journal, steps: Steps) -> None:
    """Go to the end of the Move, or back to where nothing of it is on the target."""
    move = ground.plan.move
    served = has_served(ground, steps)
    try:
        _forward(ground, steps)
    # Ctrl-C too: KeyboardInterrupt is no Exception.
    except BaseException as error:
        brief = error.brief if isinstance(error, PortkitError) else _named(error)
        stays = ground.plan.live is not None or is_kept(ground.plan, steps)
        try:
            served = served or serves_on(ground.plan, steps, error)
            went = served or _went(ground, steps)
            if went is None:
                _unknown(ground, journal, brief)
                raise
            if stays and _stays_unfinished(ground, journal, steps, brief, served=went):
                raise
        finally:
            ground.downtime.end()
        journal.settle(move, MoveState.ROLLING_BACK, brief)
        left = walk_backward(ground, journal, steps, brief)
        if left:
            say_what_is_left(ground.clock.observer, move, left)
        raise
    journal.settle(move, MoveState.MEASURED if ground.plan.keep is None else MoveState.DONE)


def _named(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__


def is_kept(plan: Plan, steps: Steps) -> bool:
    """Whether the App runs on the target for good, and only what follows from that is left to do:
    for that, neither the source's containers nor the Store here are needed any more."""
    committed = steps.state("commit") is walk.StepState.DONE
    return committed and (plan.live is not None or bool(plan.hooks))


def has_served(ground: Ground, steps: Steps) -> bool:
    """Whether a running App was started on the target, which may have taken writes since: nobody
    but the user decides then that they are lost."""
    plan = ground.plan
    state = steps.state(f"boot {plan.forms[0]}")
    if plan.without_stop and state in (walk.StepState.DOING, walk.StepState.UNDOING):
        return on_target(ground)
    if plan.live is None or state not in (walk.StepState.DOING, walk.StepState.UNDOING):
        return plan.live is not None and state is walk.StepState.DONE
    if "target" in ground.missing:
        return True  # nobody can say that it was not
    # Of one that was to be stopped there, too: it may have gone on serving since.
    return boot.was_started(ground.target, plan.forms[0], plan.move)


def require_origin(ground: Ground, steps: Steps) -> None:
    """What a running App is started again from is there; or the target has nothing of it any more
    either (`rollback --on`), and there is nothing to lose."""
    plan, host = ground.plan, ground.source
    if plan.live is None or "target" in ground.missing:
        return
    lost: tuple[str, ...] = ("the host cannot be reached",)
    if host is not None:
        with origin(host, plan.live) as there:
            lost = there.lost()
    rows = boot.instances(ground.target) if lost else ()
    if any(each.id == plan.move and each.status != "remains" for each in rows):
        ended = steps.state("release") is walk.StepState.DONE
        raise ConflictError(
            "the App cannot be started at its source again: it is no longer there",
            details=f"{plan.source}: {', '.join(lost)}"[:2000],
            resolution=f"Nothing was changed: the App stays on {plan.target}, the only place where "
            "it still exists."
            + ("" if ended else f"\nTo keep it there: portkit commit {plan.move}")
            + ("" if ended or host is not None else " --unverified")
            + "\nTo remove it there as well, with all its data: portkit rollback "
            f"{plan.move} --on {plan.target} --discard-writes",
        )


def serves_on(plan: Plan, steps: walk.Record, error: BaseException) -> bool:
    """Whether a running App stays on the target, where this process has started it: what ended the
    walk says nothing against the App there, such as a source that cannot be reached, or Ctrl-C."""
    if plan.live is None or steps.state(f"boot {plan.forms[0]}") is not walk.StepState.DONE:
        return False
    # One that does not come up again may do so the next time: nobody but the user decides that what
    # it has written is lost.
    against = {VERIFY_SOURCE: VerifyError, UNQUIESCE: ToolError}
    doing = (kind for step, kind in against.items() if steps.state(step) is walk.StepState.DOING)
    return not isinstance(error, tuple(doing))


def _went(ground: Ground, steps: Steps) -> bool | None:
    """Whether a VM that was not stopped is on the target; None where that cannot be told."""
    if not ground.plan.without_stop:
        return False
    try:
        with process.uninterrupted():
            return has_served(ground, steps)
    except PortkitError as error:
        ground.clock.observer.message(f"it is not known which host runs the VM: {error.brief}")
        return None


def _unknown(ground: Ground, journal: Journal, brief: str) -> None:
    """Nothing is done where it is not known what is right; the user is told how it goes on."""
    move, tell = ground.plan.move, ground.clock.observer.message
    journal.settle(move, MoveState.WAITING, brief)
    tell("nothing was rolled back because of that; autostart is off at the source")
    tell(f"when both hosts can be reached, continue on the one that has it: portkit resume {move}")


def _stays_unfinished(
    ground: Ground, journal: Journal, steps: Steps, brief: str, *, served: bool
) -> bool:
    """Keep what has arrived for the next try, and a running App on the host that serves it. False
    where there is nothing yet that is worth it.

    served: whether it was started on the target before this process began, or stays there by
    `serves_on`.
    """
    move, target = ground.plan.move, ground.plan.target
    # Whoever takes it over says what becomes of it.
    tell = (NullObserver() if steps.told(LET_GO) else ground.clock.observer).message
    if is_kept(ground.plan, steps):
        journal.settle(move, MoveState.WAITING, brief)
        tell(f"the App runs on {target}; to end the Move: portkit resume {move}")
        return True
    confirmed = steps.state(CONFIRM) in (walk.StepState.DOING, walk.StepState.DONE)
    if confirmed or served:
        journal.settle(move, MoveState.WAITING, brief)
        word = "is" if ground.plan.without_stop else "was started"
        tell(f"the App {word} on {target} and may have written data there, so it stays there")
        if ground.plan.without_stop:
            tell(f"to make sure that one side runs, and continue: portkit resume {move}")
        elif steps.state(VERIFY_SOURCE) is not walk.StepState.DONE:
            tell(f"to verify the source, and continue if it is unchanged: portkit resume {move}")
            tell(f"to continue without verifying: portkit commit {move} --unverified")
        else:
            tell(f"to continue: portkit commit {move}")
        if ground.cargo is not None:  # else it is no longer at its source
            tell(f"to go back and lose that data: portkit rollback {move} --discard-writes")
        return True
    if steps.state(PRESYNC) is not walk.StepState.DONE:
        return False
    if steps.state(WAIT) is not walk.StepState.DOING:
        journal.settle(move, MoveState.ROLLING_BACK, brief)
        with process.uninterrupted():
            give_room(ground)
            names = [step.name for step in steps_of(ground)]
            again = steps_of(ground)[names.index(FENCE) :]
            left = walk.backward(again, steps, ground.clock.observer)
        if left:
            say_what_is_left(ground.clock.observer, move, left)
            return True
    journal.settle(move, MoveState.WAITING, brief)
    tell(f"the App runs at its source, and what has arrived on {target} is kept for the next try")
    tell(
        f"to try again: portkit cutover {move}; to remove it from the target: portkit rollback "
        f"{move}"
    )
    _say_what_is_aside(ground)
    if said := ground.downtime.await_source_again():
        tell(said)
    return True


def _say_what_is_aside(ground: Ground) -> None:
    """An App of the target's would be started on what has come of this one's data."""
    live, plan = ground.plan.live, ground.plan
    replaced = [each.name for each in live.taking if each.way is OnTaken.OVERRIDE] if live else []
    if replaced:
        ground.clock.observer.message(
            f"the earlier data of {', '.join(replaced)} on {plan.target} is still set aside: "
            f"start nothing there that uses it until portkit rollback {plan.move} has put it back"
        )


def _forward(ground: Ground, steps: Steps) -> None:
    """In two lanes, of which each can end the other: in its steps, and in calls to the target."""
    halt = Halt()
    try:
        ground.target.remote.halt = halt
        walk.forward(steps_of(replace(ground, halt=halt)), steps, halt)
    finally:  # the rollback makes calls too
        ground.target.remote.halt = Halt()


def walk_backward(
    ground: Ground, journal: Journal, steps: Steps, why: str
) -> tuple[walk.Failure, ...]:
    """Take the Move back as far as that can be done now; what could not be undone."""
    # A second Ctrl-C would stop the rollback that the first one began.
    with process.uninterrupted():
        give_room(ground)
        # What can only be undone at an end that is gone stays as the journal has it.
        todo = [each for each in steps_of(ground) if each.undone_at not in ground.missing]
        left = walk.backward(todo, steps, ground.clock.observer)
        if not left:
            journal.settle(ground.plan.move, MoveState.ROLLED_BACK, why)
    return left


def say_what_is_left(observer: Observer, move: str, left: Sequence[walk.Failure]) -> None:
    """The error that led here stays the one that is raised; this goes beside it."""
    for failure in left:
        observer.message(f"could not undo {failure.step!r}: {failure.error.brief}")
    observer.message(
        f"the Move is unfinished; when its hosts can be reached again, run portkit resume {move} "
        f"or portkit rollback {move}"
    )
