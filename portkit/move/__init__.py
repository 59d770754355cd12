"""The Move: an App goes through every stage, in each Form, and comes out as a Report.

    App -> package -> Artifact -> transfer -> boot -> Instance -> measure -> Report

`plan_app` reports what `move_app` would meet and changes nothing on the target. `move_app` carries
a Move out as recorded steps; when one fails, for whatever reason, nothing of the Move stays on the
target. Where even that was impossible, because portkit was killed or the target is gone, `resume`
and `rollback` end the Move later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypedDict, Unpack

from portkit import app as app_room
from portkit import compat
from portkit import report as report_room
from portkit.clock import Clock
from portkit.compat import Profile
from portkit.delivery import Prediction
from portkit.errors import AppError, HookError, HostError, PortkitError, TransferError
from portkit.host import Host
from portkit.model import App, Foreseen, Form, OnTaken, PackedApp
from portkit.move import isolate, matrix, predict, prepare, prove, unfinished
from portkit.move.again import Measured, measure_again
from portkit.move.behind import Left, left_behind, require_nothing_aside
from portkit.move.by_marker import rollback_on
from portkit.move.carry import carry_out
from portkit.move.foreign import check_disks
from portkit.move.forward import refuse as refuse_forward
from portkit.move.hooks import hooks_of
from portkit.move.journal import Entry, Journal, MoveState
from portkit.move.matrix import Cell, HostKnown, Matrix, matrix_json, outcome
from portkit.move.observed import Observed, Outcome
from portkit.move.plan import Course, Pause
from portkit.move.prepare import Job, Package, Packed, Request, new_id
from portkit.move.unfinished import Ended, go_on, resume, rollback
from portkit.progress import NullObserver, Observer
from portkit.report import FormReport, Report
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
    "require_nothing_aside",
    "resume",
    "rollback",
    "rollback_on",
    "to_json",
]

# In this order: a disk is made from its image, and sent as what the image's layers lack.
BOTH = (Form.IMAGE, Form.DISK)


class PackOptions(TypedDict, total=False):
    """How Apps are packaged. forms: both unless told. store: this machine's own unless told."""

    forms: Sequence[Form]
    store: Store | None
    observer: Observer | None


class PlanOptions(PackOptions, total=False):
    """How a Move is planned; see `plan_apps`."""

    pack_disk: bool
    journal: Journal | None


