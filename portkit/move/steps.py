"""The steps of a Move: what each does on the hosts, and how that is taken back.

Every step can be done and undone more than once. What `undo` needs is in the Plan and in the
journal, never only in memory: another process may be the one that undoes it.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from portkit import boot, compat, health, measure, process, transfer
from portkit import watch as watching
from portkit.clock import Clock
from portkit.errors import BootError
from portkit.host import Host
from portkit.model import Artifact, Facts, Form, RunSpec
from portkit.move.plan import Plan
from portkit.move.walk import Step
from portkit.report import Boot
from portkit.store import Store
from portkit.transfer.forward import Parcel
from portkit.wire.json_types import JsonObject


class Results(Protocol):
    """What steps recorded of themselves; `portkit.move.journal.Steps` is one."""

    def result(self, step: str) -> JsonObject:
        """What the step recorded last; empty when there is nothing."""


@dataclass(frozen=True)
class Cargo:
    """What has to be at hand to go forward; to go back it is not needed."""

    spec: RunSpec
    artifacts: Mapping[Form, Artifact]
    facts: Facts  # of the target
    store: Store
    parcels: Mapping[str, Parcel]


@dataclass
class Ground:
    """Where a Move is at work: live connections, and what it carries.

    from_start: this process began the Move, so that its clock knows when that was. for_good: nobody
    is going to make this Move again, so that also what came of a blob that was cut is not kept.
    """

    plan: Plan
    results: Results
    target: Host
    source: Host | None
    clock: Clock
    cargo: Cargo | None = None
    from_start: bool = True
    for_good: bool = False
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

    def phases(self) -> list[JsonObject]:
        """What was timed since the last call, for a step's result."""
        return [asdict(phase) for phase in self.clock.take()]


@dataclass(frozen=True)
class _Step:
    """What most steps have in common."""

    ground: Ground
    name: str
    needs: tuple[str, ...] = ()
    renewed: bool = False

    def before(self) -> JsonObject:
        return {}

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
            call = ("move.begin", self._about(role))
            answer = host.remote.call(*call)
            # Repeated whenever the connection is made anew: the lock belongs to a process on the
            # host, which ended with the old one.
            if call not in host.remote.standing:
                host.remote.standing.append(call)
            if role == "target":
                brought = list(answer["brought"])
        return {"brought": brought}

    def _about(self, role: str) -> JsonObject:
        plan = self.ground.plan
        there = role == "target"
        needs = sorted({digest for each in plan.blobs.values() for digest in each})
        return {
            "id": plan.move,
            "app": plan.app,
            "role": role,
            "about": {
                "source": plan.source or "a bundle",
                "target": plan.target,
                "holder": _holder(),
                "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
                "forms": " ".join(plan.forms),
            },
            "needs": needs if there else [],
            "ports": [[p.host_ip, p.host_port, p.protocol] for p in plan.ports] if there else [],
            "hold": plan.hold if there else "",
            "brought": self.ground.results.result(self.name).get("brought") if there else None,
        }

    def undo(self) -> None:
        release(self.ground)


class Send(_FormStep):
    """The Artifact into the target's engine or Store, verified there."""

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        with ground.clock.phase("transfer"):
            sent = transfer.send(
                cargo.artifacts[self.form],
                cargo.store,
                ground.target,
                ground.clock.observer,
                move=ground.plan.move,
                parcels=cargo.parcels,
            )
        return {"transfer": asdict(sent), "phases": ground.phases()}

    def undo(self) -> None:
        plan, results = self.ground.plan, self.ground.results
        brought = set(results.result("reserve").get("brought", ()))
        transfer.release(
            (plan.hold,) if self.form is Form.IMAGE else (),
            self.ground.target,
            sorted(brought & set(plan.blobs[self.form])),
            move=plan.move,
            parts=plan.blobs[self.form] if self.ground.for_good else (),
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
            watch = watching.watch(
                runner,
                plan.move,
                ground.target,
                spec.health,
                way,
                self._deadline(),
                check=spec.healthcheck,
                observer=ground.clock.observer,
            )
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
                if number < plan.repeat or self.form is not plan.keep:
                    with ground.clock.phase("stop"):
                        runner.stop(plan.move, spec.stop_grace_period_s)
        return {
            "boot": asdict(_boot(self.form, cargo.facts, answers[0], way, watch.deadline)),
            "from_move_s": from_move_s,
            "from_boot_s": [round(answer.seconds, 3) for answer in answers],
            "phases": ground.phases(),
        }

    def _deadline(self) -> health.Deadline:
        cargo = self.ground.loaded
        verdict = compat.verdict(self.ground.plan.findings[self.form], cargo.facts, self.form)
        return health.deadline(cargo.spec.health, verdict, cargo.facts.loop_s)


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


def release(ground: Ground) -> None:
    """Let the locks go and remove the markers, on both hosts."""
    plan = ground.plan
    for _, host in ground.ends:
        # First, or a connection that breaks now would take the lock again.
        host.remote.standing = [each for each in host.remote.standing if each[0] != "move.begin"]
        host.remote.call("move.end", {"id": plan.move, "app": plan.app})


def steps_of(ground: Ground) -> tuple[Step, ...]:
    """The steps of a Plan, in the order of `Plan.steps`."""
    return tuple(_step(name, ground) for name in ground.plan.steps())


def _step(name: str, ground: Ground) -> Step:
    verb, _, form = name.partition(" ")
    keep = ground.plan.keep
    match verb:
        case "reserve":
            return Reserve(ground, name, renewed=True)
        case "transfer":
            return Send(ground, name, ("reserve",), form=Form(form))
        case "create":
            return Create(ground, name, ("reserve", f"transfer {form}"), form=Form(form))
        case "boot":
            return Start(ground, name, (f"create {form}",), form=Form(form))
        case "commit":
            assert keep is not None
            return Commit(ground, name, ("reserve", f"create {keep}"), form=keep)
        case "discard":
            return Discard(ground, name, ("reserve",))
        case _:
            return Release(ground, name)


def _holder() -> str:
    """Who makes this Move, for people who meet its marker on a host."""
    return f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"


def _boot(
    form: Form, facts: Facts, first: measure.Answer, way: health.Way, deadline: health.Deadline
) -> Boot:
    libvirt = form is Form.DISK
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
    )
