"""The pipeline: an App goes through every stage, in each Form, and comes out as a Report.

    App -> package -> Artifact -> transfer -> boot -> Instance -> measure -> Report

`plan` says what `run` would meet and changes nothing on the target. `run` leaves nothing of its
own on the target when it fails, whatever the reason. `prepare` is the part before the first byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from portkit import app as app_room
from portkit import boot, compat
from portkit import report as report_room
from portkit import watch as watching
from portkit.bundle import Bundle
from portkit.errors import AppError, PortkitError
from portkit.health import choose, runs_check
from portkit.host import Host
from portkit.journey import Clock, Journey
from portkit.model import App, Artifact, Form, Instance, Method, Port
from portkit.prepare import Job, Packed, artifact_of, image_of, new_id, prepare
from portkit.progress import NullObserver, Observer
from portkit.report import FormReport, Phase, Report
from portkit.store import Store, default_root

__all__ = [
    "BOTH",
    "Measured",
    "measure_again",
    "new_id",
    "pack",
    "plan",
    "plan_all",
    "run",
    "run_all",
    "to_json",
]

BOTH = (Form.IMAGE, Form.DISK)


def pack(
    app: App,
    *,
    source: Host,
    forms: Sequence[Form] = BOTH,
    store: Store | None = None,
    observer: Observer | None = None,
) -> dict[Form, Artifact]:
    """The Artifacts of an App in the Store here; built on the source's engine where it says so."""
    store = store or Store(default_root())
    clock = Clock(observer or NullObserver())
    image = image_of(app, source, store, clock)
    spec = app_room.resolve(app, image.config)
    return {form: artifact_of(form, source, image, spec, store, clock) for form in forms}


