"""The steps in which a Move waits until it is told to go on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from portkit import boot
from portkit.errors import ConflictError, EngineError, HostError, PortkitError, TransferError
from portkit.model import Form, Part
from portkit.move import foresee
from portkit.move.cutover import copy_of, live_of, start_again
from portkit.move.ground import Ground
from portkit.move.layers import Layers
from portkit.move.plan import LET_GO, Pause
from portkit.move.step import FormStep
from portkit.move.taken import require_unused
from portkit.move.up import up_since
from portkit.progress import Quiet
from portkit.volumes import Pass, predicted_last_s
from portkit.watch import no_room
from portkit.wire.json_types import JsonObject

_LOOK_S = 0.5  # whether somebody has told the Move to go on; each look reads the journal
# Between two passes while a Move waits: a pass reads every entry of every volume.
_LEAST_S, _TIMES = 5.0, 4.0
# What a cutover would cost is told again when it has changed by so much, or after this time.
_MUCH_S, _MUCH, _TELL_S = 0.5, 0.2, 60.0
# Between two looks at an App that waits to be kept: whether a restart has ended it.
_CONFIRM_S = 15.0


class Wait(FormStep):
    """Waits until it is told to stop the App; meanwhile the data on the target keeps up with it."""

    def do(self) -> JsonObject:
        ground = self.ground
        move = ground.plan.move
        ground.clock.observer.message(
            f"the App keeps running; to stop it and start it on {ground.plan.target}: portkit "
            f"cutover {move}"
        )
        passes: dict[int, list[Pass]] = {}
        cost, layers = _Cost(ground), Layers(ground, self.form)
        while not ground.results.told(Pause.CUTOVER):
            began = time.monotonic()
            require_unused(ground)  # days may go by
            for volume in live_of(ground).warm:
                known = passes.setdefault(volume.number, [])
                # What comes after the first one repeats itself for hours, perhaps.
                quiet = Quiet(ground.clock.observer) if known else None
                known.append(copy_of(ground, volume, self.form).run(observer=quiet))
            took = time.monotonic() - began
            layers.keep_up()
            # After one pass nobody knows how much changes in the time of a pass.
            if all(len(known) > 1 for known in passes.values()):
                cost.tell(sum(map(predicted_last_s, passes.values())), layers.foreseen())
            wait_for(ground, Pause.CUTOVER, max(_LEAST_S, _TIMES * took))
        return {"held": layers.held}


@dataclass
class _Cost:
    """What a cutover now would cost, told where it has changed, and now and then as a sign of
    life."""

    ground: Ground
    told_s: float = 0.0
    told_at: float = float("-inf")

    def tell(self, last_s: float, layer_s: Part | None = None) -> None:
        """last_s: how long the last pass would take now; layer_s: the last layer."""
        seconds, text = foresee.would_cost(self.ground.plan.foreseen, last_s, layer_s)
        changed = abs(seconds - self.told_s) > max(_MUCH_S, _MUCH * self.told_s)
        now = time.monotonic()
        if changed or now - self.told_at >= _TELL_S:
            self.ground.clock.observer.message(text)
            self.told_s, self.told_at = seconds, now


class Confirm(FormStep):
    """Waits until it is told that the target is to keep the App, which runs there already, and
    starts it again where its host or its engine was restarted meanwhile: nobody would serve until
    then."""

    def do(self) -> JsonObject:
        ground = self.ground
        move = ground.plan.move
        if not ground.results.told(Pause.COMMIT):
            ground.clock.observer.message(
                f"the App runs on {ground.plan.target}; to keep it there: portkit commit {move}; "
                f"to roll back: portkit rollback {move} --discard-writes"
            )
        said: set[str] = set()  # since all was well: it may last for hours
        kept = _Kept(ground, self.form, ground.results.result(f"boot {self.form}").get("up_since"))
        while not ground.results.told(Pause.COMMIT):
            wait_for(ground, Pause.COMMIT, _CONFIRM_S)
            try:
                brief = news = kept.look()
            except (HostError, TransferError, EngineError) as error:
                brief, news = error.brief, _not_known(ground, error)
            if not news:
                said.clear()
            elif brief not in said:
                ground.clock.observer.message(news)
                said.add(brief)
        return {}


def _not_known(ground: Ground, error: PortkitError) -> str:
    seen = f"{error.brief} ({error.details})" if error.details else error.brief
    return f"whether the App serves on {ground.plan.target} is not known: {seen}"


@dataclass
class _Kept:
    """The App on the target, until the Move is told to keep it there. since: the start of its host
    and its engine in which it was last seen running."""

    ground: Ground
    form: Form
    since: str | None

    def look(self) -> str:
        """Start it again where its host or its engine was restarted. What there is to report, ""
        while all is well: what has ended in another way is not started, as somebody may have
        stopped it."""
        ground, move = self.ground, self.ground.plan.move
        # First: what is restarted right after it is seen to be another start the next time.
        since = up_since(ground.target, self.form)
        with boot.runner(ground.target, self.form) as runner:
            life = runner.life(move)
            if life.stuck:
                error = no_room(move, ground.target, "after its first answer")
                return f"{error.brief} ({error.details}). {error.resolution}"
            if not life.running:
                if since == self.since:
                    on, code = ground.plan.target, life.exit_code
                    how = "" if code is None else f" with code {code}"
                    return (
                        f"the App has ended on {on}{how}, so nobody serves; before the commit no "
                        f"restart policy starts it; to start it there again: portkit start {move} "
                        f"--on {on}"
                    )
                start_again(ground, self.form, runner)
        self.since = since
        return ""


def wait_for(ground: Ground, pause: Pause, seconds: float) -> None:
    """Until the Move is told to go on, at most for so long. ConflictError where it is told that
    another process takes it over."""
    deadline = time.monotonic() + seconds
    while not ground.results.told(pause) and time.monotonic() < deadline:
        if ground.results.told(LET_GO):
            raise ConflictError(
                "another portkit takes this Move over",
                details=f"{ground.plan.move} of {ground.plan.app}",
                resolution="`portkit moves --all` shows how that ends.",
            )
        ground.halt.pause(_LOOK_S)
