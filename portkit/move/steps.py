"""The steps of a Move: what each does on the hosts, and how that is taken back.

Every step can be done and undone more than once. What `undo` needs is in the Plan and in the
journal, never only in memory: another process may be the one that undoes it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace

from portkit import boot, health, measure, process, transfer
from portkit.boot.blueprint import Blueprint
from portkit.errors import BootError
from portkit.model import Form
from portkit.move import cutover, pause
from portkit.move import plan as plans
from portkit.move.artifact_steps import MakeDisk, Send
from portkit.move.booted import booted
from portkit.move.described import describe, policies_of
from portkit.move.forward import Forward
from portkit.move.ground import MAKE_DISK, SEND_DISK, Ground
from portkit.move.hooks import RunHook
from portkit.move.live_step import MoveLive
from portkit.move.marker import LEFT, mark, release
from portkit.move.quiesce import Quiesce, Unquiesce
from portkit.move.step import BaseStep, FormStep
from portkit.move.taken import TakeVolumes, require_unused
from portkit.move.up import up_again, up_since, watch_over
from portkit.move.verified import or_without_source
from portkit.move.was import standing
from portkit.watch import no_room
from portkit.wire.json_types import JsonObject

_ASIDE = (MAKE_DISK, SEND_DISK, "create disk")  # the second lane, where both forms go


class Reserve(BaseStep):
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


class Create(FormStep):
    """The Instance, which nothing starts by itself yet."""

    undone_at = "target"

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
                Blueprint(
                    identity=plan.move,
                    artifact=cargo.artifacts[self.form],
                    held=plan.holds,
                    spec=cargo.spec,
                    facts=cargo.facts,
                )
            )
            if self.form is Form.DISK:
                describe(ground, cargo.spec, cargo.artifacts[self.form])
        return {"phases": ground.phases()}

    def undo(self) -> None:
        with boot.runner(self.ground.target, self.form) as runner:
            runner.remove(self.ground.plan.move)


class Start(FormStep):
    """Started and measured as often as was asked for; it ends stopped unless it is kept."""

    undone_at = "target"

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        plan = ground.plan
        answers: list[measure.Answer] = []
        from_move_s = healthy_s = None
        way = health.way_of(cargo.spec.front, self.form)
        with boot.runner(ground.target, self.form) as runner:
            if not ground.from_start:  # a process that was killed may have started it
                runner.stop(plan.move)
            if plan.live is not None:
                cutover.require_stopped(ground)
            require_unused(ground)
            watch = watch_over(ground, self.form, runner, way)
            # Not behind the start: the Move would be rolled back if the answer were lost.
            since = None if plan.live is None else up_since(ground.target, self.form)
            stood = None if plan.live is None else standing(ground)
            for number in range(1, plan.repeat + 1):
                counted = f" {number}" if number > 1 else ""
                with ground.clock.phase(f"boot {self.form}{counted}"):
                    started = time.monotonic()
                    with ground.downtime.target_starting():
                        runner.start(plan.move, standing=stood)
                    answers.append(watch.first_answer(started))
                    ground.downtime.answered(answers[-1], started)
                # A Move that is resumed has no meaningful start: it may have lain for days.
                if number == 1 and ground.from_start:
                    from_move_s = round(time.monotonic() - ground.clock.started, 3)
                if number == 1 and cargo.spec.several:
                    with ground.clock.phase("healthchecks"):
                        checks = [
                            each.healthcheck for each in cargo.spec.services if each.healthcheck
                        ]
                        healthy_s = watch.all_healthy(started, checks)
                if number == plan.repeat:
                    with ground.clock.phase("settle"):
                        watch.settle()
                if number == plan.repeat and cargo.while_up is not None:
                    cargo.while_up(runner, plan.move)
                # The other Form publishes the same ports, so only one may run.
                if number < plan.repeat or not plan.stays(self.form):
                    with ground.clock.phase("stop"):
                        runner.stop(plan.move)
        timeline = ground.downtime.end()
        return {
            "timeline": timeline and asdict(timeline),
            "boot": asdict(booted(self.form, cargo, answers[0], way, watch.deadline, healthy_s)),
            "from_move_s": from_move_s,
            "from_boot_s": [round(answer.seconds, 3) for answer in answers],
            "up_since": since,
            "phases": ground.phases(),
        }

    def undo(self) -> None:
        """An App that came with its data is stopped here before it runs at its source again."""
        ground = self.ground
        if ground.plan.live is None:
            return
        with boot.runner(ground.target, self.form) as runner:
            if not any(each.id == ground.plan.move for each in runner.instances()):
                return
            ground.clock.observer.message(
                f"what the App wrote on {ground.target.name} since it was started there is lost"
            )
            # In this order: one that is only stopped could come back with its host.
            runner.withdraw(ground.plan.move)
            runner.stop(ground.plan.move)


class Again(FormStep):
    """The form to keep, which had to stop for the other one, runs again and has stayed up."""

    def do(self) -> JsonObject:
        with boot.runner(self.ground.target, self.form) as runner:
            up_again(self.ground, self.form, runner)
        return {"phases": self.ground.phases()}


class Commit(FormStep):
    """The host starts it by itself from now on; an image gets the user's name where it is free."""

    undone_at = "target"

    def before(self) -> JsonObject:
        # Noted before a tag is set: whether an undo may take it away cannot be seen afterwards.
        free = [tag for tag in self._tags() if not transfer.has_image(self.ground.target, tag)]
        return {"free": free}

    def _tags(self) -> Mapping[str, str]:
        return self.ground.plan.tags if self.form is Form.IMAGE else {}

    def do(self) -> JsonObject:
        ground, plan = self.ground, self.ground.plan
        # Until now its host did not start it by itself, and may have been restarted.
        if plan.live is not None:
            cutover.up_after_restart(ground, self.form)
        with boot.runner(ground.target, self.form) as runner:
            life = runner.life(plan.move)
            if not life.running and plan.live is None and not ground.from_start:
                up_again(ground, self.form, runner)
                life = runner.life(plan.move)
            if not life.running:  # it answered and ended: no host to leave it on
                raise BootError(
                    "the app ended after its first answer"
                    + ("" if life.exit_code is None else f", with code {life.exit_code}"),
                    details=runner.logs(plan.move, 30).strip(),
                    resolution="Read its last output above.",
                )
            if life.stuck:
                raise no_room(plan.move, ground.target, "after its first answer")
            policies, spec = policies_of(ground, self.form)
            if self.form is Form.DISK:  # what is not started with the VM is no reason to start it
                rest = standing(ground).resting
                policies = {name: each for name, each in policies.items() if name not in rest}
            runner.commit(plan.move, policies, spec)
        for tag, hold in self._tags().items():
            if not transfer.tag(ground.target, hold, tag):
                ground.clock.observer.message(
                    f"{tag} is another image on {ground.target.name}; portkit left that name alone"
                )
        return {}

    def undo(self) -> None:
        """The Instance goes with its own step; here the names that were free before. One that came
        with its data may not be started by its host any more, before anything else."""
        if self.ground.plan.live is not None:
            with boot.runner(self.ground.target, self.form) as runner:
                runner.withdraw(self.ground.plan.move)
        free = self.ground.results.result(self.name).get("free", ())
        for tag, hold in self._tags().items():
            if tag in free:
                # Only while it is still this image: a user may have given the name to another one
                # since.
                args = {"reference": tag, "same_as": hold}
                self.ground.target.remote.call("image.remove", args)