class MoveOptions(PackOptions, total=False):
    """How a Move is made; see `move_apps`."""

    keep: Form | None
    repeat: int
    pauses: Sequence[Pause]
    after_commit: Sequence[str]
    forward: bool
    journal: Journal | None


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

    The Apps are judged alone, and together as to names, ports and free space. A Report says what
    stands in the way, as findings, and predicts what each form would cost
    (`FormReport.predicted`). pack_disk: False skips making the disk, which takes longest; its
    FormReport then has no artifact and no prediction. journal: earlier Moves, whose speed the
    predicted time rests on; by default in the user's state folder. forms, store and observer are
    those of `package_apps`.
    """
    _refuse_volumes(apps, options.get("forms", BOTH))
    packages = package_apps(apps, source=source, **options)
    job = packages.request.to(target)
    packed = prepare.judge(packages.packages, job, pack_disk=pack_disk)
    journal = journal or Journal()
    costs = predict.predictions(packed, job, journal)
    running = [predict.cutover(each, job, journal) for each in packed]
    return tuple(_foreseen(*each, costs) for each in zip(packed, running, strict=True))


@dataclass(frozen=True)
class Packages:
    """Apps with their images in the Store here, for `judge_apps`."""

    request: Request
    packages: tuple[Package, ...]


def package_apps(
    apps: Sequence[App],
    *,
    source: Source,
    forms: Sequence[Form] = BOTH,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Packages:
    """The first half of `plan_apps`: package the Apps, for which no target is needed.

    forms: what the Apps are to be moved as. store: where the images are kept on this machine, by
    default $PORTKIT_STORE or the user's data folder. observer: is told of progress.

    To judge Apps for several hosts, package them once and call `judge_apps` for each host.
    """
    request = _request(apps, source, forms, store, observer)
    return Packages(request, prepare.package(request))


def judge_apps(packages: Packages, target: Host, *, pack_disk: bool = True) -> tuple[Report, ...]:
    """The second half of `plan_apps`: judge packaged Apps for one host, which is only read.

    What packaging cost is in the Reports of the first host.
    """
    job = packages.request.to(target)
    packed = prepare.judge(packages.packages, job, pack_disk=pack_disk)
    return tuple(_foreseen(each, None, {}) for each in packed)


def check_apps(
    packages: Packages,
    targets: Mapping[str, AbstractContextManager[Host]] | None = None,
    profiles: Sequence[Profile] = (),
) -> Matrix:
    """Where packaged Apps can run, in each Form. Hosts are only read.

    targets: by their names, what `portkit.connect` returns, not entered yet. A host that cannot be
    reached has cells whose verdict is `unknown`; where nothing else was asked for, its error is
    raised. profiles: kinds of hosts that are known from documents, `portkit.load_profile`.
    """
    request = packages.request
    found = [_asked(packages, name, target) for name, target in (targets or {}).items()]
    found += [matrix.documented(packages.packages, request, profile) for profile in profiles]
    errors = [host.error for host, _ in found if host.error is not None]
    if errors and len(errors) == len(found):
        raise errors[0]
    return Matrix(
        apps=tuple(app.name for app in request.apps),
        forms=request.forms,
        hosts=tuple(host for host, _ in found),
        cells=tuple(cell for _, cells in found for cell in cells),
    )


def _asked(
    packages: Packages, name: str, target: AbstractContextManager[Host]
) -> tuple[HostKnown, tuple[Cell, ...]]:
    try:
        # One after the other: a host need not be connected while another one is judged.
        with target as host:
            reports = judge_apps(packages, host, pack_disk=False)
            return matrix.asked(name, reports, host.kept_s)
    except (HostError, TransferError) as error:
        return matrix.unreachable(name, packages.request, error)


def prove_apps(
    packages: Packages,
    found: Matrix,
    targets: Mapping[str, AbstractContextManager[Host]],
    *,
    journal: Journal | None = None,
    told: Callable[[Cell], None] = lambda cell: None,
) -> Matrix:
    """Try what `check_apps` predicted: the Matrix with what was observed in each cell.

    Each cell is a Move that keeps nothing: the App is sent, started, measured and removed, also
    where a rule says that it cannot run. What would harm others on the host is not tried. found: of
    the same packages. targets: as for `check_apps`, connected anew. told: is called with each cell
    as soon as it was tried. A disagreement is in the Matrix (`Observed.agrees`), no error.
    """
    request = packages.request
    return prove.prove(found, packages.packages, request, targets, journal or Journal(), told)


def measure_isolation(
    packages: Packages,
    found: Matrix,
    targets: Mapping[str, AbstractContextManager[Host]],
    *,
    journal: Journal | None = None,
) -> Matrix:
    """Measure what keeps each App apart from each host: the Matrix with `Cell.isolation`.

    Each cell is a Move that keeps nothing, in which a probe takes the place of the service that
    answers for the App, with its user, capabilities, security options, mounts and limits; the other
    services are left out, and nothing is published. It changes nothing. A cell in which it could
    not run says why. found, targets: as for `prove_apps`.
    """
    request = packages.request
    return isolate.isolate(found, packages.packages, request, targets, journal or Journal())


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
    bundle, the App is `bundle.app`. forms: what an App is moved as; they are booted one after the
    other on the same port. keep: the form that goes on running, the other stays ready to start;
    with None, everything is removed after measuring. repeat: how often each form is started and
    measured, with a full stop in between. pauses: where the Move of a running App waits until
    `go_on` is called for it, by whatever process. after_commit: commands for `/bin/sh -c` on this
    machine and in its present folder, run for each App when the target has kept it
    (docs/environment.md has their environment). forward: the source of a running App forwards its
    TCP ports from then on. journal: where the Moves are recorded, by default in the user's state
    folder. moved: is called with each Report as soon as its Move has ended well.

    Several Apps are packaged and checked, alone and together, before bytes move for any of them;
    then they go one after the other over the same connections, each as a Move of its own. When one
    fails, it is rolled back, those before it stay on the target, those after it are not tried, and
    the error says which. When a command after the commit fails, the App stays on the target and
    HookError is raised; `resume` tries that command again.

    Before bytes move, IncompatibleError, ConflictError or SpaceError is raised for what stands in
    the way. When a stage fails later, the Move is rolled back and the error of that stage raised.
    """
    if not forms or len(set(forms)) != len(forms):
        raise AppError(
            "no form was named, or one was named twice", details=", ".join(forms) or "none"
        )
    _check_running(apps, source, forms, keep, repeat, pauses)
    if forward:
        refuse_forward(apps, source.host, target)
    course = Course(tuple(pauses), hooks_of(after_commit, keep), forward)
    # The default names the image; who moves the disk alone means to keep the disk.
    if keep is not None and keep not in forms:
        keep = forms[-1]
    job = _request(apps, source, forms, store, observer).to(target)
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


