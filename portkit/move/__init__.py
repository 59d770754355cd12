"""The Move: an App goes through every stage, in each Form, and comes out as a Report.

    App -> package -> Artifact -> transfer -> boot -> Instance -> measure -> Report

`plan_app` reports what `move_app` would meet and changes nothing on the target. `move_app` carries
a Move out as recorded steps; when one fails, for whatever reason, nothing of the Move stays on the
target. Where even that was impossible, because portkit was killed or the target is gone, `resume`
and `rollback` end the Move later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Unpack

from portkit import app as app_room
from portkit import report as report_room
from portkit.clock import Clock
from portkit.errors import AppError, HookError, PortkitError
from portkit.host import Host
from portkit.model import App, Form, PackedApp
from portkit.move import predict, prepare, unfinished
from portkit.move.again import Measured, measure_again
from portkit.move.asked import (
    BOTH,
    MoveOptions,
    PackOptions,
    PlanOptions,
    check_running,
    refuse_volumes,
    request_of,
)
from portkit.move.behind import Left, left_behind, require_nothing_aside
from portkit.move.by_marker import rollback_on
from portkit.move.carry import carry_out
from portkit.move.foreign import check_disks
from portkit.move.forward import refuse as refuse_forward
from portkit.move.hooks import hooks_of
from portkit.move.journal import Entry, Journal, MoveState
from portkit.move.left_marker import remove_markers
from portkit.move.matrix import Cell, HostKnown, Matrix, matrix_json, outcome
from portkit.move.observed import Observed, Outcome
from portkit.move.open_entry import Ended
from portkit.move.plan import Course, Pause
from portkit.move.prepare import Job, Packed, new_id
from portkit.move.taken_back import rollback
from portkit.move.unfinished import go_on, resume
from portkit.move.where import (
    Packages,
    check_apps,
    judge_apps,
    judged,
    measure_isolation,
    package_apps,
    prove_apps,
)
from portkit.progress import NullObserver, Observer
from portkit.report import Report
from portkit.source import Source
from portkit.store import Store, default_root

__all__ = [
    "BOTH",
    "Cell",
    "Ended",
    "Entry",
    "HostKnown",
    "Journal",
    "Left",
    "Matrix",
    "Measured",
    "MoveState",
    "Observed",
    "Outcome",
    "Packages",
    "Pause",
    "check_apps",
    "check_disks",
    "go_on",
    "judge_apps",
    "left_behind",
    "matrix_json",
    "measure_again",
    "measure_isolation",
    "move_app",
    "move_apps",
    "new_id",
    "outcome",
    "pack",
    "package_apps",
    "plan_app",
    "plan_apps",
    "prove_apps",
    "remove_markers",
    "require_nothing_aside",
    "resume",
    "rollback",
    "rollback_on",
    "to_json",
]


def pack(
    app: App,
    *,
    source: Source,
    forms: Sequence[Form] = BOTH,
    store: Store | None = None,
    observer: Observer | None = None,
) -> PackedApp:
    """Make an App's Artifacts in the Store of this machine, without a target, and read the files
    that travel with it.

    source: where the images come from; an App with a `build` is built on the source's engine.
    """
    app = app_room.filled(app)
    store = store or Store(default_root())
    clock = Clock(observer or NullObserver())
    images = source.images(app, store, clock)
    artifacts = {Form.IMAGE: images.artifact}
    if Form.DISK in forms:
        # The disk is made for what the images say; the App's own settings come with each Instance.
        spec = app_room.resolve_all(app, images.services)
        artifacts[Form.DISK] = source.disk(images.artifact, spec, store, clock)
    return PackedApp(app, images.services, {form: artifacts[form] for form in forms})


def plan_app(app: App, *, source: Source, target: Host, **options: Unpack[PlanOptions]) -> Report:
    """Plan the Move of one App; see `plan_apps`, which has the same options."""
    return plan_apps((app,), source=source, target=target, **options)[0]


def plan_apps(
    apps: Sequence[App],
    *,
    source: Source,
    target: Host,
    pack_disk: bool = True,
    journal: Journal | None = None,
    **options: Unpack[PackOptions],
) -> tuple[Report, ...]:
    """Plan Moves: package the Apps and judge them for the target, which is only read.

    The Apps are judged one by one, and together for their names, ports and free space. A Report
    lists what prevents the Move, as findings, and predicts what each form would cost
    (`FormReport.predicted`). pack_disk: False skips making the disk, which takes longest; its
    FormReport then has no artifact and no prediction. journal: has the earlier Moves whose speed
    the predicted time is based on; by default the one in the user's state folder. forms, store and
    observer are those of `package_apps`.
    """
    refuse_volumes(apps, options.get("forms", BOTH))
    packages = package_apps(apps, source=source, **options)
    job = packages.request.to(target)
    packed = prepare.judge(packages.packages, job, pack_disk=pack_disk)
    journal = journal or Journal()
    known = predict.predictions(packed, job, journal)
    running = [predict.cutover(each, job, journal) for each in packed]
    return tuple(judged(*each, known) for each in zip(packed, running, strict=True))


def move_app(app: App, *, source: Source, target: Host, **options: Unpack[MoveOptions]) -> Report:
    """Move one App; see `move_apps`, which has the same options."""
    return move_apps((app,), source=source, target=target, **options)[0]


def move_apps(
    apps: Sequence[App],
    *,
    source: Source,
    target: Host,
    forms: Sequence[Form] = BOTH,
    keep: Form | None = Form.IMAGE,
    repeat: int = 1,
    pauses: Sequence[Pause] = (),
    after_commit: Sequence[str] = (),
    forward: bool = False,
    store: Store | None = None,
    observer: Observer | None = None,
    journal: Journal | None = None,
    moved: Callable[[Report], None] = lambda report: None,
) -> tuple[Report, ...]:
    """Move Apps: package each, send it, boot it and measure it. Afterwards it runs on the target.

    source: where the images come from, `portkit.OnHost(host)` or `portkit.InBundle(bundle)`; with a
    bundle, the App is `bundle.app`. forms: the forms in which an App is moved; they are booted one
    after the other on the same port. keep: the form that keeps running, while the other stays ready
    to start; with None, everything is removed after measuring. repeat: how often each form is
    started and measured, with a full stop in between. pauses: where the Move of a running App waits
    until any process calls `go_on` for it. after_commit: commands for `/bin/sh -c` on this machine
    and in its current folder, run for each App when the target has kept it (docs/environment.md
    lists their environment). forward: from then on, the source of a running App forwards its TCP
    ports. journal: where the Moves are recorded, by default in the user's state folder. moved: is
    called with each Report as soon as its Move has ended well.

    Several Apps are packaged and checked, one by one and together, before anything is sent for any
    of them. Then they are moved one after the other over the same connections, each as a Move of
    its own. If one fails, it is rolled back, those before it stay on the target, those after it are
    not tried, and the error says which. If a command after the commit fails, the App stays on the
    target and HookError is raised; `resume` tries that command again.

    If something prevents the Move, IncompatibleError, ConflictError or SpaceError is raised before
    anything is sent. If a stage fails later, the Move is rolled back and the error of that stage is
    raised.
    """
    if not forms or len(set(forms)) != len(forms):
        raise AppError(
            "no form was named, or one was named twice", details=", ".join(forms) or "none"
        )
    check_running(apps, source, forms, keep, repeat, pauses)
    if forward:
        refuse_forward(apps, source.host, target)
    course = Course(tuple(pauses), hooks_of(after_commit, keep), forward)
    # The default names the image; who moves the disk alone means to keep the disk.
    if keep is not None and keep not in forms:
        keep = forms[-1]
    job = request_of(apps, source, forms, store, observer).to(target)
    journal = journal or Journal()
    # Refused before anything is packaged, for all Apps: an unfinished Move holds names and ports on
    # the target that a new one would meet only later.
    for app in apps:
        unfinished.refuse(journal, app.name, target.name)
    carry = partial(carry_out, job=job, journal=journal, stays=keep, repeat=repeat, course=course)
    return _in_turn(prepare.prepare(job), job, carry, moved)


def _in_turn(
    all_packed: Sequence[Packed],
    job: Job,
    carry: Callable[[Packed], tuple[Report, HookError | None]],
    moved: Callable[[Report], None],
) -> tuple[Report, ...]:
    """One Move after the other, until one fails."""
    done: list[Report] = []
    for packed in all_packed:
        try:
            with job.about(packed.app, "moving"):
                report, failed = carry(packed)
            done.append(report)
            moved(report)
            if failed is not None:
                raise failed
        # Ctrl-C too: it is then that one wants to know which Apps are on the target.
        except BaseException as error:
            _say_how_far(error, job, len(done))
            raise
    return tuple(done)


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


to_json = report_room.to_json
