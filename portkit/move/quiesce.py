"""Commands that an App wants to have run in its containers: before they are stopped, and where they
run next (x-portkit.quiesce)."""

from __future__ import annotations

from portkit import boot
from portkit.move import cutover
from portkit.move.step import BaseStep, FormStep
from portkit.move.up import up_again
from portkit.source.quiesce import commands
from portkit.wire.json_types import JsonObject


class Quiesce(BaseStep):
    """What is to run before they are stopped."""

    def do(self) -> JsonObject:
        ground = self.ground
        there = commands(cutover.source_of(ground), cutover.live_of(ground))
        with there as asked, ground.clock.phase("quiesce"):
            asked.before()
        return {"phases": ground.phases()}

    def undo(self) -> None:
        ground = self.ground
        with cutover.origin_of(ground, before=True) as there:
            cutover.start(ground, there)  # its host may have been restarted since it was fenced
        if ground.skip_hooks:
            ground.clock.observer.message("x-portkit.quiesce.after is not run any more")
            return
        with commands(cutover.source_of(ground), cutover.live_of(ground)) as asked:
            asked.after(ground.halt.pause)


class Unquiesce(FormStep):
    """What is to run once they run again. Going back, the target is stopped, and the undo of
    `Quiesce` runs it at the source."""

    def do(self) -> JsonObject:
        ground = self.ground
        if not ground.from_start:  # the target may have been restarted since
            with boot.runner(ground.target, self.form) as runner:
                if not runner.life(ground.plan.move).running:
                    cutover.require_stopped(ground)
                    up_again(ground, self.form, runner)
        there = commands(ground.target, cutover.live_of(ground), move=ground.plan.move)
        with there as asked, ground.clock.phase("unquiesce"):
            asked.after(ground.halt.pause)
        return {"phases": ground.phases()}
