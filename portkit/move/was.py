"""A running App as it was at its source right before it was fenced. It runs so on the target."""

from __future__ import annotations

from portkit.model import Live, Standing
from portkit.move.ground import Ground
from portkit.move.plan import FENCE
from portkit.report import adapter


def before_fence(ground: Ground) -> Live | None:
    """The App at its source right before it was fenced; before that, as it was planned. None where
    none ran."""
    was = ground.results.result(FENCE).get("was")
    return ground.plan.live if was is None else adapter(Live).validate_python(was)


def standing(ground: Ground) -> Standing:
    """How the services stood at the source, which counts on the target.

    Where what answers for the App was stopped meanwhile, its user has stopped the App to move it:
    what ran when the Move was planned counts then."""
    was, planned = before_fence(ground), ground.plan.live
    if was is None or planned is None:
        return Standing()
    if was.domain is not None:
        return Standing(was.domain.resting)
    # At the end of a Move whose source is gone nothing of the App is read any more.
    front = None if ground.cargo is None else ground.cargo.spec.front.service
    ran = any(each.running for each in was.containers if front in (None, each.service))
    counted = was.containers if ran else planned.containers
    return Standing(
        tuple(each.service for each in counted if not each.running and each.service != front),
        tuple(each.service for each in counted if each.running and each.ill),
    )
