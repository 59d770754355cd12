"""The step by which volumes that the target has become those of the App."""

from __future__ import annotations

from contextlib import closing

from portkit.boot import taken
from portkit.model import OnTaken
from portkit.move.ground import Ground
from portkit.move.step import BaseStep
from portkit.wire.json_types import JsonObject


def require_unused(ground: Ground, *, starts_again: bool = False) -> None:
    """ConflictError when a container that runs uses a volume of the target that the App takes: it
    may have been started long after `TakeVolumes` has asked, by its host's restart too.

    starts_again: the App has run there before, and some of its containers may run still.
    """
    live = ground.plan.live
    names = [each.name for each in live.taking] if live is not None else []
    if not names:
        return
    # Imported here because the SDK may be absent where no engine is used.
    from portkit.engines.docker_volumes import DockerVolumes

    with closing(DockerVolumes(ground.target.docker_socket(), ground.target.name)) as engine:
        own = engine.made_by(ground.plan.move).values() if starts_again else ()
        engine.require_unused(names, own)


class TakeVolumes(BaseStep):
    """Of those that are replaced, what they have is set aside. Those that are kept are only looked
    at: nothing may run that uses them."""

    undone_at = "target"

    def do(self) -> JsonObject:
        ground = self.ground
        live = ground.plan.live
        assert live is not None, "only an App that brings its data can take over volumes"
        kept = [each.name for each in live.taking if each.way is OnTaken.KEEP]
        places = taken.places(
            ground.target,
            [each.name for each in live.taking if each.way is OnTaken.OVERRIDE],
            kept,
        )
        replaced = {name: path for name, path in places.items() if name not in kept}
        untouched = {name: path for name, path in places.items() if name in kept}
        unreadable = taken.set_aside(ground.target, ground.plan.move, replaced, untouched)
        for path in unreadable:
            ground.clock.observer.message(
                f"{ground.target.name}: {path} cannot be read: what that Move has set aside can be "
                "neither put back nor removed until it can"
            )
        for each in live.taking:
            verb = "is kept as it is" if each.way is OnTaken.KEEP else "is set aside"
            ground.clock.observer.message(
                f"the data of volume {each.name} on {ground.target.name} {verb}"
            )
        return {"folders": replaced}

    def undo(self) -> None:
        taken.put_back(self.ground.target, self.ground.plan.move)
