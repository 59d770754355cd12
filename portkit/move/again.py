"""The time to the first answer of an App that is on a host already, measured again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from portkit import boot, compat
from portkit import watch as watching
from portkit.health import choose, deadline, runs_check
from portkit.host import Host
from portkit.model import App, Form, Instance, Method, Port
from portkit.progress import NullObserver, Observer


@dataclass(frozen=True)
class Measured:
    """Time to first request of an existing Instance: the seconds from the call that started it, one
    value for each start.

    timeout_s: how long the measurement would have waited for the first answer; timeout_reason: why
    that long.
    """

    instance: Instance
    from_boot_s: tuple[float, ...]
    url: str
    vantage: str
    poll_s: float
    method: Method
    reason: str
    timeout_s: float
    timeout_reason: str


def measure_again(
    app: App,
    target: Host,
    *,
    form: Form | None = None,
    repeat: int = 1,
    observer: Observer | None = None,
) -> Measured:
    """Measure again how soon an App that is already on a host answers, `repeat` times.

    Its Instance is stopped and started each time, and runs afterwards. Raises AppError if the host
    has no Instance of the App, or several that could be meant.
    """
    facts = target.facts()
    one = boot.find(boot.instances(target, facts), app.name, form)
    front = app.front_service
    health, ports = front.health, front.ports
    if not ports:  # a Dockerfile's or an image's: what the engine says is published
        ports = tuple(Port(port) for port in one.host_ports)
    answers = []
    with boot.runner(target, one.form) as runner:
        # The engine knows of a healthcheck in an image, which is not read here.
        checks = runs_check(front.healthcheck) or runner.life(one.id).health != ""
        way = choose(ports, health, one.form, checks_itself=checks)
        watch = watching.watch(
            runner,
            one.id,
            target,
            health,
            way,
            deadline(health, compat.verdict((), facts, one.form), facts.loop_s),
            check=front.healthcheck,
            observer=observer or NullObserver(),
        )
        for _ in range(repeat):
            runner.stop(one.id)
            started = time.monotonic()
            runner.start(one.id)
            answers.append(watch.first_answer(started))
        watch.settle()
    return Measured(
        instance=replace(one, status="running", exit_code=None),
        from_boot_s=tuple(round(answer.seconds, 3) for answer in answers),
        url=answers[0].url,
        vantage=answers[0].vantage,
        poll_s=answers[0].poll_s,
        method=way.method,
        reason="; ".join(way.reasons),
        timeout_s=watch.deadline.seconds,
        timeout_reason=watch.deadline.reason,
    )