class Discard(BaseStep):
    """After measuring nothing stays on the target: what the other steps brought goes again."""

    def do(self) -> JsonObject:
        # In the order of a rollback: the Instance first, then what it was made from.
        for step in reversed(steps_of(self.ground)):
            if step.name.startswith(("create ", "transfer ")):
                step.undo()
        return {}


class Release(BaseStep):
    """The Move is over: its lock and its markers go."""

    def do(self) -> JsonObject:
        ground, plan = self.ground, self.ground.plan
        # Its marker can be removed when it is there again.
        if ground.gone is not None and plan.live is not None and not ground.unverified:
            raise or_without_source(plan, ground.gone)
        release(ground)
        if ground.gone is not None:
            and_app = ", and what stayed of the App," if plan.live is not None else ""
            how = " --delete" if plan.live is not None else ""
            ground.clock.observer.message(
                f"the marker of this Move{and_app} is still on {plan.source}; when that can be "
                f"reached again: portkit forget {plan.move}{how}"
            )
        return {LEFT: list(ground.missing)}


def steps_of(ground: Ground) -> tuple[BaseStep, ...]:
    """The steps of a Plan, in the order of `Plan.steps`."""
    main, aside = ground.lane(), ground.lane()
    names = ground.plan.steps()
    if not ground.plan.both:
        return tuple(_step(name, main) for name in names)
    return tuple(
        replace(_step(name, aside), aside=True) if name in _ASIDE else _step(name, main)
        for name in names
    )


