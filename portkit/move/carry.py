"""One Move carried out: from what is packaged, through its recorded steps, to the Report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from portkit import boot, compat, process, transfer
from portkit.delivery import Transfer
from portkit.errors import BootError, HookError, PortkitError, VerifyError
from portkit.halt import Halt
from portkit.model import (
    App,
    Artifact,
    Finding,
    Form,
    Live,
    OnTaken,
    Severity,
    Timeline,
)
from portkit.move import predict, walk
from portkit.move.fingerprint import fingerprint
from portkit.move.ground import Cargo, Ground, WhileUp, keep, read
from portkit.move.journal import Journal, MoveState, Steps
from portkit.move.live_step import on_target
from portkit.move.marker import give_room
from portkit.move.plan import (
    CONFIRM,
    CUTOVER,
    FENCE,
    FORWARD,
    HOOK,
    LAST_SYNC,
    PRESYNC,
    UNQUIESCE,
    VERIFY_SOURCE,
    WAIT,
    Course,
    Plan,
)
from portkit.move.prepare import Job, Packed
from portkit.move.steps import steps_of
from portkit.move.verified import unverified
from portkit.progress import Observer
from portkit.report import (
    Boot,
    Cutover,
    FormReport,
    Phase,
    Report,
    VolumeReport,
    adapter,
    by_service,
)
from portkit.source import Source
from portkit.store import Store
from portkit.wire import labels
from portkit.wire.json_types import JsonObject


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
        brief = error.brief if isinstance(error, PortkitError) else type(error).__name__
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
    # Of one that was to be stopped there, too: it may have gone on serving since.
    return boot.was_started(ground.target, plan.forms[0], plan.move)


def serves_on(plan: Plan, steps: walk.Record, error: BaseException) -> bool:
    """Whether a running App stays on the target, where this process has started it: what ended the
    walk says nothing against the App there, such as a source that cannot be reached, or Ctrl-C."""
    if plan.live is None or steps.state(f"boot {plan.forms[0]}") is not walk.StepState.DONE:
        return False
    if steps.state(VERIFY_SOURCE) is walk.StepState.DOING:
        return not isinstance(error, VerifyError)
    if steps.state("commit") is walk.StepState.DOING:
        return not isinstance(error, BootError)
    return not isinstance(error, PortkitError)  # x-portkit.quiesce.after has failed there


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
    tell = ground.clock.observer.message
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
        tell(f"to go back and lose that data: portkit rollback {move} --discard-writes")
        return True
    if steps.state(PRESYNC) is not walk.StepState.DONE:
        return False
    if steps.state(WAIT) is not walk.StepState.DOING:
        journal.settle(move, MoveState.ROLLING_BACK, brief)
        with process.uninterrupted():
            give_room(ground)
            names = [step.name for step in steps_of(ground)]
            left = walk.backward(steps_of(ground)[names.index(FENCE) :], steps)
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
        left = walk.backward(steps_of(ground), steps)
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


def plan_of(packed: Packed, job: Job, journal: Journal, stays: Form | None, repeat: int) -> Plan:
    """What is going to be done, in the words of the journal."""
    image = packed.artifacts.get(Form.IMAGE)
    services = {service.service: service.image for service in packed.spec.services}
    held = () if image is None else (each.digest for each in image.images)
    live = job.source.live(packed.spec)
    holds = {digest: transfer.held_name(digest, packed.move) for digest in held}
    return Plan(
        move=packed.move,
        app=packed.app.name,
        app_source=absolute(packed.app.source),
        source=None if job.source.host is None else job.source.name,
        target=job.target.name,
        forms=tuple(packed.artifacts),
        keep=stays,
        repeat=repeat,
        limit=job.target.rate_limit,
        image=keep(packed.image, job.store),
        blobs=tuple(dict.fromkeys(blob.digest for blob in image.blobs)) if image else (),
        ports=packed.spec.ports,
        services=services,
        holds=holds,
        tags=_tags(packed.app, services, holds, live),
        fingerprint=fingerprint(journal, packed.spec),
        findings={form: tuple(packed.findings[form]) for form in packed.artifacts},
        reading=packed.app.reading,
        live=live,
    )


def _tags(
    app: App, services: Mapping[str, str], holds: Mapping[str, str], live: Live | None
) -> dict[str, str]:
    """The names that users know the images by. One that was named by its id or digest has none that
    could be given to it on the target; nor has one that a container has changed."""
    changed = {each.service for each in live.containers if each.changed} if live else ()
    return {
        service.image: holds[services[service.name]]
        for service in app.services
        if holds
        and service.image
        and "sha256:" not in service.image
        and not service.image.startswith(labels.HELD)
        and service.name not in changed
    }


def absolute(source: str) -> str:
    """An App's source as it can be read again from any folder: a path is made absolute."""
    path = Path(source)
    try:
        return str(path.absolute()) if path.exists() else source
    except (OSError, ValueError):
        return source


