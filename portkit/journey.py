"""One Form's way to the target: transferred, booted, measured, kept. `move` composes them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from portkit import boot, compat, health, measure, process, transfer
from portkit import watch as watching
from portkit.errors import BootError, PortkitError
from portkit.host import Host
from portkit.model import Artifact, Facts, Finding, Form, RunSpec
from portkit.progress import Observer
from portkit.report import Boot, FormReport, Phase, Sent, Transfer
from portkit.store import Store
from portkit.transfer.deliver import Delivery
from portkit.transfer.forward import Parcel


@dataclass
class Clock:
    """One monotonic clock for a whole Move; phases are told to the observer and kept."""

    observer: Observer
    started: float = field(default_factory=time.monotonic)
    stopped: float = field(default_factory=time.monotonic)
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def going(self) -> Iterator[None]:
        """The time from the end of such a block to the next one is not the Move's own."""
        self.started += time.monotonic() - self.stopped
        try:
            yield
        finally:
            self.stopped = time.monotonic()

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


@dataclass
class Journey:
    """An Artifact and what its Move has measured so far; `stack` takes back what it does."""

    move: str
    spec: RunSpec
    artifact: Artifact
    facts: Facts
    target: Host
    clock: Clock
    stack: ExitStack
    phases: list[Phase] = field(default_factory=list)
    sent: transfer.TransferResult | None = None
    answers: list[measure.Answer] = field(default_factory=list)
    from_move_s: float = 0.0
    way: health.Way | None = None

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        with self.clock.phase(name):
            yield
        self.phases += self.clock.take()

    def send(self, store: Store, parcels: Mapping[str, Parcel] | None = None) -> None:
        """The Artifact into the target's engine or Store, verified there."""
        with self._phase("transfer"):
            new = transfer.missing(self.artifact, self.target)
            unhold = not transfer.is_held(self.artifact, self.target)
            self._take_back(
                lambda: transfer.release(self.artifact, self.target, new, unhold=unhold),
                f"portkit gc --on {self.target.name}",
            )
            self.sent = transfer.send(
                self.artifact, store, self.target, self.clock.observer,
                new=new, parcels=parcels or {},
            )  # fmt: skip

    def start(self, repeat: int, *, keep: bool) -> None:
        """Create, then start and measure `repeat` times; it ends stopped unless it is kept."""
        with boot.runner(self.target, self.artifact.form) as runner:
            with self._phase("create"):
                later = f"portkit rm {self.move} --on {self.target.name}"
                self._take_back(self._remove, later)
                with process.uninterrupted():  # none must appear after it was looked for
                    runner.create(
                        self.artifact,
                        transfer.held_name(self.artifact),
                        self.spec,
                        self.move,
                        self.facts,
                    )
            watch = self._watch(runner)
            for number in range(1, repeat + 1):
                with self._phase(f"boot {self.artifact.form}" + f" {number}" * (number > 1)):
                    started = time.monotonic()
                    runner.start(self.move)
                    self.answers.append(watch.first_answer(started))
                if number == 1:
                    self.from_move_s = time.monotonic() - self.clock.started
                if number == repeat:
                    with self._phase("settle"):
                        watch.settle()
                if number < repeat or not keep:
                    with self._phase("stop"):
                        runner.stop(self.move, self.spec.stop_grace_period_s)

    def _watch(self, runner: boot.Runner) -> watching.Watch:
        self.way = health.way_of(self.spec, self.artifact.form)
        return watching.watch(
            runner, self.move, self.target, self.spec.health, self.way, self.spec.healthcheck
        )

    def commit(self, name: str | None) -> None:
        """It starts by itself from now on, and an image gets the user's name where it is free."""
        with boot.runner(self.target, self.artifact.form) as runner:
            status, code = runner.state(self.move)
            if status != "running":  # it answered and ended: no host to leave it on
                raise BootError(
                    "the app ended after its first answer"
                    + ("" if code is None else f", with code {code}"),
                    details=runner.logs(self.move, 30).strip(),
                    resolution="See its last words above.",
                )
            runner.commit(self.move, self.spec)
        held = transfer.held_name(self.artifact)
        if not held or not name or name.startswith("sha256:"):
            return
        if not transfer.tag(self.target, held, name):
            self.clock.observer.message(
                f"{name} is another image on {self.target.name}; that name was left alone"
            )

    def report(self, findings: tuple[Finding, ...], state: str) -> FormReport:
        """What was measured, as a part of the Move's Report."""
        assert self.sent is not None
        assert self.way is not None
        form, facts, sent = self.artifact.form, self.facts, self.sent
        engine = ("docker", facts.docker_version, "none")
        if form is Form.DISK:
            engine = ("libvirt", facts.libvirt_version, facts.accelerator)
        first = self.answers[0]
        return FormReport(
            form=form,
            artifact=self.artifact,
            verdict=compat.verdict(findings, facts, form),
            findings=findings,
            phases=tuple(self.phases),
            transfer=Transfer(
                sent.sent_bytes,
                sent.received_bytes,
                sent.reused_bytes,
                round(sent.seconds, 3),
                sent.counter,
                tuple(_sent(delivery) for delivery in sent.deliveries),
            ),
            boot=Boot(
                engine=engine[0],
                version=engine[1] or "",
                accelerator=engine[2],
                url=first.url,
                status=first.status,
                method=first.method,
                reason="; ".join(self.way.reasons),
                vantage=first.vantage,
                poll_s=first.poll_s,
            ),
            from_move_s=round(self.from_move_s, 3),
            from_boot_s=tuple(round(answer.seconds, 3) for answer in self.answers),
            instance=self.move,
            state=state,
        )

    def _take_back(self, step: Callable[[], None], later: str) -> None:
        """A step for the way back. When it fails there, the error that led to it stays the one
        that is raised, and `later` is the command that does it."""

        def undo() -> None:
            failing = sys.exception() is not None
            try:
                step()
            except PortkitError as error:
                if not failing:
                    raise
                self.clock.observer.message(
                    f"could not clean up on {self.target.name}: {error.brief}; later: {later}"
                )

        self.stack.callback(undo)

    def _remove(self) -> None:
        with boot.runner(self.target, self.artifact.form) as runner:
            runner.remove(self.move)


def _sent(row: Delivery) -> Sent:
    return Sent(
        row.digest,
        row.size,
        row.literal,
        row.copied,
        row.zero,
        row.sent,
        row.bases,
        row.packing.encoding,
        row.packing.level,
        row.packing.window,
        row.reason,
        row.resumed,
    )
