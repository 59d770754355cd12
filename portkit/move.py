"""The pipeline: an App goes through every stage, in each Form, and comes out as a Report.

    App -> package -> Artifact -> transfer -> boot -> Instance -> measure -> Report

`plan` says what `run` would meet and changes nothing on the target. `run` leaves nothing of its
own on the target when it fails, whatever the reason.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from portkit import app as apps
from portkit import boot, compat, measure, report, transfer
from portkit.bundle import Bundle
from portkit.errors import (
    AppError,
    ConflictError,
    IncompatibleError,
    PortkitError,
    SpaceError,
)
from portkit.guest.kit import build_kit
from portkit.host import Host
from portkit.journey import Clock, Journey, first_answer, health_port, vantage
from portkit.model import (
    App,
    Artifact,
    Facts,
    Finding,
    Form,
    Instance,
    Port,
    RunSpec,
    Severity,
)
from portkit.package import disk as disks
from portkit.package import image as images
from portkit.package.build import build
from portkit.progress import NullObserver, Observer
from portkit.report import FormReport, Phase, Report
from portkit.store import Store, default_root
from portkit.transfer.forward import held

BOTH = (Form.IMAGE, Form.DISK)
# What a kit adds to a disk, for checks before one is made; a real one had 15 MB.
_KIT_BYTES = 64 << 20


@dataclass(frozen=True)
class Packed:
    """What is known before a byte goes to the target. findings: of the App and of each Form."""

    move: str
    app: App
    spec: RunSpec
    image: Artifact
    artifacts: Mapping[Form, Artifact | None]
    source: Facts
    target: Facts
    findings: Mapping[Form, tuple[Finding, ...]]


def new_id() -> str:
    """A Move's id: "pk-" and 12 hex digits, not to be guessed."""
    return "pk-" + secrets.token_hex(6)


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
    image = _image(app, source, store, clock)
    spec = apps.resolve(app, image.config)
    return {form: _artifact(form, source, image, spec, store, clock) for form in forms}


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
    store, clock = store or Store(default_root()), Clock(observer or NullObserver())
    packed = _package(app, source, target, store, clock, forms, pack_disk=pack_disk)
    found = [
        FormReport(
            form,
            packed.artifacts[form],
            compat.verdict(packed.findings[form], packed.target, form),
            packed.findings[form],
        )
        for form in forms
    ]
    return _report(packed, source, target, clock.take(), found, dry_run=True)


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
    store, clock = store or Store(default_root()), Clock(observer or NullObserver())
    if not forms or len(set(forms)) != len(forms):
        raise AppError("no form to move, or one twice", details=", ".join(forms) or "none")
    if keep is not None and keep not in forms:
        keep = forms[-1]
    packed = _package(app, source, target, store, clock, forms)
    before = clock.take()
    _refuse([finding for form in forms for finding in packed.findings[form]])
    parcels = source.parcels(store) if isinstance(source, Bundle) else {}
    with ExitStack() as stack:
        journeys = {}
        for form, artifact in packed.artifacts.items():
            assert artifact is not None, "only a plan leaves one out"
            journeys[form] = Journey(
                packed.move, packed.spec, artifact, packed.target, target, clock, stack
            )
            journeys[form].send(store, parcels)
        # The one that is kept comes last: it need not be started once more.
        for form in sorted(forms, key=lambda form: form is keep):
            journeys[form].start(repeat, keep=form is keep)
        if keep is not None:
            journeys[keep].commit(packed.app.service.image)
            stack.pop_all()
    found = [
        journeys[form].report(
            packed.findings[form],
            "removed" if keep is None else "running" if form is keep else "ready",
        )
        for form in forms
    ]
    return _report(packed, source, target, before, found)


@dataclass(frozen=True)
class Measured:
    """TTFR of an Instance that was there: seconds from the call that started it, one each time."""

    instance: Instance
    from_boot_s: tuple[float, ...]
    url: str
    vantage: str
    poll_s: float = measure.POLL_S


def measure_again(app: App, target: Host, *, form: Form | None = None, repeat: int = 1) -> Measured:
    """Stop an App's Instance on a host, start it and ask, `repeat` times; it ends running.

    AppError when the host has none, or more than one that could be meant.
    """
    one = boot.find(boot.instances(target), app.name, form)
    health, ports = app.service.health, app.service.ports
    if not ports:  # a Dockerfile's or an image's: what the engine says is published
        ports = tuple(Port(int(text.removeprefix(":"))) for text in one.url.split())
    address, seen_from = vantage(target, health_port(ports, health))
    answers = []
    with boot.runner(target, one.form) as runner:
        for _ in range(repeat):
            runner.stop(one.id)
            started = time.monotonic()
            runner.start(one.id)
            answers.append(first_answer(runner, one.id, health, address, started))
    seconds = tuple(round(answer.seconds, 3) for answer in answers)
    return Measured(replace(one, status="running", exit_code=None), seconds, answers[0].url,
                    seen_from)  # fmt: skip


def _image(app: App, source: Host | Bundle, store: Store, clock: Clock) -> Artifact:
    if isinstance(source, Bundle):
        with clock.phase("unpack"):
            if Form.IMAGE not in source.forms:
                return source.described(Form.IMAGE)
            return source.artifact(Form.IMAGE, store, clock.observer)
    reference = app.service.image
    if app.service.build is not None:
        with clock.phase("build"):
            reference = build(source, app.service.build, clock.observer)
    assert reference is not None, "the readers give every service an image or a build"
    with clock.phase("package image"):
        return images.fetch(source, reference, store, clock.observer)


