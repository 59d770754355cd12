"""An unfinished Move, or one that has ended, taken back by the journal; also without a host that is
gone for good."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from portkit import host as hosts
from portkit.clock import Clock
from portkit.errors import ConflictError, HostError, PortkitError, TransferError
from portkit.host import Host
from portkit.move.behind import came_back
from portkit.move.by_marker import Connect
from portkit.move.carry import (
    has_served,
    require_origin,
    say_what_is_left,
    walk_backward,
)
from portkit.move.forward import end as end_forward
from portkit.move.ground import Ground
from portkit.move.journal import Entry, Journal, MoveState, Steps
from portkit.move.marker import LEFT
from portkit.move.open_entry import Ended, open_entry
from portkit.move.plan import PRESYNC, Pause, Plan, plan_from
from portkit.move.steps import steps_of
from portkit.move.waits import pause_of, take_over
from portkit.move.walk import StepState
from portkit.progress import NullObserver, Observer

_NEVER = (StepState.PENDING, StepState.UNDONE)


def rollback(
    identity: str,
    *,
    discard_writes: bool = False,
    skip_hooks: bool = False,
    skip_quiesce: bool = False,
    without_target: bool = False,
    without_source: bool = False,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> Ended:
    """Roll an unfinished Move back, so that nothing of it stays on the target.

    skip_hooks: do not run the commands after the commit again to report the rollback. skip_quiesce:
    do not run x-portkit.quiesce.after at the source. discard_writes: also roll back a Move of a
    running App that was started on the target, or a Move that has ended: the App runs at its source
    again, with the data that it was stopped with, and what it wrote on the target since is lost.
    The same applies to an App that the target has kept when a command after the commit has failed.
    Without discard_writes, these raise ConflictError.

    without_target: the target is gone for good, so only what concerns the source is undone. Nothing
    proves then that the App does not run on the target: the caller vouches for that. without_source
    likewise: only the target is cleaned up. ConflictError where that host can be reached.

    If a step cannot be undone, the others are undone nevertheless, and the error of the first one
    that failed is raised. The same call can be made again.
    """
    journal, observer = journal or Journal(), observer or NullObserver()
    entry = journal.get(identity)
    plan = plan_from(entry.plan)
    if entry.state is not MoveState.DONE or plan.live is None or not discard_writes:
        entry = open_entry(journal, identity)
    _refuse_older(journal, entry)
    _taken_over(journal, entry, discard_writes=discard_writes)
    with journal.held(identity), ExitStack() as opened:
        steps = journal.record(identity)
        without = {"target": without_target, "source": without_source}
        ends = _Ends(plan, steps, without, observer, steps.state("release") is StepState.DONE)
        ground = Ground(
            plan,
            steps,
            ends.opened("target", opened, connect),
            ends.opened("source", opened, connect),
            Clock(observer),
            for_good=True,
            skip_hooks=skip_hooks,
            skip_quiesce=skip_quiesce,
        )
        _require_discard(entry, ground, steps, discard_writes=discard_writes)
        _lock_again(ground, steps)
        if ground.source is not None and entry.state is MoveState.DONE:
            end_forward(identity, ground.source)  # somebody may have begun it after the Move
        journal.settle(identity, MoveState.ROLLING_BACK, entry.error)
        left = walk_backward(ground, journal, steps, entry.error or "rolled back by hand")
    if left:
        say_what_is_left(observer, identity, left)
        raise left[0].error
    ends.tell_what_stays(ground.missing)
    return Ended(identity, MoveState.ROLLED_BACK)


@dataclass(frozen=True)
class _Ends:
    """Both ends of a Move. without: whether the user has said that one is gone for good. released:
    whether the Move had ended, and removed its markers where it could."""

    plan: Plan
    steps: Steps
    without: Mapping[str, bool]
    observer: Observer
    released: bool

    def opened(self, role: str, stack: ExitStack, connect: Connect) -> Host | None:
        """A connection; None for the source of a bundle, and for an end that is gone for good."""
        name = self.plan.target if role == "target" else self.plan.source
        given = self.without[role]
        if name is None:
            if given:
                raise ConflictError(
                    "the Move has no source host",
                    details=f"{self.plan.move} of {self.plan.app} comes out of a bundle",
                    resolution="Leave out --without-source.",
                )
            return None
        try:
            host = stack.enter_context(connect(name, self.observer))
        except (HostError, TransferError) as error:
            if not given:
                raise self._or_without(role, name, error) from None
            self.observer.message(
                f"{name} cannot be reached ({error.brief}); the Move is rolled back without it"
            )
            return None
        if given:
            raise ConflictError(
                f"{name} can be reached, so the Move is not rolled back without it",
                details=f"{self.plan.move} of {self.plan.app}: --without-{role}",
                resolution=f"Nothing was changed. Leave out --without-{role}.",
            )
        return host

    def _or_without(self, role: str, name: str, error: PortkitError) -> PortkitError:
        """error, with the way out where that host will never be reached again."""
        plan = self.plan
        words = [
            f"If {name} is lost for good, roll the Move back without it: portkit rollback "
            f"{plan.move} --without-{role}"
        ]
        if role == "target" and plan.live is not None:
            words.append(
                f"This starts the App at {plan.source} without proof that it is stopped on {name}. "
                f"Do this only if {name} is off or destroyed: if it merely cannot be reached from "
                f"here, the App may be running there now. {_by_itself(self.steps, name)}"
            )
        error.resolution = "\n".join([error.resolution, *words]).strip()
        return error

    def tell_what_stays(self, missing: tuple[str, ...]) -> None:
        """Record and say what is left on a host that was not reached, and how it is cleaned up."""
        if not missing:
            return
        marked = [role for role in missing if role == "source" or not self.released]
        self.steps.note("release", StepState.UNDONE, {LEFT: marked})
        plan, tell = self.plan, self.observer.message
        if "target" in missing:
            tell(f"what this Move has brought to {plan.target} was not removed there")
            # Its marker went with the end of the Move.
            how = f"rm {plan.move} --data --on" if self.released else f"rollback {plan.move} --on"
            tell(f"if {plan.target} comes back: portkit {how} {plan.target}")
            if plan.live is not None:
                tell(_by_itself(self.steps, plan.target))
        if "source" in missing:
            again = ", which also starts the App there again" if plan.live is not None else ""
            tell(
                f"if {plan.source} comes back: portkit rollback {plan.move} --on {plan.source}"
                f"{again}"
            )


def _by_itself(steps: Steps, target: str) -> str:
    """Whether the target would start the App when it comes back."""
    if steps.state("commit") in _NEVER:
        return f"If {target} comes back after a reboot, it does not start the App by itself."
    return (
        f"The Move was committed: {target} starts the App by itself when it comes back, and then "
        "both hosts run it."
    )


def _require_discard(entry: Entry, ground: Ground, steps: Steps, *, discard_writes: bool) -> None:
    """ConflictError where a rollback loses data and the user has not said that it may; and where
    it would remove the only place in which the App exists."""
    plan = ground.plan
    served = has_served(ground, steps)
    flags = "".join(f" --without-{role}" for role in ground.missing)
    if not discard_writes and (served or steps.state("commit") is StepState.DONE):
        raise has_writes(entry, at_source=plan.live is not None, flags=flags)
    if served:  # before the App is stopped where it runs now
        require_origin(ground, steps)
    if discard_writes or plan.live is None or ground.missing != ("source",):
        return
    arrived = any(steps.state(name) is not StepState.PENDING for name in (PRESYNC, _boot(plan)))
    if arrived and steps.state(f"create {plan.forms[0]}") not in _NEVER:
        raise ConflictError(
            f"{plan.target} may have the only copy of the App's data that is left",
            details=f"{plan.move} of {plan.app}: data has arrived there, and {plan.source} cannot "
            "be reached",
            resolution=f"Nothing was changed. Save what you need from {plan.target} first. Then, "
            f"to remove it there: portkit rollback {plan.move}{flags} --discard-writes",
        )


def _boot(plan: Plan) -> str:
    return f"boot {plan.forms[0]}"


def _taken_over(journal: Journal, entry: Entry, *, discard_writes: bool) -> None:
    """Another portkit in which the Move waits for the user lets it go. ConflictError where the App
    runs on the target by then, unless the user has said that what it wrote there is lost."""
    if not entry.live or not (pause := pause_of(entry, journal.record(entry.id))):
        return
    if pause is Pause.COMMIT and not discard_writes:
        raise has_writes(entry, at_source=True, word="commit")
    take_over(journal, entry.id)


def has_writes(
    entry: Entry, *, at_source: bool, word: str = "resume", flags: str = ""
) -> ConflictError:
    """What is raised where a rollback would lose what the App wrote on the target."""
    away = "start it at its source again and lose that" if at_source else "remove it with that"
    keep = f"To keep it there: portkit {word} {entry.id}\n"
    if "target" in flags:
        keep = ""
    elif "source" in flags and at_source:
        keep, away = f"To keep it there: portkit commit {entry.id} --unverified\n", "remove it"
    return ConflictError(
        f"the App was started on {entry.target} and may have written data there",
        details=f"{entry.id} of {entry.app}: {entry.source} does not have that data",
        resolution=f"{keep}To {away}: portkit rollback {entry.id}{flags} --discard-writes",
    )


def _refuse_older(journal: Journal, entry: Entry) -> None:
    """ConflictError when the App has moved on from the target since: what is there now is the
    source of that Move. It may have gone by the name that the engine there has for it, or be seen
    by the volumes of the source that it has again."""
    moves = journal.moves()
    own = {row["name"] for row in (entry.plan.get("live") or {}).get("volumes", ())}
    back = {move for name, move in came_back(entry, moves).items() if name in own}
    made = entry.id.removeprefix("pk-")
    for other in moves:
        later = other.started > entry.started and other.state is not MoveState.ROLLED_BACK
        same = other.source == entry.target and (other.app == entry.app or made in other.app)
        if later and (same or other.id in back):
            raise ConflictError(
                "the App has been moved again since",
                details=f"{other.id}: {other.source} -> {other.target}",
                resolution=f"Roll that Move back first: portkit rollback {other.id} "
                "--discard-writes",
            )


def _lock_again(ground: Ground, steps: Steps) -> None:
    """The lock of the process that died is gone: a rollback holds it as well."""
    # A step that was never begun, or was undone, left no lock that could be taken over.
    reserve = steps_of(ground)[0]
    if steps.state(reserve.name) not in _NEVER:
        reserve.do()
