"""Commands that an App wants to have run in its containers: before they are stopped, and where they
run next (x-portkit.quiesce)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from portkit.errors import EngineError, ToolError
from portkit.model import Live
from portkit.move import cutover
from portkit.move.ground import Ground
from portkit.move.step import BaseStep, FormStep
from portkit.move.was import before_fence
from portkit.source.quiesce import commands
from portkit.wire.json_types import JsonObject


class Quiesce(BaseStep):
    """What is to run before they are stopped."""

    undone_at = "source"

    def do(self) -> JsonObject:
        ground = self.ground
        if _skipped(ground, "before"):
            return {}
        there = commands(cutover.source_of(ground), _was(ground))
        with there as asked, ground.clock.phase("quiesce"):
            asked.before()
        return {"phases": ground.phases()}

    def undo(self) -> None:
        ground = self.ground
        with cutover.origin_of(ground, before=True) as there:
            cutover.start(ground, there)  # its host may have been restarted since it was fenced
        if _skipped(ground, "after"):
            return
        containers = commands(cutover.source_of(ground), _was(ground))
        with containers as asked, _way_out(ground, "rollback"):
            asked.after(ground.halt.pause)


class Unquiesce(FormStep):
    """What is to run once they run again. Going back, the target is stopped, and the undo of
    `Quiesce` runs it at the source."""

    def do(self) -> JsonObject:
        ground = self.ground
        cutover.up_after_restart(ground, self.form)
        was = _was(ground)
        # With `before` alone, the App may run in a VM now, on a host without an engine.
        if not any(each.quiesce.after for each in was.containers) or _skipped(ground, "after"):
            return {}
        there = commands(ground.target, was, move=ground.plan.move)
        with there as asked, ground.clock.phase("unquiesce"), _way_out(ground, "resume"):
            asked.after(ground.halt.pause)
        return {"phases": ground.phases()}


def _was(ground: Ground) -> Live:
    return before_fence(ground) or cutover.live_of(ground)


def _skipped(ground: Ground, key: str) -> bool:
    if ground.skip_quiesce:
        ground.clock.observer.message(f"x-portkit.quiesce.{key} is skipped")
    return ground.skip_quiesce


@contextmanager
def _way_out(ground: Ground, verb: str) -> Iterator[None]:
    try:
        yield
    except (ToolError, EngineError) as error:
        error.resolution = (
            f"{error.resolution}\nWhen the cause is fixed: portkit {verb} {ground.plan.move}\nTo "
            f"continue without this command: portkit {verb} {ground.plan.move} --skip-quiesce"
        ).strip()
        raise
