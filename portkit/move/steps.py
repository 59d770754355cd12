"""The steps of a Move: what each does on the hosts, and how that is taken back.

Every step can be done and undone more than once. What `undo` needs is in the Plan and in the
journal, never only in memory: another process may be the one that undoes it.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from portkit import boot, compat, health, measure, process, transfer
from portkit import watch as watching
from portkit.clock import Clock
from portkit.errors import BootError, PortkitError
from portkit.guest.start import machine_start
from portkit.halt import Halt, Heeding
from portkit.host import Host
from portkit.model import Artifact, Facts, Form, MachineStart, RunSpec
from portkit.move.plan import Plan
from portkit.move.walk import Step
from portkit.report import Boot
from portkit.source import Source
from portkit.store import Store
from portkit.store.manifest import artifact_from, manifest_of
from portkit.wire.json_types import JsonObject

# Bytes; a manifest lists blobs, of which an image has some hundred.
_MANIFEST_LIMIT = 16 << 20
_MAKE_DISK = "package disk"
_SEND_DISK = "transfer disk"
_ASIDE = (_MAKE_DISK, _SEND_DISK, "create disk")  # the second lane, where both forms go


class Results(Protocol):
    """What steps recorded of themselves; `portkit.move.journal.Steps` is one."""

    def result(self, step: str) -> JsonObject:
        """What the step recorded last; empty when there is nothing."""


@dataclass(frozen=True)
class Cargo:
    """What has to be at hand to go forward; to go back it is not needed.

    image: what a disk is made of. artifacts: those that are there; the disk comes when its step has
    made it. facts: of the target.
    """

    spec: RunSpec
    image: Artifact
    artifacts: dict[Form, Artifact]
    facts: Facts
    store: Store
    source: Source


@dataclass
class Ground:
    """Where a Move is at work: live connections, and what it carries.

    from_start: this process began the Move, so that its clock knows when that was. for_good: nobody
    is going to make this Move again, so that also what came of a blob that was cut is not kept.
    halt: by which a lane learns that the other has failed. began: when this process began with it.
    """

    plan: Plan
    results: Results
    target: Host
    source: Host | None
    clock: Clock
    cargo: Cargo | None = None
    from_start: bool = True
    for_good: bool = False
    halt: Halt = field(default_factory=Halt)
    began: str = field(
        default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    )
    ends: list[tuple[str, Host]] = field(init=False)

    def __post_init__(self) -> None:
        self.ends = [("target", self.target)]
        if self.source is not None:
            self.ends.append(("source", self.source))
        # Of two Moves from A to B and from B to A, one gets both locks: they ask in one order.
        self.ends.sort(key=lambda end: end[1].endpoint)

    @property
    def loaded(self) -> Cargo:
        """The cargo, which a walk forward always has."""
        assert self.cargo is not None, "only a walk back is without it"
        return self.cargo

    def lane(self) -> Ground:
        """The same for one of the lanes, whose phases are its own."""
        observer = Heeding(self.clock.observer, self.halt)
        return replace(self, clock=self.clock.aside(observer))

    def blobs(self, form: Form) -> tuple[str, ...]:
        """Digests of what a form is made of; none of a disk that is not made yet."""
        if form is Form.IMAGE:
            return self.plan.blobs
        return tuple(self.results.result(_MAKE_DISK).get("blobs", ()))

    def brought(self) -> list[str]:
        """Digests of what the target lacked before this Move, as far as it was asked."""
        rows = (self.results.result(name).get("brought", ()) for name in ("reserve", _SEND_DISK))
        return sorted({digest for row in rows for digest in row})

    def phases(self) -> list[JsonObject]:
        """What was timed since the last call, for a step's result."""
        return [asdict(phase) for phase in self.clock.take()]


@dataclass(frozen=True)
class _Step:
    """What most steps have in common."""

    ground: Ground
    name: str
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    renewed: bool = False
    aside: bool = False

    def before(self) -> JsonObject:
        return {}

    def do(self) -> JsonObject:
        raise NotImplementedError

    def undo(self) -> None:
        """Nothing: an earlier step's undo takes away what this one did."""


@dataclass(frozen=True)
class _FormStep(_Step):
    form: Form = Form.IMAGE


class Reserve(_Step):
    """The App's lock and the Move's marker, on both hosts; its ports, on the target."""

    def do(self) -> JsonObject:
        brought: list[str] = []
        # One call to each host. Where both are one machine, the second finds the lock in the hands
        # of this very Move.
        for role, host in self.ground.ends:
            brought += mark(self.ground, role, host)
        return {"brought": brought}

    def undo(self) -> None:
        release(self.ground)


