"""The step by which volumes that the target has become those of the App."""

from __future__ import annotations

from portkit.boot import taken
from portkit.model import OnTaken
from portkit.move.step import BaseStep
from portkit.wire.json_types import JsonObject


class TakeVolumes(BaseStep):
    """Of those that are replaced, what they have is set aside. Those that are kept are only looked
    at: nothing may run that uses them."""

    def do(self) -> JsonObject:
        ground = self.ground
        live = ground.plan.live
        assert live is not None, "only an App that brings its data takes volumes"
        replaced = taken.places(
            ground.target,
            [each.name for each in live.taking if each.way is OnTaken.OVERRIDE],
            [each.name for each in live.taking if each.way is OnTaken.KEEP],
        )
        if replaced:
            taken.set_aside(ground.target, ground.plan.move, replaced)
        for each in live.taking:
            verb = "is kept as it is" if each.way is OnTaken.KEEP else "is set aside"
            ground.clock.observer.message(
                f"what volume {each.name} has on {ground.target.name} {verb}"
            )
        return {"folders": replaced}

    def undo(self) -> None:
        taken.put_back(self.ground.target, self.ground.plan.move)