def _artifact(
    form: Form, source: Host | Bundle, image: Artifact, spec: RunSpec, store: Store, clock: Clock
) -> Artifact:
    if form is Form.IMAGE:
        return image
    if isinstance(source, Bundle):
        with clock.phase("unpack disk"):
            return source.artifact(form, store, clock.observer)
    with clock.phase("package disk"):
        return disks.build(
            image,
            apps.defaults(image.config),
            build_kit(architecture=image.config.architecture),
            store,
            disk_bytes=spec.machine.disk_bytes,
            observer=clock.observer,
        )


def _package(
    app: App,
    source: Host | Bundle,
    target: Host,
    store: Store,
    clock: Clock,
    forms: Sequence[Form],
    *,
    pack_disk: bool = True,
) -> Packed:
    if isinstance(source, Bundle):
        source.require(forms)
        _refuse_lacking(source, target, store)
    with clock.phase("look at the hosts"):
        facts = source.facts(), target.facts()
    image = _image(app, source, store, clock)
    spec = apps.resolve(app, image.config)
    health_port(spec.ports, spec.health)  # an App that cannot be asked cannot be moved and measured
    running = () if isinstance(source, Bundle) else _running(app, source, facts[0])
    findings: dict[Form, tuple[Finding, ...]] = {}
    artifacts: dict[Form, Artifact | None] = {}
    for form in forms:
        found = running + compat.check(spec, image.config, facts[1], form)
        findings[form] = app.findings + found
        # A disk takes time to make: not for a host that could never boot it.
        skipped = form is Form.DISK and (_hopeless(found) or not pack_disk)
        artifacts[form] = None if skipped else _artifact(form, source, image, spec, store, clock)
    full = _space(artifacts, findings, image, facts[1], target)
    findings = {form: found + full for form, found in findings.items()}
    return Packed(new_id(), app, spec, image, artifacts, *facts, findings)


def _hopeless(findings: Sequence[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def _space(
    artifacts: Mapping[Form, Artifact | None],
    findings: Mapping[Form, tuple[Finding, ...]],
    image: Artifact,
    facts: Facts,
    target: Host,
) -> tuple[Finding, ...]:
    """Whether the target has room for all forms at once; it is not asked for what is refused."""
    new, more = [], 0
    for form, artifact in artifacts.items():
        if _hopeless(findings[form]):
            continue
        if artifact is None:
            more += image.stored_bytes + _KIT_BYTES
        else:
            new.append((artifact, transfer.missing(artifact, target)))
    return compat.space(facts, new, more)


def _refuse_lacking(bundle: Bundle, target: Host, store: Store) -> None:
    """IncompatibleError when the target has not what was left out of the bundle."""
    needs = bundle.needs(store)
    lacking = sorted(set(needs) - held(target, needs))
    if lacking:
        raise IncompatibleError(
            f"the bundle was made for {bundle.document.made_for or 'another host'}, and "
            f"{target.name} lacks what was left out of it",
            details="\n".join(f"{digest}, {needs[digest]} bytes" for digest in lacking[:50]),
            resolution="Pack it without --for, or for this host's own inventory.",
        )


def _running(app: App, source: Host, facts: Facts) -> tuple[Finding, ...]:
    """The App as it runs on the source, started by compose, by portkit or, for an image's bare
    name, by anybody: moving it as well would make two owners."""
    args = {
        "reference": app.service.image if app.service.image == app.source else None,
        "app": app.name,
        "service": app.service.name,
    }
    names = list(source.remote.call("image.containers", args)["running"])
    if facts.libvirt_version is not None:
        with boot.runner(source, Form.DISK) as domains:
            found = domains.instances()
        names += [row.id for row in found if row.app == app.name and row.status == "running"]
    if not names:
        return ()
    return (
        Finding(
            "running",
            Severity.ERROR,
            "the App is running on the source",
            f"{source.name}: {', '.join(names)}",
            "Stop it there first; portkit does not move a running App's state yet.",
        ),
    )


def _refuse(findings: Sequence[Finding]) -> None:
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not wrong:
        return
    raise _kind({finding.rule for finding in wrong})(
        "; ".join(dict.fromkeys(finding.message for finding in wrong)),
        details="\n".join(dict.fromkeys(f"{f.rule}: {f.evidence}" for f in wrong if f.evidence)),
        resolution=" ".join(dict.fromkeys(f.remedy for f in wrong if f.remedy)),
    )


def _kind(rules: set[str]) -> type[PortkitError]:
    if rules == {"space"}:
        return SpaceError
    return ConflictError if rules <= {"port-free", "running"} else IncompatibleError


def _report(
    packed: Packed,
    source: Host | Bundle,
    target: Host,
    phases: tuple[Phase, ...],
    forms: Sequence[FormReport],
    *,
    dry_run: bool = False,
) -> Report:
    ends = source.counters(), target.counters()
    return Report(
        move=packed.move,
        app=packed.app,
        source=packed.source,
        target=packed.target,
        source_link_bytes=ends[0].sent + ends[0].received,
        target_link_bytes=ends[1].sent + ends[1].received,
        phases=phases,
        forms=tuple(forms),
        dry_run=dry_run,
    )


to_json = report.to_json
