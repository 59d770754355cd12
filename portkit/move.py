"""The pipeline: an App goes through every stage, in each Form, and comes out as a Report.

    App -> package -> Artifact -> transfer -> boot -> Instance -> measure -> Report

`plan` says what `run` would meet and changes nothing on the target. `run` leaves nothing of its
own on the target when it fails, whatever the reason.
"""

from __future__ import annotations

import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from portkit import app as apps
from portkit import boot, compat, measure, process, report, transfer
from portkit.errors import AppError, BootError, ConflictError, IncompatibleError, PortkitError
from portkit.host import Host
from portkit.model import App, Artifact, Facts, Finding, Form, RunSpec, Severity
from portkit.package import image as images
from portkit.package.build import build
from portkit.progress import NullObserver, Observer
from portkit.report import Boot, FormReport, Phase, Report, Transfer
from portkit.store import Store, default_root


@dataclass
class Clock:
    """One monotonic clock for a whole Move; phases are told to the observer and kept."""

    observer: Observer
    started: float = field(default_factory=time.monotonic)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase, also when it fails."""
        self.observer.phase(name)
        begun = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            row = Phase(name, round(begun - self.started, 3), round(seconds, 3))
            self.phases.append(row)

    def take(self) -> tuple[Phase, ...]:
        """The phases since the last call."""
        taken, self.phases = tuple(self.phases), []
        return taken


@dataclass(frozen=True)
class Packed:
    """What is known before a byte goes to the target."""

    move: str
    clock: Clock
    app: App
    spec: RunSpec
    artifact: Artifact
    source: Facts
    target: Facts
    findings: tuple[Finding, ...]


def new_id() -> str:
    """A Move's id: "pk-" and 12 hex digits, not to be guessed."""
    return "pk-" + secrets.token_hex(6)