def plan(
    app: App,
    *,
    source: Host | Bundle,
    target: Host,
    forms: Sequence[Form] = BOTH,
    pack_disk: bool = True,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Report:
    """A dry run: the App is packaged on the source and here, the target is only read.

    source: a host, or a bundle. pack_disk: False spares the time that making the disk takes; its
    FormReport has no artifact.
    """
    return plan_all((app,), source=source, target=target, forms=forms, pack_disk=pack_disk,
                    store=store, observer=observer)[0]  # fmt: skip


def plan_all(
    apps: Sequence[App],
    *,
    source: Host | Bundle,
    target: Host,
    forms: Sequence[Form] = BOTH,
    pack_disk: bool = True,
    store: Store | None = None,
    observer: Observer | None = None,
) -> tuple[Report, ...]:
    """`plan` of several Apps: also whether they can be on the target together."""
    job = _job(apps, source, target, forms, store, observer)
    return tuple(
        _report(packed, packed.turn.clock.take(), _foreseen(packed), dry_run=True)
        for packed in prepare(job, refusing=False, pack_disk=pack_disk)
    )


def run(
    app: App,
    *,
    source: Host | Bundle,
    target: Host,
    forms: Sequence[Form] = BOTH,
    keep: Form | None = Form.IMAGE,
    repeat: int = 1,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Report:
    """Move an App: package, transfer, boot, measure. It runs on the target afterwards.

    source: where the image is or is built, or a bundle (`app` is its own then).
    forms: booted one after the other on the same port. keep: the one that goes on running there
    (the only one, where it is not among them), the other stays ready; None removes everything
    after measuring. repeat: how often each is started and measured, with a full stop between.
    Raises IncompatibleError, ConflictError or SpaceError before bytes move, and the error of the
    stage that failed; then everything of this Move is off the target again.
    """
    return run_all((app,), source=source, target=target, forms=forms, keep=keep, repeat=repeat,
                   store=store, observer=observer)[0]  # fmt: skip


def run_all(
    apps: Sequence[App],
    *,
    source: Host | Bundle,
    target: Host,
    forms: Sequence[Form] = BOTH,
    keep: Form | None = Form.IMAGE,
    repeat: int = 1,
    store: Store | None = None,
    observer: Observer | None = None,
    moved: Callable[[Report], None] = lambda report: None,
) -> tuple[Report, ...]:
    """Move several Apps as `run` does, one after the other over the same connections.

    All are packaged and checked, alone and together, before a byte goes for any. Each is a Move of
    its own: when one fails, those before it stay, and those after it are not tried; the error says
    which. moved: gets each Report when its Move has ended well.
    """
    if not forms or len(set(forms)) != len(forms):
        raise AppError("no form to move, or one twice", details=", ".join(forms) or "none")
    if keep is not None and keep not in forms:
        keep = forms[-1]
    job = _job(apps, source, target, forms, store, observer)
    done: list[Report] = []
    for packed in prepare(job, refusing=True):
        try:
            with job.about(packed.app, "moving"):
                report = _carry(packed, job, keep, repeat)
        except BaseException as error:
            _say_how_far(error, job, len(done))
            raise
        done.append(report)
        moved(report)
    return tuple(done)


def _job(
    apps: Sequence[App],
    source: Host | Bundle,
    target: Host,
    forms: Sequence[Form],
    store: Store | None,
    observer: Observer | None,
) -> Job:
    if not apps:
        raise AppError("no App to move")
    store, observer = store or Store(default_root()), observer or NullObserver()
    return Job(tuple(apps), source, target, tuple(forms), store, observer)


def _carry(packed: Packed, job: Job, keep: Form | None, repeat: int) -> Report:
    """A Move from the first byte to the Report; it takes itself back when it fails."""
    before = packed.turn.clock.take()
    parcels = job.source.parcels(job.store) if isinstance(job.source, Bundle) else {}
    journeys = {}
    with packed.turn.taken() as clock, ExitStack() as stack:
        for form, artifact in packed.artifacts.items():
            assert artifact is not None, "only a plan leaves one out"
            journeys[form] = Journey(
                packed.move, packed.spec, artifact, packed.target, job.target, clock, stack
            )
            journeys[form].send(job.store, parcels)
        # The one that is kept comes last: it need not be started once more.
        for form in sorted(journeys, key=lambda form: form is keep):
            journeys[form].start(repeat, keep=form is keep)
        if keep is not None:
            journeys[keep].commit(packed.app.service.image)
            stack.pop_all()
    found = [
        journey.report(
            packed.findings[form],
            "removed" if keep is None else "running" if form is keep else "ready",
        )
        for form, journey in journeys.items()
    ]
    return _report(packed, before, found)


def _say_how_far(error: BaseException, job: Job, done: int) -> None:
    """Of several Apps: which are on the target, and which are not."""
    names = [app.name for app in job.apps]
    if len(names) == 1:
        return
    text = f"moved: {', '.join(names[:done]) or 'none'}; not moved: {', '.join(names[done:])}"
    if isinstance(error, PortkitError):
        error.details = "\n".join(part for part in (error.details, text) if part)
    else:
        job.observer.message(text)


@dataclass(frozen=True)
class Measured:
    """TTFR of an Instance that was there: seconds from the call that started it, one each time."""

    instance: Instance
    from_boot_s: tuple[float, ...]
    url: str
    vantage: str
    poll_s: float
    method: Method
    reason: str


def measure_again(app: App, target: Host, *, form: Form | None = None, repeat: int = 1) -> Measured:
    """Stop an App's Instance on a host, start it and ask, `repeat` times; it ends running.

    AppError when the host has none, or more than one that could be meant.
    """
    one = boot.find(boot.instances(target), app.name, form)
    health, ports = app.service.health, app.service.ports
    if not ports:  # a Dockerfile's or an image's: what the engine says is published
        ports = tuple(Port(int(text.removeprefix(":"))) for text in one.url.split())
    answers = []
    with boot.runner(target, one.form) as runner:
        # The engine knows of a healthcheck in an image, which is not read here.
        checks = runs_check(app.service.healthcheck) or runner.life(one.id).health != ""
        way = choose(ports, health, one.form, checks_itself=checks)
        watch = watching.watch(runner, one.id, target, health, way, app.service.healthcheck)
        for _ in range(repeat):
            runner.stop(one.id)
            started = time.monotonic()
            runner.start(one.id)
            answers.append(watch.first_answer(started))
        watch.settle()
    return Measured(
        instance=replace(one, status="running", exit_code=None),
        from_boot_s=tuple(round(answer.seconds, 3) for answer in answers),
        url=answers[0].url,
        vantage=answers[0].vantage,
        poll_s=answers[0].poll_s,
        method=way.method,
        reason="; ".join(way.reasons),
    )


def _foreseen(packed: Packed) -> list[FormReport]:
    rows = []
    for form, artifact in packed.artifacts.items():
        found = packed.findings[form]
        rows.append(FormReport(form, artifact, compat.verdict(found, packed.target, form), found))
    return rows


def _report(
    packed: Packed,
    phases: tuple[Phase, ...],
    forms: Sequence[FormReport],
    *,
    dry_run: bool = False,
) -> Report:
    return Report(
        move=packed.move,
        app=packed.app,
        source=packed.source,
        target=packed.target,
        source_link_bytes=packed.turn.source_bytes,
        target_link_bytes=packed.turn.target_bytes,
        phases=phases,
        forms=tuple(forms),
        dry_run=dry_run,
    )


to_json = report_room.to_json