def _request(
    apps: Sequence[App],
    source: Source,
    forms: Sequence[Form],
    store: Store | None,
    observer: Observer | None,
) -> Request:
    if not apps:
        raise AppError("no App to move")
    store, observer = store or Store(default_root()), observer or NullObserver()
    return Request(tuple(apps), source, tuple(forms), store, observer)


def _check_running(
    apps: Sequence[App],
    source: Source,
    forms: Sequence[Form],
    keep: Form | None,
    repeat: int,
    pauses: Sequence[Pause],
) -> None:
    """AppError for what cannot be done with data that is in use."""
    _refuse_volumes(apps, forms)
    running = [app.name for app in apps if app.running]
    if pauses and len(running) < len(apps):
        raise AppError(
            "only the Move of a running App can wait before its cutover",
            details=", ".join(app.name for app in apps),
            resolution="Leave out --hold and --confirm, or name what runs: container:NAME, "
            "project:NAME or vm:NAME.",
        )
    why = ""
    if len(forms) > 1:
        why = "only one form can take over its data: choose --form image or --form disk"
    elif (
        Form.DISK in forms
        and Form.IMAGE in source.forms  # what was a VM before has said so by a finding
        and any(s.quiesce.after for app in apps for s in app.services)
    ):
        why = "portkit cannot run x-portkit.quiesce.after in a VM: choose --form image"
    elif keep is None:
        why = "it would run nowhere afterwards: leave out --keep none"
    elif repeat > 1:
        why = (
            "it is started on the target only once: leave out --repeat, and run portkit "
            "measure later"
        )
    if running and why:
        raise AppError(
            f"this is not possible for a running App: {why.partition(':')[0]}",
            details=", ".join(running),
            resolution=why.partition(": ")[2].capitalize() + ".",
        )


def _refuse_volumes(apps: Sequence[App], forms: Sequence[Form]) -> None:
    """AppError where volumes of the target are to be used by a VM."""
    used = (OnTaken.OVERRIDE, OnTaken.KEEP)
    names = [each.name for app in apps for each in app.volumes if each.on_taken in used]
    if names and Form.DISK in forms:
        raise AppError(
            "in a VM, volumes are the VM's own disks and do not replace another volume",
            details=f"--volumes override or keep, for {', '.join(names)[:300]}",
            resolution="Leave out --volumes, or choose --form image.",
        )


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


def _foreseen(
    packed: Packed, cutover: Foreseen | None, costs: Mapping[tuple[str, Form], Prediction]
) -> Report:
    reports = []
    for form, artifact in packed.artifacts.items():
        findings = packed.findings[form]
        verdict = compat.verdict(findings, packed.target, form)
        cost = costs.get((packed.app.name, form))
        reports.append(FormReport(form, artifact, verdict, findings, predicted=cost))
    figures = predict.beside(reports, cutover, None, None)
    return packed.report(
        packed.turn.clock.take(),
        reports,
        dry_run=True,
        predictions=figures,
        survey_bytes=cutover.survey_bytes if cutover else 0,
    )


to_json = report_room.to_json
