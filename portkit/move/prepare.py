"""What comes before the first byte: Apps packaged and checked, each alone and all together.

Several Apps take turns over the same two connections. Whatever stands in the way of one of them is
told before anything on the target is changed for any.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from portkit import app as app_room
from portkit import compat, health, transfer
from portkit.clock import Clock
from portkit.errors import ConflictError, PortkitError
from portkit.host import Host
from portkit.model import App, Artifact, Facts, Finding, Form, RunSpec, Severity
from portkit.progress import Observer
from portkit.report import FormReport, Phase, Report
from portkit.source import Source
from portkit.store import Store

# What a kit adds to a disk, for checks before one is made; a real one had 15 MB.
_KIT_BYTES = 64 << 20


@dataclass(frozen=True)
class Job:
    """What the Moves of one call have in common."""

    apps: tuple[App, ...]
    source: Source
    target: Host
    forms: tuple[Form, ...]
    store: Store
    observer: Observer

    @contextmanager
    def about(self, app: App, doing: str) -> Iterator[None]:
        """Of several Apps, progress and an error say which one it is."""
        several = len(self.apps) > 1
        if several:
            self.observer.message(f"{app.name}: {doing}")
        try:
            yield
        except PortkitError as error:
            error.brief = f"{app.name}: {error.brief}" if several else error.brief
            raise


@dataclass
class Links:
    """Bytes of both connections; each is told once, to the Move that was at work."""

    source: Source
    target: Host
    told: tuple[int, int] = (0, 0)

    def take(self) -> tuple[int, int]:
        """What went over them, both ways, since the last call; before the first, all."""
        ends, before = (self.source.counters(), self.target.counters()), self.told
        self.told = (ends[0].sent + ends[0].received, ends[1].sent + ends[1].received)
        return self.told[0] - before[0], self.told[1] - before[1]


@dataclass
class Turn:
    """One Move's clock and its bytes; both stand still while the others are at work."""

    clock: Clock
    links: Links
    source_bytes: int = 0
    target_bytes: int = 0

    @contextmanager
    def taken(self) -> Iterator[Clock]:
        """This Move is at work."""
        with self.clock.going():
            yield self.clock
        source, target = self.links.take()
        self.source_bytes += source
        self.target_bytes += target


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
    turn: Turn

    def hopeless(self, form: Form) -> bool:
        """Whether it cannot go in that Form."""
        return any(finding.severity is Severity.ERROR for finding in self.findings[form])

    def report(
        self, phases: tuple[Phase, ...], forms: Sequence[FormReport], *, dry_run: bool = False
    ) -> Report:
        """The Report of this Move. phases: what came before the forms' own."""
        return Report(
            move=self.move,
            app=self.app,
            source=self.source,
            target=self.target,
            source_link_bytes=self.turn.source_bytes,
            target_link_bytes=self.turn.target_bytes,
            phases=phases,
            forms=tuple(forms),
            dry_run=dry_run,
        )

    def also(self, found: Sequence[Finding]) -> Packed:
        """With findings that are true of every Form."""
        rows = {form: (*known, *found) for form, known in self.findings.items()}
        return replace(self, findings=rows)


def new_id() -> str:
    """A Move's id: "pk-" and 12 hex digits, not to be guessed."""
    return "pk-" + secrets.token_hex(6)


def prepare(job: Job, *, refusing: bool, pack_disk: bool = True) -> tuple[Packed, ...]:
    """Every App packaged and checked; the target is only read.

    refusing: raise what stands in the way of any as soon as it is known, else it is in the
    findings alone. pack_disk: False leaves disks out; they count in the space with an estimate.
    """
    _distinct(job.apps)
    links = Links(job.source, job.target)
    turns = [Turn(Clock(job.observer), links) for _ in job.apps]
    with turns[0].taken() as clock:
        job.source.require(job.forms)
        lacks = job.source.lacking(job.target, job.store)
        if refusing and (error := compat.refusal({"": lacks})):  # before unpacking anything
            raise error
        with clock.phase("look at the hosts"):
            facts = job.source.facts(), job.target.facts()
    packed = [_look(app, job, facts, turn) for app, turn in zip(job.apps, turns, strict=True)]
    shared = compat.clashes({each.app.name: each.spec.ports for each in packed})
    packed = [each.also((*lacks, *shared[each.app.name])) for each in packed]
    if refusing:
        _refuse(packed)
    if pack_disk and Form.DISK in job.forms:
        packed = [_with_disk(each, job) for each in packed]
    full = _space(packed, facts[1], job.target)
    packed = [each.also(full) for each in packed]
    if refusing:
        _refuse(packed)
    return tuple(packed)


def _distinct(apps: Sequence[App]) -> None:
    names = [app.name for app in apps]
    for name in names:
        if names.count(name) > 1:
            raise ConflictError(
                f"several Apps are called {name}",
                details=", ".join(app.source for app in apps if app.name == name),
                resolution="Give each a name of its own: `name:` in compose.yaml.",
            )


def _look(app: App, job: Job, facts: tuple[Facts, Facts], turn: Turn) -> Packed:
    """An App with its image and what is found by looking at it alone; no disk yet."""
    with turn.taken() as clock, job.about(app, "packaging"):
        image = job.source.image(app, job.store, clock)
        spec = app_room.resolve(app, image.config)
        for form in job.forms:  # one that names a method it does not allow is not moved
            health.way_of(spec, form)
        running = job.source.running(app, facts[0])
    told = app.findings + running
    findings = {form: told + compat.check(spec, image.config, facts[1], form) for form in job.forms}
    artifacts = {form: image if form is Form.IMAGE else None for form in job.forms}
    return Packed(new_id(), app, spec, image, artifacts, *facts, findings, turn)


def _with_disk(packed: Packed, job: Job) -> Packed:
    """A disk takes time to make: not for a host that could never boot it."""
    if packed.hopeless(Form.DISK):
        return packed
    with packed.turn.taken() as clock, job.about(packed.app, "making its disk"):
        disk = job.source.disk(packed.image, packed.spec, job.store, clock)
    return replace(packed, artifacts={**packed.artifacts, Form.DISK: disk})


def _space(packed: Sequence[Packed], facts: Facts, target: Host) -> tuple[Finding, ...]:
    """Whether the target has room for all at once; it is not asked for what is refused."""
    new, more = [], 0
    for each in packed:
        for form, artifact in each.artifacts.items():
            if each.hopeless(form):
                continue
            if artifact is None:
                more += each.image.stored_bytes + _KIT_BYTES
            else:
                new.append((artifact, transfer.missing(artifact, target)))
    return compat.space(facts, new, more)


def _refuse(packed: Sequence[Packed]) -> None:
    """One error for everything that stands in the way of any App."""
    found = {
        each.app.name: [row for rows in each.findings.values() for row in rows] for each in packed
    }
    if error := compat.refusal(found):
        raise error