class MakeDisk(_FormStep):
    """The disk, in the Store here. An image makes the same disk each time, so whoever goes on with
    the Move makes it again where it is not there any more."""

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        known = ground.results.result(self.name).get("manifest")
        disk = cargo.artifacts.get(self.form) or self._kept(known) or self._made()
        manifest = keep(disk, cargo.store)
        if known not in (None, manifest):
            raise PortkitError(
                "the disk that the Move carries is not here any more, and is made otherwise now",
                details=f"it was {ground.blobs(self.form)[-1:]}, it would be {disk.digest}",
                resolution="Take the Move back and make it anew: "
                f"portkit rollback {ground.plan.move}",
            )
        cargo.artifacts[self.form] = disk
        blobs = list(dict.fromkeys(blob.digest for blob in disk.blobs))
        timed = ground.phases()
        # Of a Move that goes on, the phases of the first time stay.
        return {"manifest": manifest, "blobs": blobs, **({"phases": timed} if timed else {})}

    def _kept(self, manifest: str | None) -> Artifact | None:
        """What was made before, if all of it is still in the Store."""
        store = self.ground.loaded.store
        try:
            return None if manifest is None else kept(manifest, store)
        except PortkitError:
            return None

    def _made(self) -> Artifact:
        cargo = self.ground.loaded
        return cargo.source.disk(cargo.image, cargo.spec, cargo.store, self.ground.clock)


class Send(_FormStep):
    """The Artifact into the target's engine or Store, verified there."""

    def before(self) -> JsonObject:
        if self.form is Form.IMAGE:
            return {}
        # What a disk is made of was not known when the marker was written. From now on no other
        # Move takes any of it away.
        return {"brought": mark(self.ground, "target", self.ground.target)}

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        with ground.clock.phase("transfer"):
            sent = transfer.send(
                cargo.artifacts[self.form],
                cargo.store,
                ground.target,
                ground.clock.observer,
                move=ground.plan.move,
                parcels=cargo.source.parcels(cargo.store),
            )
        return {"transfer": asdict(sent), "phases": ground.phases()}

    def undo(self) -> None:
        ground, plan = self.ground, self.ground.plan
        blobs = ground.blobs(self.form)
        transfer.release(
            (plan.hold,) if self.form is Form.IMAGE else (),
            ground.target,
            sorted(set(ground.brought()).intersection(blobs)),
            move=plan.move,
            parts=blobs if ground.for_good else (),
        )


class Create(_FormStep):
    """The Instance, which nothing starts by itself yet."""

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        plan = ground.plan
        with (
            boot.runner(ground.target, self.form) as runner,
            ground.clock.phase("create"),
            process.uninterrupted(),  # nothing may appear after it was looked for
        ):
            runner.remove(plan.move)  # what a try that was killed left
            runner.create(
                cargo.artifacts[self.form],
                plan.hold if self.form is Form.IMAGE else "",
                cargo.spec,
                plan.move,
                cargo.facts,
            )
        return {"phases": ground.phases()}

    def undo(self) -> None:
        with boot.runner(self.ground.target, self.form) as runner:
            runner.remove(self.ground.plan.move)


class Start(_FormStep):
    """Started and measured as often as was asked for; it ends stopped unless it is kept."""

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        plan, spec = ground.plan, cargo.spec
        answers: list[measure.Answer] = []
        from_move_s = None
        way = health.way_of(spec, self.form)
        with boot.runner(ground.target, self.form) as runner:
            if runner.state(plan.move)[0] == "running":  # a process that was killed started it
                runner.stop(plan.move, spec.stop_grace_period_s)
            watch = watch_over(ground, self.form, runner, way)
            for number in range(1, plan.repeat + 1):
                counted = f" {number}" if number > 1 else ""
                with ground.clock.phase(f"boot {self.form}{counted}"):
                    started = time.monotonic()
                    runner.start(plan.move)
                    answers.append(watch.first_answer(started))
                # A Move that is resumed has no meaningful start: it may have lain for days.
                if number == 1 and ground.from_start:
                    from_move_s = round(time.monotonic() - ground.clock.started, 3)
                if number == plan.repeat:
                    with ground.clock.phase("settle"):
                        watch.settle()
                # The other Form publishes the same ports, so only one may run.
                if number < plan.repeat or not plan.stays(self.form):
                    with ground.clock.phase("stop"):
                        runner.stop(plan.move, spec.stop_grace_period_s)
        return {
            "boot": asdict(_boot(self.form, cargo, answers[0], way, watch.deadline)),
            "from_move_s": from_move_s,
            "from_boot_s": [round(answer.seconds, 3) for answer in answers],
            "phases": ground.phases(),
        }


