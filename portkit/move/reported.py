"""The Report of a Move, from what its steps have recorded."""

from __future__ import annotations

from collections.abc import Sequence

from portkit import compat
from portkit.delivery import Transfer
from portkit.model import Artifact, Finding, Form, LiveVolume, Severity, Timeline
from portkit.move import predict
from portkit.move.ground import Cargo, read
from portkit.move.journal import Steps
from portkit.move.plan import (
    CUTOVER,
    FORWARD,
    HOOK,
    LAST_SYNC,
    PRESYNC,
    UNQUIESCE,
    VERIFY_SOURCE,
    Plan,
)
from portkit.move.prepare import Packed
from portkit.move.verified import unverified
from portkit.report import (
    Boot,
    Cutover,
    FileReport,
    FormReport,
    Phase,
    Report,
    VolumeReport,
    adapter,
    by_service,
)
from portkit.text import listed
from portkit.wire.json_types import JsonObject


def form_reports(plan: Plan, steps: Steps, packed: Packed, cargo: Cargo) -> list[FormReport]:
    """What each form's steps recorded, as parts of the Report."""
    packed = packed.also(
        tuple(filter(None, (unverified(plan, steps), no_files(cutover_report(plan, steps)))))
    )
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
    before, last = steps.result(PRESYNC), steps.result(LAST_SYNC)
    # A Move that an earlier portkit began has not recorded them.
    placed = before.get("placed", {"volumes": {}, "files": {}})
    volumes = {each.number: each for each in plan.live.volumes}
    return Cutover(
        timeline and adapter(Timeline).validate_python(timeline),
        tuple(
            _volume_report(
                volumes[end["volume"]], placed["volumes"].get(str(end["volume"]), ""), begun, end
            )
            for begun, end in zip(before.get("volumes", ()), last.get("volumes", ()), strict=True)
        ),
        tuple(FileReport(path, there) for path, there in sorted(placed["files"].items())),
    )


def no_files(cutover: Cutover | None) -> Finding | None:
    """What of the volumes was not moved because it is no file, folder or link."""
    found = [
        f"{volume.name or volume.path}: {each}"
        for volume in (cutover.volumes if cutover is not None else ())
        for each in volume.skipped
    ]
    if not found:
        return None
    return Finding(
        "no-files",
        Severity.INFO,
        "FIFOs, sockets and devices in the App's data were not moved: " + listed(found),
        tuple(found),
        "An App usually creates them when it starts. If it does not, create them on the target.",
    )


def _volume_report(
    volume: LiveVolume, target_name: str, before: JsonObject, last: JsonObject
) -> VolumeReport:
    passes, (end,) = before["passes"], last["passes"]
    return VolumeReport(
        name=volume.name,
        path=volume.path,
        target_name=target_name,
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
