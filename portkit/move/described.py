"""What a VM was made of, kept beside its disks, so that it can be moved on with its data."""

from __future__ import annotations

from portkit import app as apps
from portkit.errors import AppError
from portkit.model import AppSpec, Artifact
from portkit.move.ground import Ground
from portkit.source.vm_description import encode


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