# ---------------------------------------------------------------- the Report


def form_reports(plan: Plan, steps: Steps, packed: Packed, cargo: Cargo) -> list[FormReport]:
    """What each form's steps recorded, as parts of the Report."""
    if note := unverified(plan, steps):
        packed = packed.also((note,))
    carried = {form: _carried(form, steps, cargo) for form in plan.forms}
    return [_form_report(form, plan, steps, packed, made) for form, made in carried.items()]


def report_of(
    packed: Packed,
    phases: tuple[Phase, ...],
    forms: Sequence[FormReport],
    plan: Plan,
    steps: Steps,
) -> Report:
    """The Report of a Move. phases: what came before those of the forms."""
    made = cutover_report(plan, steps)
    figures = predict.beside(forms, plan.foreseen, plan, steps)
    seen = plan.foreseen.survey_bytes if plan.foreseen else 0
    return packed.report(phases, forms, cutover=made, predictions=figures, survey_bytes=seen)


def cutover_report(plan: Plan, steps: Steps) -> Cutover | None:
    """How a running App changed its host; None for one that was made from its images."""
    if plan.live is None:
        return None
    timeline = steps.result(f"boot {plan.forms[0]}").get("timeline")
    rows = [steps.result(name).get("volumes", ()) for name in (PRESYNC, LAST_SYNC)]
    return Cutover(
        timeline and adapter(Timeline).validate_python(timeline),
        tuple(map(_volume_report, *rows)),
    )


def _volume_report(before: JsonObject, last: JsonObject) -> VolumeReport:
    passes, (end,) = before["passes"], last["passes"]
    return VolumeReport(
        name=last["name"],
        entries=end["entries"],
        bytes=end["bytes"],
        passes=len(passes),
        sent_bytes=sum(each["sent_bytes"] for each in (*passes, end)),
        last_s=round(end["seconds"], 3),
        last_sent_bytes=end["sent_bytes"],
        skipped=tuple(f"{kind} {path}" for path, kind in end["skipped"]),
    )


def _carried(form: Form, steps: Steps, cargo: Cargo) -> Artifact:
    """The Artifact; where a Move was resumed that had nothing left to do, as it was stored."""
    made = cargo.artifacts.get(form)
    return made or read(steps.result(f"package {form}")["manifest"], cargo.store)


def _form_report(
    form: Form, plan: Plan, steps: Steps, packed: Packed, artifact: Artifact
) -> FormReport:
    findings = packed.findings[form]
    booted = steps.result(f"boot {form}")
    state = "running" if form is plan.keep else "ready"
    sent = adapter(Transfer).validate_python(steps.result(f"transfer {form}")["transfer"])
    services = packed.spec.services if form is Form.IMAGE else ()
    return FormReport(
        form=form,
        artifact=artifact,
        verdict=compat.verdict(findings, packed.target, form),
        findings=findings,
        phases=phases_of(form, plan, steps),
        transfer=sent,
        boot=adapter(Boot).validate_python(booted["boot"]),
        from_move_s=booted["from_move_s"],
        from_boot_s=tuple(booted["from_boot_s"]),
        instance=plan.move,
        state="removed" if plan.keep is None else state,
        predicted=plan.predicted.get(form),
        services=by_service(services, artifact, sent.blobs),
    )


def phases_of(form: Form, plan: Plan, steps: Steps) -> tuple[Phase, ...]:
    """A form's phases, in order. The form in which a running App changes its host has those of the
    cutover, too."""
    cutover = CUTOVER if plan.live is not None and form is plan.forms[0] else ()
    before, after = ("package", "transfer", "create"), ("boot", "start")
    verified = (VERIFY_SOURCE,) if cutover else ()
    names = [
        *(f"{verb} {form}" for verb in before),
        *cutover,
        *(f"{verb} {form}" for verb in after),
        *((UNQUIESCE,) if cutover else ()),
        *verified,
        *((FORWARD,) if form is plan.keep else ()),
        *(f"{HOOK} {n}" for n in range(1, len(plan.hooks) + 1) if form is plan.keep),
    ]
    rows = [row for name in names for row in steps.result(name).get("phases", ())]
    return tuple(map(adapter(Phase).validate_python, rows))
