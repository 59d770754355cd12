"""What comes before the first byte: Apps packaged and checked, each alone and all together.

Several Apps take turns over the same two connections. Whatever stands in the way of one of them is
told before anything on the target is changed for any.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

from portkit import app as app_room
from portkit import boot, compat, needs, transfer
from portkit.clock import Clock
from portkit.errors import ConflictError, PortkitError
from portkit.host import Host
from portkit.model import (
    App,
    AppSpec,
    Artifact,
    Facts,
    Figure,
    Finding,
    Form,
    Instance,
    Needs,
    Severity,
)
from portkit.progress import Observer
from portkit.report import Cutover, FormReport, Phase, Report
from portkit.source import Source
from portkit.store import Store

# What a kit adds to a disk, for checks before one is made; a real one had 15 MB.
_KIT_BYTES = 64 << 20
# How much more than the layers of its image a disk can take. A member of a tar archive has at least
# 512 bytes; on ext4 its inode has 256, and a long link, a folder or a small file has a block of
# 4096 beside it.
_MOST_TIMES = 9


class Disks(Enum):
    """When the disks of several Apps are made."""

    NOW = "now"
    LATER = "when the Move has begun, where nothing can come of it that is to be told before"
    NEVER = "never"


@dataclass(frozen=True)
class Request:
    """What the Moves of one call have in common, wherever they go."""

    apps: tuple[App, ...]
    source: Source
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

    def to(self, target: Host) -> Job:
        """The same with the host where it goes."""
        return Job(self.apps, self.source, self.forms, self.store, self.observer, target)


@dataclass(frozen=True)
class Job(Request):
    """What the Moves of one call to one target have in common."""

    target: Host


@dataclass
class Links:
    """Bytes of both connections; each is told once, to the Move that was at work. target: None
    before one is looked at."""

    source: Source
    target: Host | None = None
    told: tuple[int, int] = (0, 0)

    def take(self) -> tuple[int, int]:
        """What went over them, both ways, since the last call; before the first, all."""
        before, ends = self.told, [self.source.counters()]
        if self.target is not None:
            ends.append(self.target.counters())
        both = [end.sent + end.received for end in ends]
        self.told = (both[0], both[1] if len(both) > 1 else 0)
        return self.told[0] - before[0], self.told[1] - before[1]

    def lead_to(self, target: Host) -> None:
        """From now on the target's connection is another one."""
        if self.target is not target:
            self.target, self.told = target, (self.told[0], 0)


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

    def hand_over(self) -> Turn:
        """What it has cost so far, for a Move that goes on with it. This one begins anew: with the
        App's Move to another target nothing is counted twice."""
        given = Turn(self.clock, self.links, self.source_bytes, self.target_bytes)
        self.clock, self.source_bytes, self.target_bytes = Clock(self.clock.observer), 0, 0
        return given


@dataclass(frozen=True)
class Package:
    """An App with its image in the Store here, whatever host it will go to. running: what is found
    of the App as it runs at the source. needs: of those services whose images are here."""

    app: App
    spec: AppSpec
    image: Artifact
    source: Facts
    running: tuple[Finding, ...]
    turn: Turn
    needs: Mapping[str, Needs] = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """What is known before a byte goes to the target. findings: of the App and of each Form."""

    move: str
    app: App
    spec: AppSpec
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
        self,
        phases: tuple[Phase, ...],
        forms: Sequence[FormReport],
        *,
        dry_run: bool = False,
        cutover: Cutover | None = None,
        predictions: tuple[Figure, ...] = (),
        survey_bytes: int = 0,
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
            cutover=cutover,
            predictions=predictions,
            survey_bytes=survey_bytes,
        )

    def also(self, found: Sequence[Finding]) -> Packed:
        """With findings that are true of every Form."""
        rows = {form: (*known, *found) for form, known in self.findings.items()}
        return replace(self, findings=rows)


def new_id() -> str:
    """A Move's id: "pk-" and 12 hex digits, not to be guessed."""
    return "pk-" + secrets.token_hex(6)


def prepare(job: Job) -> tuple[Packed, ...]:
    """Every App packaged and checked; the target is only read. What stands in the way of any is
    raised as soon as it is known."""
    # A bundle may lack a form; that is seen before anything else is asked.
    job.source.require(job.forms)
    lacks = job.source.lacking(job.target, job.store)
    # What an App's description alone says stands in the way, before anything is fetched.
    if error := compat.refusal({app.name: (*lacks, *app.findings) for app in job.apps}):
        raise error
    return _judge(package(job), job, lacks, refusing=True, disks=Disks.LATER)


def package(request: Request) -> tuple[Package, ...]:
    """Every App's image in the Store here, built where an App says so; no target is needed."""
    _distinct(request.apps)
    links = Links(request.source)
    # One clock for each Move, so that the Report of one does not count the packaging of the others.
    turns = [Turn(Clock(request.observer), links) for _ in request.apps]
    with turns[0].taken() as clock:
        request.source.require(request.forms)
        with clock.phase("look at the source"):
            facts = request.source.facts()
    pairs = zip(request.apps, turns, strict=True)
    return tuple(_packaged(app, request, facts, turn) for app, turn in pairs)