def plan(
    app: App,
    *,
    source: Host,
    target: Host,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Report:
    """A dry run: the App is packaged on the source and here, the target is only read."""
    packed = _package(app, source, target, store or Store(default_root()), observer)
    verdict = compat.verdict(packed.findings, packed.target, Form.IMAGE)
    form = FormReport(Form.IMAGE, packed.artifact, verdict, packed.findings)
    return _report(packed, source, target, packed.clock.take(), form, dry_run=True)


def run(
    app: App,
    *,
    source: Host,
    target: Host,
    forms: Sequence[Form] = (Form.IMAGE,),
    keep: Form | None = Form.IMAGE,
    repeat: int = 1,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Report:
    """Move an App: package, transfer, boot, measure. It runs on the target afterwards.

    keep: the Form that goes on running there; None removes everything after measuring.
    repeat: how often it is started and measured, with a full stop between.
    Raises IncompatibleError or ConflictError before bytes move, and the error of the stage
    that failed; then everything of this Move is off the target again.
    """
    if tuple(forms) != (Form.IMAGE,):
        raise AppError(
            "portkit moves images only for now",
            details="forms: " + ", ".join(forms),
            resolution="Use --form image.",
        )
    store = store or Store(default_root())
    packed = _package(app, source, target, store, observer)
    before = packed.clock.take()
    _refuse(packed.findings)
    with ExitStack() as stack:
        form = _form(packed, target, store, stack, repeat=repeat, keep=keep is not None)
        if keep is not None:
            stack.pop_all()
    return _report(packed, source, target, before, form)


def _package(
    app: App, source: Host, target: Host, store: Store, observer: Observer | None
) -> Packed:
    clock = Clock(observer or NullObserver())
    with clock.phase("look at the hosts"):
        facts = source.facts(), target.facts()
    reference = app.service.image
    if app.service.build is not None:
        with clock.phase("build"):
            reference = build(source, app.service.build, clock.observer)
    assert reference is not None, "the readers give every service an image or a build"
    with clock.phase("package"):
        _refuse_running(source, reference)
        artifact = images.fetch(source, reference, store, clock.observer)
    spec = apps.resolve(app, artifact.config)
    found = compat.check(
        spec, artifact.config, facts[1], Form.IMAGE, need_bytes=artifact.logical_bytes
    )
    return Packed(new_id(), clock, app, spec, artifact, *facts, app.findings + found)


def _refuse_running(source: Host, reference: str) -> None:
    running = source.remote.call("image.containers", {"reference": reference})["running"]
    if running:
        raise ConflictError(
            "the App is running on the source",
            details=f"{source.name}: {', '.join(running)}",
            resolution="Stop it there first; portkit does not move a running App's state yet.",
        )


def _refuse(findings: Sequence[Finding]) -> None:
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not wrong:
        return
    kind = ConflictError if {f.rule for f in wrong} == {"port-free"} else IncompatibleError
    raise kind(
        "; ".join(finding.message for finding in wrong),
        details="\n".join(f"{f.rule}: {f.evidence}" for f in wrong if f.evidence),
        resolution=" ".join(dict.fromkeys(f.remedy for f in wrong if f.remedy)),
    )


def _form(
    packed: Packed, target: Host, store: Store, stack: ExitStack, *, repeat: int, keep: bool
) -> FormReport:
    """One Form's way to the target; `stack` takes it all back."""
    clock, spec, identity = packed.clock, packed.spec, packed.move
    held = transfer.held_name(packed.artifact)
    with clock.phase("transfer"):
        stack.callback(_undo, packed, target, lambda: transfer.release(target, held))
        sent = transfer.send(packed.artifact, store, target, clock.observer)
    with boot.runner(target, Form.IMAGE) as runner:
        with clock.phase("create"):
            stack.callback(_undo, packed, target, lambda: _remove(target, identity))
            with process.uninterrupted():  # a container must not appear after it was looked for
                runner.create(packed.artifact, held, spec, identity)
        address, vantage = _vantage(target, spec)
        answers: list[measure.Answer] = []
        from_move = 0.0
        for number in range(repeat):
            with clock.phase("boot" if number == 0 else f"boot {number + 1}"):
                started = time.monotonic()
                runner.start(identity)
                answers.append(_answer(runner, packed, address, started))
            if number == 0:
                from_move = time.monotonic() - clock.started
            if number + 1 < repeat:
                with clock.phase("stop"):
                    runner.stop(identity, spec.stop_grace_period_s)
        if keep:
            runner.commit(identity, spec.restart)
            _tag(packed, target, held)
    facts = packed.target
    return FormReport(
        form=Form.IMAGE,
        artifact=packed.artifact,
        verdict=compat.verdict(packed.findings, facts, Form.IMAGE),
        findings=packed.findings,
        phases=clock.take(),
        transfer=Transfer(
            sent.sent_bytes,
            sent.received_bytes,
            sent.reused_bytes,
            round(sent.seconds, 3),
            sent.counter,
        ),
        boot=Boot("docker", facts.docker_version or "", "none", answers[0].url, answers[0].status),
        from_move_s=round(from_move, 3),
        from_boot_s=tuple(round(answer.seconds, 3) for answer in answers),
        vantage=vantage,
        poll_s=measure.POLL_S,
        instance=identity,
        state="running" if keep else "removed",
    )


def _undo(packed: Packed, target: Host, step: Callable[[], None]) -> None:
    """A step back. When it fails, the error that led here stays the one that is raised."""
    try:
        step()
    except PortkitError as error:
        if sys.exc_info()[0] is None:
            raise
        packed.clock.observer.message(
            f"could not clean up on {target.name}: {error.brief}; "
            f"later: portkit rm {packed.move} --on {target.name}"
        )


def _remove(target: Host, identity: str) -> None:
    with boot.runner(target, Form.IMAGE) as runner:
        runner.remove(identity)


def _tag(packed: Packed, target: Host, held: str) -> None:
    """The user's name for the image, last, and only where it is free."""
    wanted = packed.app.service.image
    if wanted and not wanted.startswith("sha256:") and not transfer.tag(target, held, wanted):
        packed.clock.observer.message(
            f"{wanted} is another image on {target.name}; that name was left alone"
        )


def _vantage(target: Host, spec: RunSpec) -> tuple[tuple[str, int], str]:
    """Where the health URL is asked, and how that place is reached from here."""
    tcp = [port for port in spec.ports if port.protocol == "tcp"]
    wanted = [port for port in tcp if spec.health.port in (None, port.target)]
    if not wanted:
        raise AppError(
            "no published TCP port leads to the app",
            details=f"published: {', '.join(str(p.host_port) for p in tcp) or 'none'}",
            resolution="Publish one with `ports:`; x-portkit.health.port chooses among several.",
        )
    port = wanted[0]
    loopback = port.host_ip.startswith("127.") or port.host_ip == "::1"
    address = port.host_ip if port.host_ip and not loopback else target.address()
    if target.name == "local" or (not loopback and _reachable(address, port.host_port)):
        return (address, port.host_port), "direct"
    return target.forward(port.host_port), "ssh"


def _reachable(address: str, port: int) -> bool:
    """A refusal comes from the host itself: nothing is in the way. Silence is a firewall."""
    try:
        with socket.create_connection((address, port), 2.0):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _answer(
    runner: boot.Runner, packed: Packed, address: tuple[str, int], started: float
) -> measure.Answer:
    def alive() -> None:
        status, code = runner.state(packed.move)
        if status == "exited":
            raise BootError(f"the app exited with code {code} before it answered")

    try:
        return measure.ttfr(packed.spec.health, address, started=started, alive=alive)
    except BootError as error:
        said = runner.logs(packed.move, 30).strip()
        raise BootError(
            error.brief,
            details="\n".join(part for part in (error.details, "its last words:", said) if part),
            resolution=error.resolution or "See its last words above.",
        ) from error


def _report(
    packed: Packed,
    source: Host,
    target: Host,
    phases: tuple[Phase, ...],
    form: FormReport,
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
        forms=(form,),
        dry_run=dry_run,
    )


to_json = report.to_json