class Again(_FormStep):
    """The form to keep, which had to stop for the other one, runs again and has stayed up."""

    def do(self) -> JsonObject:
        ground, spec = self.ground, self.ground.loaded.spec
        move = ground.plan.move
        with boot.runner(ground.target, self.form) as runner:
            watch = watch_over(ground, self.form, runner, health.way_of(spec, self.form))
            with ground.clock.phase(f"start {self.form}"):
                started = time.monotonic()
                if runner.state(move)[0] != "running":  # a process that was killed started it
                    runner.start(move)
                watch.first_answer(started)
            with ground.clock.phase("settle"):
                watch.settle()
        return {"phases": ground.phases()}


class Commit(_FormStep):
    """The host starts it by itself from now on; an image gets the user's name where it is free."""

    def before(self) -> JsonObject:
        plan = self.ground.plan
        if self.form is not Form.IMAGE or not plan.tag:
            return {"named": True}
        # Noted before the tag is set: whether an undo may take it away cannot be seen afterwards.
        return {"named": transfer.has_image(self.ground.target, plan.tag)}

    def do(self) -> JsonObject:
        ground, plan = self.ground, self.ground.plan
        with boot.runner(ground.target, self.form) as runner:
            status, code = runner.state(plan.move)
            if status != "running":  # it answered and ended: no host to leave it on
                raise BootError(
                    "the app ended after its first answer"
                    + ("" if code is None else f", with code {code}"),
                    details=runner.logs(plan.move, 30).strip(),
                    resolution="See its last words above.",
                )
            runner.commit(plan.move, ground.loaded.spec)
        if self.form is Form.IMAGE and plan.tag and not self._tag(plan.tag):
            ground.clock.observer.message(
                f"{plan.tag} is another image on {ground.target.name}; that name was left alone"
            )
        return {}

    def _tag(self, name: str) -> bool:
        return transfer.tag(self.ground.target, self.ground.plan.hold, name)

    def undo(self) -> None:
        """The Instance goes with its own step; here the name that was free before."""
        plan = self.ground.plan
        if self.ground.results.result(self.name).get("named", True) or not plan.tag:
            return
        self.ground.target.remote.call(
            # Only while it is still this image: a user may have given the name to another one
            # since.
            "image.remove",
            {"reference": plan.tag, "same_as": plan.hold},
        )


class Discard(_Step):
    """After measuring nothing stays on the target: what the other steps brought goes again."""

    def do(self) -> JsonObject:
        # In the order of a rollback: the Instance first, then what it was made from.
        for step in reversed(steps_of(self.ground)):
            if step.name.startswith(("create ", "transfer ")):
                step.undo()
        return {}


class Release(_Step):
    """The Move is over: its lock and its markers go."""

    def do(self) -> JsonObject:
        release(self.ground)
        return {}


def mark(ground: Ground, role: str, host: Host) -> list[str]:
    """Take the lock and write the marker; the digests that the Move will have brought there."""
    call = ("move.begin", _about(ground, role))
    answer = host.remote.call(*call)
    # Repeated whenever the connection is made anew: the lock belongs to a process on the host,
    # which ended with the old one.
    others = (each for each in host.remote.standing if not _marks(each, role))
    host.remote.standing = [*others, call]
    return list(answer["brought"]) if role == "target" else []


def _marks(call: tuple[str, JsonObject], role: str) -> bool:
    return call[0] == "move.begin" and call[1]["role"] == role


def _about(ground: Ground, role: str) -> JsonObject:
    plan = ground.plan
    there = role == "target"
    needs = sorted({digest for form in plan.forms for digest in ground.blobs(form)})
    begun = "brought" in ground.results.result("reserve")
    return {
        "id": plan.move,
        "app": plan.app,
        "role": role,
        "about": {
            "source": plan.source or "a bundle",
            "target": plan.target,
            "holder": _holder(),
            "started": ground.began,
            "forms": " ".join(plan.forms),
        },
        "needs": needs if there else [],
        "ports": [[p.host_ip, p.host_port, p.protocol] for p in plan.ports] if there else [],
        "hold": plan.hold if there else "",
        "brought": ground.brought() if there and begun else None,
    }


def release(ground: Ground) -> None:
    """Let the locks go and remove the markers, on both hosts."""
    plan = ground.plan
    for _, host in ground.ends:
        # First, or a connection that breaks now would take the lock again.
        host.remote.standing = [each for each in host.remote.standing if each[0] != "move.begin"]
        host.remote.call("move.end", {"id": plan.move, "app": plan.app})