def judge(packages: Sequence[Package], job: Job, *, pack_disk: bool) -> tuple[Packed, ...]:
    """Packages held against one host, alone and together; everything is in the findings.

    pack_disk: False leaves disks out; they count in the space with an estimate.
    """
    lacks = job.source.lacking(job.target, job.store)
    disks = Disks.NOW if pack_disk else Disks.NEVER
    return _judge(packages, job, lacks, refusing=False, disks=disks)


def _judge(
    packages: Sequence[Package],
    job: Job,
    lacks: tuple[Finding, ...],
    *,
    refusing: bool,
    disks: Disks,
) -> tuple[Packed, ...]:
    turns = [each.turn.hand_over() for each in packages]
    # The links are shared by all Moves of one call; any turn leads to them.
    turns[0].links.lead_to(job.target)
    with turns[0].taken() as clock, clock.phase("look at the target"):
        services = [service for each in packages for service in each.spec.services]
        target = job.target.facts(guests=Form.DISK in job.forms, sought=compat.sought(services))
    there = _instances(packages, target, job.target)
    apps = {each.app.name: (each.spec, each.image.images) for each in packages}
    own = {each.app.name: each.needs for each in packages}
    found = compat.check_all(apps, target, job.forms, there, needs=own)
    packed = [
        _packed(each, turn, target, found[each.app.name]).also(lacks)
        for each, turn in zip(packages, turns, strict=True)
    ]
    if refusing:
        _refuse(packed)
    wanted = Form.DISK in job.forms and disks is not Disks.NEVER
    if wanted and disks is Disks.LATER and _can_wait(packed, target, job):
        return tuple(packed)
    if wanted:
        packed = [_with_disk(each, job) for each in packed]
    # Last, because the size of a disk is known only when it has been made.
    full = _space(packed, target, job.target)
    packed = [each.also(full) for each in packed]
    if refusing:
        _refuse(packed)
    return tuple(packed)


def _distinct(apps: Sequence[App]) -> None:
    names = [app.name for app in apps]
    for name in names:
        if names.count(name) > 1:
            raise ConflictError(
                f"several Apps have the name {name}",
                details=", ".join(app.source for app in apps if app.name == name),
                resolution="Give each App its own name, with `name:` in compose.yaml.",
            )


def _packaged(app: App, request: Request, facts: Facts, turn: Turn) -> Package:
    with turn.taken() as clock, request.about(app, "packaging"):
        images = request.source.images(app, request.store, clock)
        spec = app_room.resolve_all(app_room.filled(app), images.services)
        running = request.source.running(app, facts)
        own = needs.of_services(request.store, images.artifact.images, spec.services)
    return Package(app, spec, images.artifact, facts, running, turn, own)


def _instances(packages: Sequence[Package], facts: Facts, host: Host) -> tuple[Instance, ...]:
    """What portkit has on the target, where a port or a name is taken there: by one of them,
    perhaps."""
    # Listing the Instances asks both engines: only where the answer explains something.
    if not any(compat.something_taken(each.spec, facts) for each in packages):
        return ()
    try:
        return boot.instances(host)
    except PortkitError:  # it is taken all the same
        return ()


def _packed(
    package: Package, turn: Turn, target: Facts, found: Mapping[Form, tuple[Finding, ...]]
) -> Packed:
    """One App with what is found of it in each Form; no disk yet."""
    image = package.image
    known = package.app.findings + package.running
    return Packed(
        move=new_id(),
        app=package.app,
        spec=package.spec.taking(target.volumes),
        image=image,
        artifacts={form: image if form is Form.IMAGE else None for form in found},
        source=package.source,
        target=target,
        findings={form: known + disproved(package.app, rows) for form, rows in found.items()},
        turn=turn,
    )


def disproved(app: App, found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings of an App, without what is disproved by its running at its source."""
    return compat.disproved(found) if app.seen_up else found


def _can_wait(packed: Sequence[Packed], facts: Facts, job: Job) -> bool:
    """Whether there is room for the disks, however large they become: here, on the target and in
    themselves. A bundle's are not made but unpacked: they are there at once."""
    if job.source.host is None or any(each.spec.machine.disk_bytes for each in packed):
        return False
    most = sum(_at_most(each.image, _MOST_TIMES) for each in packed)
    if job.store.free() < most:
        return False
    return not _space(packed, facts, job.target, times=_MOST_TIMES)


def _at_most(image: Artifact, times: int) -> int:
    """Bytes that the disk of an image takes before it is made."""
    return image.stored_bytes * times + _KIT_BYTES


def _with_disk(packed: Packed, job: Job) -> Packed:
    """A disk takes time to make: not for a host that could never boot it."""
    if packed.hopeless(Form.DISK):
        return packed
    with packed.turn.taken() as clock, job.about(packed.app, "making its disk"):
        disk = job.source.disk(packed.image, packed.spec, job.store, clock)
    return replace(packed, artifacts={**packed.artifacts, Form.DISK: disk})


def _space(
    packed: Sequence[Packed], facts: Facts, target: Host, *, times: int = 1
) -> tuple[Finding, ...]:
    """Whether the target has room for all at once; it is not asked for what is refused.

    times: of its image, what a disk takes that is not made yet.
    """
    new, more = [], 0
    for each in packed:
        for form, artifact in each.artifacts.items():
            if each.hopeless(form):
                continue
            if artifact is None:
                more += _at_most(each.image, times)
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
