"""Moves that were left unfinished: refused a second time, resumed, or rolled back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from portkit import app as apps
from portkit import boot, transfer
from portkit import host as hosts
from portkit.bundle import Bundle
from portkit.clock import Clock
from portkit.errors import AppError, ConflictError, PortkitError
from portkit.host import Host
from portkit.model import App, AppSpec, Artifact, Form
from portkit.move import walk
from portkit.move.carry import (
    cargo_of,
    fingerprint,
    form_reports,
    say_what_is_left,
    walk_backward,
    walk_forward,
)
from portkit.move.ground import Ground, kept, read
from portkit.move.journal import OPEN, Entry, Journal, MoveState, Steps
from portkit.move.plan import Plan, plan_from
from portkit.move.prepare import Links, Packed, Turn
from portkit.move.steps import steps_of
from portkit.progress import NullObserver, Observer
from portkit.report import Report
from portkit.source import InBundle, OnHost, Source
from portkit.store import Store, default_root

Connect = Callable[[str, Observer], AbstractContextManager[Host]]


@dataclass(frozen=True)
class Ended:
    """A Move that was ended: how, and the Report where it was resumed."""

    move: str
    state: MoveState
    report: Report | None = None


def refuse(journal: Journal, app: str, target: str) -> None:
    """ConflictError when a Move of that App to that target is at work, or was left unfinished."""
    for entry in journal.moves():
        if entry.app != app or entry.target != target or entry.state not in OPEN:
            continue
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started))
        details = f"{entry.id}: {entry.source} -> {entry.target}, started {started}"
        if entry.live:
            raise ConflictError(
                f"another Move of {app} is at work",
                details=details,
                resolution="Wait until it has ended; `portkit moves` shows it.",
            )
        raise ConflictError(
            f"an earlier Move of {app} was left unfinished",
            details=details,
            resolution=f"Go on with it: portkit resume {entry.id}\n"
            f"Or take it back: portkit rollback {entry.id}",
        )


def resume(
    identity: str,
    *,
    journal: Journal | None = None,
    store: Store | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Ended:
    """Continue an unfinished Move to its end; steps that are done are not done again.

    The App is read again from where it was. Raises AppError when it has changed since. When the
    Move fails now, it is rolled back like any other.
    """
    journal, observer = journal or Journal(), observer or NullObserver()
    store = store or Store(default_root())
    entry = _open_entry(journal, identity)
    plan = plan_from(entry.plan)
    image = _image(plan, store)
    with (
        journal.held(identity),
        _source(plan, observer, connect) as (app, source),
        connect(plan.target, observer) as target,
    ):
        # As it was asked for when the Move began.
        target.limit(plan.limit)
        packed = _packed(plan, app, source, target, image, observer)
        if fingerprint(journal, packed.spec) != plan.fingerprint:
            raise AppError(
                "the App has changed since the Move began",
                details=f"{plan.app_source}: its settings, or variables that they are made from",
                resolution=f"Put them back as they were, or take the Move back: portkit rollback "
                f"{identity}",
            )
        steps = journal.record(identity)
        with packed.turn.taken() as clock:
            cargo = cargo_of(packed, store, source)
            ground = Ground(plan, steps, target, source.host, clock, cargo, from_start=False)
            journal.settle(identity, MoveState.RUNNING)
            walk_forward(ground, journal, steps)
        report = packed.report((), form_reports(plan, steps, packed, cargo))
    return Ended(identity, journal.get(identity).state, report)


def rollback(
    identity: str,
    *,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Ended:
    """Roll an unfinished Move back, so that nothing of it stays on the target.

    If a step cannot be undone, the others are undone all the same, and the error of the first one
    that failed is raised. The same call can be made again.
    """
    journal, observer = journal or Journal(), observer or NullObserver()
    entry = _open_entry(journal, identity)
    plan = plan_from(entry.plan)
    with (
        journal.held(identity),
        connect(plan.target, observer) as target,
        _source_host(plan, observer, connect) as source,
    ):
        steps = journal.record(identity)
        ground = Ground(plan, steps, target, source, Clock(observer), for_good=True)
        _lock_again(ground, steps)
        journal.settle(identity, MoveState.ROLLING_BACK, entry.error)
        left = walk_backward(ground, journal, steps, entry.error or "rolled back by hand")
    if left:
        say_what_is_left(observer, identity, left)
        raise left[0].error
    return Ended(identity, MoveState.ROLLED_BACK)


def rollback_on(identity: str, host: Host) -> bool:
    """Roll a Move back by its marker on the host alone, without the journal.

    This is for a Move that another machine has started. Returns False when the host has no marker
    of that Move. Raises ConflictError while the Move is at work.
    """
    markers = host.remote.call("move.list", {})["moves"]
    found = next((marker for marker in markers if marker["id"] == identity), None)
    if found is None:
        return False
    if found["live"]:
        raise ConflictError(
            "the Move is at work",
            details=f"{identity} of {found['app']}, by {found['about'].get('holder', '?')}",
            resolution="Stop that portkit first, with Ctrl-C.",
        )
    # A source has the lock and the marker only; nothing was brought there.
    if found["role"] == "target":
        facts = host.facts()
        engines = {Form.IMAGE: facts.docker_version, Form.DISK: facts.libvirt_version}
        # An engine that is not there holds nothing of the Move.
        for form, version in engines.items():
            if version is not None:
                with boot.runner(host, form) as runner:
                    runner.remove(identity)
        brought = found["brought"]
        transfer.release(found["hold"].split(), host, brought, move=identity, parts=brought)
    # Last: as long as there is a marker, the same call can be made again.
    host.remote.call("move.end", {"id": identity, "app": found["app"]})
    return True


def _open_entry(journal: Journal, identity: str) -> Entry:
    entry = journal.get(identity)
    if entry.state in OPEN:
        return entry
    done = entry.state is MoveState.DONE
    raise ConflictError(
        f"the Move has ended: it is {entry.state}",
        details=f"{identity} of {entry.app}, {entry.source} -> {entry.target}",
        resolution=f"To remove what it brought: portkit rm {identity} --on {entry.target}"
        if done
        else "Nothing of it is on the target.",
    )


def _lock_again(ground: Ground, steps: Steps) -> None:
    """The lock of the process that died is gone: a rollback holds it as well."""
    # A step that was never begun, or was undone, left no lock that could be taken over.
    reserve = steps_of(ground)[0]
    if steps.state(reserve.name) not in (walk.StepState.PENDING, walk.StepState.UNDONE):
        reserve.do()


def _image(plan: Plan, store: Store) -> Artifact:
    """The image that the Move carries, or that its disk is made of."""
    try:
        # Of a bundle with the disk alone, there is no more than the image's description.
        return (kept if Form.IMAGE in plan.forms else read)(plan.image, store)
    except PortkitError as error:
        raise PortkitError(
            "the image that the Move carries is not here any more",
            details=str(error.details),
            resolution=f"Take the Move back and make it anew: portkit rollback {plan.move}",
        ) from error


@contextmanager
def _source(plan: Plan, observer: Observer, connect: Connect) -> Iterator[tuple[App, Source]]:
    if plan.source is None:
        with Bundle(Path(plan.app_source)) as bundle:
            yield bundle.app, InBundle(bundle)
        return
    app = apps.load(plan.app_source, **asdict(plan.reading))
    with connect(plan.source, observer) as host:
        yield app, OnHost(host)


@contextmanager
def _source_host(plan: Plan, observer: Observer, connect: Connect) -> Iterator[Host | None]:
    if plan.source is None:
        yield None
        return
    with connect(plan.source, observer) as host:
        yield host


def _packed(
    plan: Plan,
    app: App,
    source: Source,
    target: Host,
    image: Artifact,
    observer: Observer,
) -> Packed:
    return Packed(
        move=plan.move,
        app=app,
        spec=_spec(plan, app, image),
        image=image,
        artifacts={form: image if form is Form.IMAGE else None for form in plan.forms},
        source=source.facts(),
        target=target.facts(),
        findings=plan.findings,
        turn=Turn(Clock(observer), Links(source, target)),
    )


def _spec(plan: Plan, app: App, image: Artifact) -> AppSpec:
    """What the App's processes will see now; AppError when it has other services than before."""
    known = {each.digest: each for each in image.images}
    if [service.name for service in app.services] != list(plan.services):
        raise AppError(
            "the App has changed since the Move began",
            details=f"{plan.app_source}: it had the services {', '.join(plan.services)}",
            resolution="Put it back as it was, or take the Move back: portkit rollback "
            f"{plan.move}",
        )
    return apps.resolve_all(apps.filled(app), [known[digest] for digest in plan.services.values()])
