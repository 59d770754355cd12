"""One Move carried out: from what is packaged, through its recorded steps, to the Report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from portkit import compat, process, transfer
from portkit.delivery import Transfer
from portkit.errors import PortkitError
from portkit.model import Artifact, Form, RunSpec
from portkit.move import walk
from portkit.move.journal import Journal, MoveState, Steps
from portkit.move.plan import Plan
from portkit.move.prepare import Job, Packed
from portkit.move.steps import Cargo, Ground, steps_of
from portkit.progress import Observer
from portkit.report import Boot, FormReport, Phase, Report, adapter
from portkit.store import Store
from portkit.store.manifest import manifest_of


def carry_out(packed: Packed, job: Job, journal: Journal, keep: Form | None, repeat: int) -> Report:
    """Make the Move. When it fails it is rolled back; what even that could not do is said."""
    before = packed.turn.clock.take()
    plan = plan_of(packed, job, journal, keep, repeat)
    steps = journal.record(plan.move)
    artifacts = {form: _made(artifact) for form, artifact in packed.artifacts.items()}
    with journal.held(plan.move), packed.turn.taken() as clock:
        parcels = job.source.parcels(job.store)
        cargo = Cargo(packed.spec, artifacts, packed.target, job.store, parcels)
        ground = Ground(plan, steps, job.target, job.source.host, clock, cargo)
        journal.add(
            plan.move,
            app=plan.app,
            source=job.source.name,
            target=plan.target,
            plan=plan.to_json(),
        )
        walk_forward(ground, journal, steps)
    return packed.report(before, form_reports(plan, steps, packed, artifacts))


def walk_forward(ground: Ground, journal: Journal, steps: Steps) -> None:
    """Go to the end of the Move, or back to where nothing of it is on the target."""
    move = ground.plan.move
    try:
        walk.forward(steps_of(ground), steps)
    # Ctrl-C too: KeyboardInterrupt is no Exception.
    except BaseException as error:
        brief = error.brief if isinstance(error, PortkitError) else type(error).__name__
        journal.settle(move, MoveState.ROLLING_BACK, brief)
        left = walk_backward(ground, journal, steps, brief)
        if left:
            say_what_is_left(ground.clock.observer, move, left)
        raise
    journal.settle(move, MoveState.MEASURED if ground.plan.keep is None else MoveState.DONE)


def walk_backward(
    ground: Ground, journal: Journal, steps: Steps, why: str
) -> tuple[walk.Failure, ...]:
    """Take the Move back as far as that can be done now; what could not be undone."""
    # A second Ctrl-C would stop the rollback that the first one began.
    with process.uninterrupted():
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


def plan_of(packed: Packed, job: Job, journal: Journal, keep: Form | None, repeat: int) -> Plan:
    """What is going to be done, in the words of the journal."""
    artifacts = {form: _made(artifact) for form, artifact in packed.artifacts.items()}
    image = artifacts.get(Form.IMAGE)
    service = packed.app.service
    # An image that was named by its id has no name that could be given to it on the target.
    tag = service.image if service.image and not service.image.startswith("sha256:") else None
    return Plan(
        move=packed.move,
        app=packed.app.name,
        app_source=absolute(packed.app.source),
        source=None if job.source.host is None else job.source.name,
        target=job.target.name,
        forms=tuple(packed.artifacts),
        keep=keep,
        repeat=repeat,
        limit=job.target.rate_limit,
        manifests={form: _manifest(made, job.store) for form, made in artifacts.items()},
        blobs={
            form: tuple(dict.fromkeys(blob.digest for blob in made.blobs))
            for form, made in artifacts.items()
        },
        ports=packed.spec.ports,
        hold="" if image is None else transfer.held_name(image.digest, packed.move),
        tag=tag,
        fingerprint=fingerprint(journal, packed.spec),
        findings={form: tuple(packed.findings[form]) for form in artifacts},
    )


def fingerprint(journal: Journal, spec: RunSpec) -> str:
    """A keyed hash of what the process will see: an App that changed since is noticed."""
    # default=str: paths, such as that of a CA's file.
    return journal.fingerprint(json.dumps(asdict(spec), sort_keys=True, default=str))


def absolute(source: str) -> str:
    """An App's source as it can be read again from any folder: a path is made absolute."""
    path = Path(source)
    try:
        return str(path.absolute()) if path.exists() else source
    except (OSError, ValueError):
        return source


def _manifest(artifact: Artifact, store: Store) -> str:
    return store.put_bytes(json.dumps(manifest_of(artifact), sort_keys=True).encode()).digest


def _made(artifact: Artifact | None) -> Artifact:
    assert artifact is not None, "only a plan leaves one out"
    return artifact


# ---------------------------------------------------------------- the Report


def form_reports(
    plan: Plan, steps: Steps, packed: Packed, artifacts: Mapping[Form, Artifact]
) -> list[FormReport]:
    """What each form's steps recorded, as parts of the Report."""
    return [_form_report(form, plan, steps, packed, artifacts[form]) for form in plan.forms]


def _form_report(
    form: Form, plan: Plan, steps: Steps, packed: Packed, artifact: Artifact
) -> FormReport:
    findings = packed.findings[form]
    sent, created, booted = (
        steps.result(f"{verb} {form}") for verb in ("transfer", "create", "boot")
    )
    phases = [phase for each in (sent, created, booted) for phase in each.get("phases", ())]
    state = "running" if form is plan.keep else "ready"
    return FormReport(
        form=form,
        artifact=artifact,
        verdict=compat.verdict(findings, packed.target, form),
        findings=findings,
        phases=tuple(map(adapter(Phase).validate_python, phases)),
        transfer=adapter(Transfer).validate_python(sent["transfer"]),
        boot=adapter(Boot).validate_python(booted["boot"]),
        from_move_s=booted["from_move_s"],
        from_boot_s=tuple(booted["from_boot_s"]),
        instance=plan.move,
        state="removed" if plan.keep is None else state,
    )