def steps_of(ground: Ground) -> tuple[Step, ...]:
    """The steps of a Plan, in the order of `Plan.steps`."""
    main, aside = ground.lane(), ground.lane()
    names = ground.plan.steps()
    if not ground.plan.both:
        return tuple(_step(name, main) for name in names)
    return tuple(
        replace(_step(name, aside), aside=True) if name in _ASIDE else _step(name, main)
        for name in names
    )


def _step(name: str, ground: Ground) -> _Step:
    verb, _, word = name.partition(" ")
    form = Form(word) if word else ground.plan.keep or Form.IMAGE
    there = ("reserve", f"create {form}")
    match verb:
        case "reserve":
            return Reserve(ground, name, renewed=True)
        case "package":
            waits = _late(ground, reads=True)
            return MakeDisk(ground, name, ("reserve",), waits, renewed=True, form=form)
        case "transfer" if form is Form.IMAGE:
            return Send(ground, name, ("reserve",), form=form)
        case "transfer":
            return Send(ground, name, ("reserve", _MAKE_DISK), _late(ground), form=form)
        case "create":
            return Create(ground, name, ("reserve", f"transfer {form}"), form=form)
        case "boot":
            return Start(ground, name, (f"create {form}",), form=form)
        case "start":
            return Again(ground, name, (f"create {form}",), form=form)
        case "commit":
            return Commit(ground, name, there, form=form)
        case "discard":
            return Discard(ground, name, ("reserve",))
        case _:
            return Release(ground, name)


def _late(ground: Ground, *, reads: bool = False) -> tuple[str, ...]:
    """What a step of the second lane waits for. reads: it only takes from the source.

    A disk is sent as what its image's layers lack, so they have to be on the target. And calls to a
    host go one after the other: sooner, the disk would hold up the container. A bundle is one file,
    which only one lane can read.
    """
    plan = ground.plan
    waits = plan.both and not (reads and plan.source is not None)
    return ("create image",) if waits else ()


def watch_over(ground: Ground, form: Form, runner: boot.Runner, way: health.Way) -> watching.Watch:
    """A Watch over the Move's Instance of a form, which ends when the other lane fails."""
    cargo = ground.loaded
    verdict = compat.verdict(ground.plan.findings[form], cargo.facts, form)
    return watching.watch(
        runner,
        ground.plan.move,
        ground.target,
        cargo.spec.health,
        way,
        health.deadline(cargo.spec.health, verdict, cargo.facts.loop_s),
        check=cargo.spec.healthcheck,
        observer=ground.clock.observer,
        halt=ground.halt,
    )


def keep(artifact: Artifact, store: Store) -> str:
    """Store an Artifact's manifest, so that whoever goes on with the Move has it; its digest."""
    return store.put_bytes(json.dumps(manifest_of(artifact), sort_keys=True).encode()).digest


def read(manifest: str, store: Store) -> Artifact:
    """The Artifact of a manifest, whatever became of its blobs."""
    return artifact_from(store.read_bytes(manifest, _MANIFEST_LIMIT))


def kept(manifest: str, store: Store) -> Artifact:
    """The Artifact of a manifest that `keep` stored; VerifyError when a blob of it is not there."""
    artifact = read(manifest, store)
    # Each is hashed here, once: what is sent after a resume is what was planned.
    for blob in artifact.blobs:
        store.content(blob.digest)
    return artifact


def _holder() -> str:
    """Who makes this Move, for people who meet its marker on a host."""
    return f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"


def _boot(
    form: Form, cargo: Cargo, first: measure.Answer, way: health.Way, deadline: health.Deadline
) -> Boot:
    facts, libvirt = cargo.facts, form is Form.DISK
    return Boot(
        engine="libvirt" if libvirt else "docker",
        version=(facts.libvirt_version if libvirt else facts.docker_version) or "",
        accelerator=facts.accelerator if libvirt else "none",
        url=first.url,
        status=first.status,
        method=first.method,
        reason="; ".join(way.reasons),
        vantage=first.vantage,
        poll_s=first.poll_s,
        timeout_s=deadline.seconds,
        timeout_reason=deadline.reason,
        machine=_machine(cargo) if libvirt else None,
    )


def _machine(cargo: Cargo) -> MachineStart:
    disk, firmware = cargo.artifacts[Form.DISK], cargo.spec.machine.firmware
    return machine_start(disk, firmware, kvm=cargo.facts.accelerator == "kvm")
