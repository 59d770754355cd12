"""The Move: an App goes through every stage, in each Form, and comes out as a Report.

    App -> package -> Artifact -> transfer -> boot -> Instance -> measure -> Report

`plan_app` reports what `move_app` would meet and changes nothing on the target. `move_app` carries
a Move out as recorded steps; when one fails, for whatever reason, nothing of the Move stays on the
target. Where even that was impossible, because portkit was killed or the target is gone, `resume`
and `rollback` end the Move later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from portkit import app as app_room
from portkit import compat
from portkit import report as report_room
from portkit.clock import Clock
from portkit.errors import AppError, PortkitError
from portkit.host import Host
from portkit.model import App, Artifact, Form
from portkit.move import prepare, unfinished
from portkit.move.again import Measured, measure_again
from portkit.move.carry import carry_out
from portkit.move.journal import Entry, Journal, MoveState
from portkit.move.prepare import Job, Package, Packed, Request, new_id
from portkit.move.unfinished import Ended, resume, rollback, rollback_on
from portkit.progress import NullObserver, Observer
from portkit.report import FormReport, Report
from portkit.source import Source
from portkit.store import Store, default_root

__all__ = [
    "BOTH",
    "Ended",
    "Entry",
    "Journal",
    "Measured",
    "MoveState",
    "Packages",
    "judge_apps",
    "measure_again",
    "move_app",
    "move_apps",
    "new_id",
    "pack",
    "package_apps",
    "plan_app",
    "plan_apps",
    "resume",
    "rollback",
    "rollback_on",
    "to_json",
]

BOTH = (Form.IMAGE, Form.DISK)


def pack(
    app: App,
    *,
    source: Source,
    forms: Sequence[Form] = BOTH,
    store: Store | None = None,
    observer: Observer | None = None,
) -> dict[Form, Artifact]:
    """The Artifacts of an App in the Store here; built on the source's engine where it says so."""
    store = store or Store(default_root())
    clock = Clock(observer or NullObserver())
    image = source.image(app, store, clock)
    artifacts = {Form.IMAGE: image}
    if Form.DISK in forms:
        spec = app_room.resolve(app, image.config)
        artifacts[Form.DISK] = source.disk(image, spec, store, clock)
    return {form: artifacts[form] for form in forms}


def plan_app(
    app: App,
    *,
    source: Source,
    target: Host,
    forms: Sequence[Form] = BOTH,
    pack_disk: bool = True,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Report:
    """A dry run: the App is packaged on the source and here, the target is only read.

    pack_disk: False spares the time that making the disk takes; its FormReport has no artifact.
    """
    reports = plan_apps(
        (app,),
        source=source,
        target=target,
        forms=forms,
        pack_disk=pack_disk,
        store=store,
        observer=observer,
    )
    return reports[0]


def plan_apps(
    apps: Sequence[App],
    *,
    source: Source,
    target: Host,
    forms: Sequence[Form] = BOTH,
    pack_disk: bool = True,
    store: Store | None = None,
    observer: Observer | None = None,
) -> tuple[Report, ...]:
    """`plan_app` for several Apps: also whether they can be on the target together."""
    packages = package_apps(apps, source=source, forms=forms, store=store, observer=observer)
    return judge_apps(packages, target, pack_disk=pack_disk)


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

    To judge Apps for several hosts, package them once and call `judge_apps` for each host.
    """
    request = _request(apps, source, forms, store, observer)
    return Packages(request, prepare.package(request))


def judge_apps(packages: Packages, target: Host, *, pack_disk: bool = True) -> tuple[Report, ...]:
    """The second half of `plan_apps`: judge packaged Apps for one host, which is only read.

    What packaging cost is in the Reports of the first host.
    """
    job = packages.request.to(target)
    return tuple(
        packed.report(packed.turn.clock.take(), _foreseen(packed), dry_run=True)
        for packed in prepare.judge(packages.packages, job, pack_disk=pack_disk)
    )


def move_app(
    app: App,
    *,
    source: Source,
    target: Host,
    forms: Sequence[Form] = BOTH,
    keep: Form | None = Form.IMAGE,
    repeat: int = 1,
    store: Store | None = None,
    observer: Observer | None = None,
    journal: Journal | None = None,
) -> Report:
    """Move an App: package, transfer, boot, measure. It runs on the target afterwards.

    source: where the image is or is built (`portkit.source.OnHost`), or a bundle (`InBundle`;
    `app` is its own then). forms: booted one after the other on the same port. keep: the one that
    goes on running there (the only one, where it is not among them), the other stays ready; None
    removes everything after measuring. repeat: how often each is started and measured, with a full
    stop between. journal: where the Move is recorded, the user's own by default.
    Raises IncompatibleError, ConflictError or SpaceError before bytes move, and the error of the
    stage that failed; then everything of this Move is off the target again.
    """
    reports = move_apps(
        (app,),
        source=source,
        target=target,
        forms=forms,
        keep=keep,
        repeat=repeat,
        store=store,
        observer=observer,
        journal=journal,
    )
    return reports[0]


def move_apps(
    apps: Sequence[App],
    *,
    source: Source,
    target: Host,
    forms: Sequence[Form] = BOTH,
    keep: Form | None = Form.IMAGE,
    repeat: int = 1,
    store: Store | None = None,
    observer: Observer | None = None,
    journal: Journal | None = None,
    moved: Callable[[Report], None] = lambda report: None,
) -> tuple[Report, ...]:
    """Move several Apps as `move_app` does, one after the other over the same connections.

    All are packaged and checked, alone and together, before a byte goes for any. Each is a Move of
    its own: when one fails, those before it stay, and those after it are not tried; the error says
    which. moved: gets each Report when its Move has ended well.
    """
    if not forms or len(set(forms)) != len(forms):
        raise AppError("no form to move, or one twice", details=", ".join(forms) or "none")
    if keep is not None and keep not in forms:
        keep = forms[-1]
    job = _request(apps, source, forms, store, observer).to(target)
    journal = journal or Journal()
    for app in apps:
        unfinished.refuse(journal, app.name, target.name)
    done: list[Report] = []
    for packed in prepare.prepare(job):
        try:
            with job.about(packed.app, "moving"):
                report = carry_out(packed, job, journal, keep, repeat)
        except BaseException as error:
            _say_how_far(error, job, len(done))
            raise
        done.append(report)
        moved(report)
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


def _foreseen(packed: Packed) -> list[FormReport]:
    reports = []
    for form, artifact in packed.artifacts.items():
        findings = packed.findings[form]
        verdict = compat.verdict(findings, packed.target, form)
        reports.append(FormReport(form, artifact, verdict, findings))
    return reports


to_json = report_room.to_json