def _step(name: str, ground: Ground) -> BaseStep:
    verb, _, word = name.partition(" ")
    known = word in [each.value for each in Form]
    form = Form(word) if known else ground.plan.keep or ground.plan.forms[0]
    there = ("reserve", f"create {form}")
    match verb:
        case "reserve":
            return Reserve(ground, name, renewed=True)
        case "package":
            waits, again = _late(ground, reads=True), ground.cargo is not None
            return MakeDisk(ground, name, ("reserve",), waits, renewed=again, form=form)
        case "transfer" if form is Form.IMAGE:
            return Send(ground, name, ("reserve",), form=form)
        case "transfer":
            return Send(ground, name, ("reserve", MAKE_DISK), _late(ground), form=form)
        case "create":
            return Create(ground, name, _made_of(ground, form), form=form)
        case plans.VOLUMES:
            return TakeVolumes(ground, name, ("reserve",))
        case "presync":
            return cutover.Presync(ground, name, there, form=form)
        case "wait":
            return pause.Wait(ground, name, there, form=form)
        case "verify":
            return cutover.VerifySource(ground, name, (plans.STOP, f"boot {form}"), form=form)
        case "confirm":
            return pause.Confirm(ground, name, ("reserve", f"boot {form}"), form=form)
        case "fence":
            return cutover.Fence(ground, name, ("reserve",))
        case plans.QUIESCE:
            # It needs nothing: one that fails while the Move is taken back holds up no other step.
            return Quiesce(ground, name)
        case plans.UNQUIESCE:
            return Unquiesce(ground, name, form=form)
        case "stop":
            # What is on the target stays there as long as the source could not be started again.
            return cutover.Stop(ground, name, (*there, plans.FENCE, plans.QUIESCE))
        case "last" if word == "layer":
            return cutover.LastLayer(ground, name, (*there, plans.STOP), form=form)
        case "last":
            return cutover.LastSync(ground, name, (*there, plans.STOP), form=form)
        case "boot":
            return _boot(ground, name, form)
        case "start":
            return Again(ground, name, (f"create {form}",), form=form)
        case "commit":
            verified = () if ground.plan.live is None else (plans.VERIFY_SOURCE,)
            return Commit(ground, name, (*there, *verified), form=form)
        case "discard":
            return Discard(ground, name, ("reserve",))
        case plans.FORWARD:
            # Its ports are those that the source needs to start again.
            return Forward(ground, name, (plans.STOP,), ("commit",))
        case plans.HOOK:
            # It needs nothing: one that fails while the Move is taken back holds up no other step.
            return RunHook(ground, name, (), ("commit",), form=form)
        case _:
            return Release(ground, name)


def _made_of(ground: Ground, form: Form) -> tuple[str, ...]:
    """What an Instance is created of; volumes that it takes are given back when it is gone."""
    taken = [name for name in ground.plan.steps() if name == plans.VOLUMES]
    return ("reserve", *taken, f"transfer {form}")


def _stopped(ground: Ground) -> tuple[str, ...]:
    """What has to be done before an App that ran at the source starts. What copies is not done
    again while it could not be stopped on the target: it would undo what was written there."""
    copies = (plans.PRESYNC, plans.WAIT, plans.LAST_SYNC, plans.LAST_LAYER)
    return () if ground.plan.live is None else (*copies, plans.STOP)


def _boot(ground: Ground, name: str, form: Form) -> BaseStep:
    created = f"create {form}"
    if ground.plan.without_stop:
        # What is on the target, and the fence at the source, stay as long as it is not known which
        # side runs.
        return MoveLive(ground, name, (created, plans.FENCE), form=form)
    return Start(ground, name, (created, *_stopped(ground)), form=form)


def _late(ground: Ground, *, reads: bool = False) -> tuple[str, ...]:
    """What a step of the second lane waits for. reads: it only takes from the source.

    A disk is sent as what its image's layers lack, so they have to be on the target. And calls to a
    host go one after the other: sooner, the disk would hold up the container. A bundle is one file,
    which only one lane can read.
    """
    plan = ground.plan
    waits = plan.both and not (reads and plan.source is not None)
    return ("create image",) if waits else ()
