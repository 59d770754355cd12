"""The Instance of a Move on its target: watched until it answers, and brought up again."""

from __future__ import annotations

import time

from portkit import boot, compat, health
from portkit import watch as watching
from portkit.errors import BootError
from portkit.host import Host
from portkit.model import Form
from portkit.move.ground import Ground
from portkit.move.was import standing


def up_again(ground: Ground, form: Form, runner: boot.Runner) -> None:
    """Start what has answered before and does not run; it answers again and stays up."""
    way = health.way_of(ground.loaded.spec.front, form)
    watch = watch_over(ground, form, runner, way)
    with ground.clock.phase(f"start {form}"):
        started = time.monotonic()
        if not runner.life(ground.plan.move).running:  # a process that was killed started it
            runner.start(ground.plan.move, standing=standing(ground))
        watch.first_answer(started)
    with ground.clock.phase("settle"):
        watch.settle()


def require_known(ground: Ground) -> None:
    """BootError where the Move goes on without its App's source or image: how the App is asked
    whether it is up is read from them."""
    if ground.cargo is None:
        move, on = ground.plan.move, ground.target.name
        raise BootError(
            f"the App does not run on {on} any more, and this Move cannot start it",
            details=f"{move} of {ground.plan.app}: it is no longer at its source, or its image is "
            "not in the Store here",
            resolution=f"Start it: portkit start {move} --on {on}\nThen: portkit commit {move}",
        )


def up_since(host: Host, form: Form) -> str:
    """What tells one start of a host from the next, and of the engine that takes its containers
    with it when it ends. libvirt's daemon leaves its guests alone."""
    row = host.remote.call("kernel.identity", {})
    engine = f" {row['engine_since']}" if form is Form.IMAGE else ""
    return f"{row['boot_id']} {row['since']}{engine}"


def watch_over(ground: Ground, form: Form, runner: boot.Runner, way: health.Way) -> watching.Watch:
    """A Watch over the Move's Instance of a form, which ends when the other lane fails."""
    cargo = ground.loaded
    verdict = compat.verdict(ground.plan.findings[form], cargo.facts, form)
    front = cargo.spec.front
    return watching.watch(
        runner,
        ground.plan.move,
        ground.target,
        front.health,
        way,
        health.deadline(front.health, verdict, cargo.facts.loop_s),
        check=front.healthcheck,
        observer=ground.clock.observer,
        halt=ground.halt,
        unasked=standing(ground).ill,
    )
