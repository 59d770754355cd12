"""What the Move of a Plan was made from, read again; AppError where it has changed since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from portkit import app as apps
from portkit.bundle import Bundle
from portkit.clock import Clock
from portkit.errors import (
    AppError,
    PortkitError,
)
from portkit.host import Host
from portkit.model import App, AppSpec, Artifact, Form
from portkit.move.by_marker import Connect
from portkit.move.ground import kept, read
from portkit.move.plan import Plan
from portkit.move.prepare import Links, Packed, Turn
from portkit.progress import Observer
from portkit.source import InBundle, OnHost, Running, RunningVM, Source
from portkit.store import Store


def changed(plan: Plan, what: str) -> AppError:
    """The error for an App that is another one now. what: it was, or what of it is another."""
    return AppError(
        "the App has changed since the Move began",
        details=f"{plan.app_source}: {what}",
        resolution="Restore the App as it was, or roll the Move back: portkit rollback "
        f"{plan.move}",
    )


def image_of(plan: Plan, store: Store) -> Artifact:
    """The image that the Move carries, or that its disk is made of."""
    try:
        # Of a bundle with the disk alone, there is no more than the image's description.
        return (kept if Form.IMAGE in plan.forms else read)(plan.image, store)
    except PortkitError as error:
        raise PortkitError(
            "the image of this Move no longer exists here",
            details=str(error.details),
            resolution=f"Roll the Move back and start a new one: portkit rollback {plan.move}",
        ) from error


@contextmanager
def source_of(plan: Plan, observer: Observer, connect: Connect) -> Iterator[tuple[App, Source]]:
    """The App as it is now, and where its images come from."""
    if plan.source is None:
        with Bundle(Path(plan.app_source)) as bundle:
            yield apps.with_health(bundle.app, plan.reading.health), InBundle(bundle)
        return
    if plan.live is not None and plan.live.domain is not None:
        with connect(plan.source, observer) as host:
            machine = RunningVM(
                host,
                plan.app_source,
                moving=plan.live.domain.id,
                form=plan.forms[0],
                keeps_running=plan.without_stop,
                health=plan.reading.health,
            )
            yield machine.app(), machine
        return
    if plan.live is not None:
        with connect(plan.source, observer) as host:
            running = Running(
                host,
                plan.app_source,
                plan.reading.carry,
                same_paths=plan.reading.same_paths,
                health=plan.reading.health,
                on_taken=plan.live.on_taken,
                moving=plan.live.containers,
            )
            yield running.app(), running
        return
    app = apps.load(plan.app_source, **asdict(plan.reading))
    with connect(plan.source, observer) as host:
        yield app, OnHost(host)


@contextmanager
def source_host(plan: Plan, observer: Observer, connect: Connect) -> Iterator[Host | None]:
    """The host that the App comes from; None for one out of a bundle."""
    if plan.source is None:
        yield None
        return
    with connect(plan.source, observer) as host:
        yield host


def packed_of(
    plan: Plan,
    app: App,
    source: Source,
    target: Host,
    image: Artifact,
    observer: Observer,
) -> Packed:
    """What a Move that goes on begins with."""
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
        raise changed(plan, f"it had the services {', '.join(plan.services)}")
    spec = apps.resolve_all(apps.filled(app), [known[digest] for digest in plan.services.values()])
    # What the target had when the Move was planned counts, and not what it has now.
    return spec.taking([each.name for each in plan.live.taking] if plan.live else ())
