"""What a VM was made of, kept beside its disks, so that it can be moved on with its data."""

from __future__ import annotations

from collections.abc import Mapping

from portkit import app as apps
from portkit import runtime
from portkit.bundle import described
from portkit.errors import AppError
from portkit.model import AppSpec, Artifact, Form
from portkit.move.ground import Ground
from portkit.source.vm_description import decode, encode


def describe(ground: Ground, spec: AppSpec, disk: Artifact) -> None:
    """Keep on the target what its VM is made of: `disk`, which is of the images in `spec`. An App
    that cannot be described runs all the same; a message says that its VM cannot be moved on."""
    cargo, plan = ground.loaded, ground.plan
    images = [service.image for service in spec.services]
    try:
        text = encode(apps.filled(cargo.app), images, disk)
    except AppError as error:
        ground.clock.observer.message(
            f"its VM cannot later be moved from {plan.target} with its data: {error.brief}: "
            f"{error.details}"
        )
        return
    ground.target.remote.call("instance.describe", {"id": plan.move, "text": text})


def policies_of(ground: Ground, form: Form) -> tuple[Mapping[str, str], AppSpec | None]:
    """The restart policies that the App asks for, by service, and the App. That is None of
    containers that are no longer at their source: an engine needs no more than the policies."""
    spec = ground.cargo.spec if ground.cargo is not None else _told(ground, form)
    if spec is not None:
        return {each.service: each.restart for each in spec.services}, spec
    live = ground.plan.live
    return {each.service: each.restart for each in live.containers} if live else {}, None


def _told(ground: Ground, form: Form) -> AppSpec | None:
    """The App by what was kept beside the disks of its VM, on the target or at its source; None
    where it is no VM. HostError where nothing was kept."""
    plan, source = ground.plan, ground.source
    if form is Form.DISK:
        host, identity = ground.target, plan.move
    elif plan.live is not None and plan.live.domain is not None and source is not None:
        host, identity = source, plan.live.domain.id
    else:
        return None
    text = host.remote.call("instance.described", {"id": identity})["text"]
    told = decode(text, plan.app_source)
    app = described.trusting(told.app, told.cas, runtime.subfolder()) if told.cas else told.app
    return apps.resolve_all(apps.filled(app), told.images)
