"""Commands of the user's that follow a Move: DNS, a load balancer, a virtual address.

They run on this machine when the target has kept the App, and serves it: a command that fails
changes nothing there. They run once more when the Move is taken back, before anything else of it
is, as the walk back goes: the App has not changed its host by then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile

from portkit import process, runtime
from portkit.errors import AppError, HookError, ToolError
from portkit.host import Host
from portkit.model import Form
from portkit.move.plan import Hook, Plan
from portkit.move.step import FormStep
from portkit.wire.json_types import JsonObject

# A load balancer that drains its connections takes minutes; a command that waits for an answer from
# somebody would hold up the Move for ever.
_LIMIT_S = 600.0
_LINES = 20  # of what it prints, its last ones are shown
_TAIL = 64 << 10  # bytes of what it prints that are read


class Event(StrEnum):
    """Why a hook is run: the target has kept the App, or the Move is being taken back. The App is
    on the target in either case, but where an earlier try of the rollback has brought it back."""

    COMMIT = "commit"
    ROLLBACK = "rollback"


def hooks_of(commands: Sequence[str], keep: Form | None) -> tuple[Hook, ...]:
    """Commands as they were given now, in this folder. AppError when one could never run."""
    if commands and keep is None:
        raise AppError(
            "--after-commit needs a form that is kept",
            details="--after-commit was given with --keep none",
            resolution="Leave out --after-commit, or keep a form.",
        )
    if not all(command.strip() for command in commands):
        raise AppError("the command of --after-commit is empty")
    return tuple(Hook(command, str(Path.cwd())) for command in commands)


def facts(
    plan: Plan, form: Form, event: Event, *, url: str, target: str, source: str
) -> dict[str, str]:
    """What a hook learns of its Move, by its environment. url: where the App answered on the
    target; "" where it was not asked by HTTP. target, source: the hosts' addresses. Nothing of the
    App's own environment is in it."""
    ports = (f"{port.host_port}/{port.protocol}" for port in plan.ports)
    return {
        "PORTKIT_EVENT": event,
        "PORTKIT_MOVE": plan.move,
        "PORTKIT_APP": plan.app,
        "PORTKIT_FORM": form,
        "PORTKIT_SOURCE": plan.source or "",
        "PORTKIT_SOURCE_ADDRESS": source,
        "PORTKIT_TARGET": plan.target,
        "PORTKIT_TARGET_ADDRESS": target,
        "PORTKIT_PORTS": " ".join(ports),
        "PORTKIT_URL": url,
    }


class RunHook(FormStep):
    """One command, told of the commit, and of the rollback where it was told of the commit."""

    def before(self) -> JsonObject:
        # Not of a step that was begun before: the command may have done half of it then.
        return {"skipped": self.ground.skip_hooks}

    def do(self) -> JsonObject:
        self._run(Event.COMMIT)
        known = self.ground.results.result(self.name).get("skipped", False)
        return {"skipped": known and self.ground.skip_hooks, "phases": self.ground.phases()}

    def undo(self) -> None:
        if not self.ground.results.result(self.name).get("skipped", False):
            self._run(Event.ROLLBACK)

    def _run(self, event: Event) -> None:
        ground, plan = self.ground, self.ground.plan
        hook = plan.hooks[int(self.name.partition(" ")[2]) - 1]
        tell = ground.clock.observer.message
        if ground.skip_hooks:
            tell(f"{self.name} is not run for the {event}: {hook.command}")
            return
        boot = ground.results.result(f"boot {self.form}").get("boot", {})
        told = facts(
            plan,
            self.form,
            event,
            url=str(boot.get("url", "")),
            target=_address(ground.at_target),
            source=_address(ground.source),
        )
        try:
            with ground.clock.phase(self.name):
                out = _called(hook, told)
        except ToolError as error:
            raise _failed(self, event, error) from error
        for line in out.splitlines()[-_LINES:]:
            tell(f"{self.name}: {line[:500]}")


def _address(host: Host | None) -> str:
    return "" if host is None else host.address()


def _called(hook: Hook, told: dict[str, str]) -> str:
    """The end of what it has printed. ToolError when it fails, does not end, or has no folder any
    more."""
    folder = Path(hook.folder)
    if not folder.is_dir():
        raise ToolError("its folder no longer exists", details=hook.folder)
    argv = ["/bin/sh", "-c", hook.command]
    # A file, and no pipe: what it leaves in the background would hold that open.
    with TemporaryFile(dir=runtime.folder()) as out:
        done = process.run(
            argv,
            env=told,
            cwd=folder,
            timeout=_LIMIT_S,
            check=False,
            stdout=out,
            stderr=process.STDOUT,
        )
        out.seek(max(0, out.seek(0, os.SEEK_END) - _TAIL))
        said = out.read(_TAIL)
    if done.code != 0:
        raise process.failed(argv, done.code, said)
    return said.decode("utf-8", "replace")


def _failed(step: RunHook, event: Event, error: ToolError) -> HookError:
    plan = step.ground.plan
    if event is Event.COMMIT:
        brief = f"the App has moved, but {step.name} after the commit failed"
        way = (
            f"The App runs on {plan.target}. When the cause is fixed: portkit resume {plan.move}\n"
            f"To end the Move without that command: portkit resume {plan.move} --skip-hooks"
        )
    else:
        brief = f"{step.name} failed during the rollback"
        way = (
            f"When the cause is fixed: portkit rollback {plan.move}\n"
            f"To end the rollback without it: portkit rollback {plan.move} --skip-hooks"
        )
    return HookError(brief, details=f"{error.brief}\n{error.details}".strip(), resolution=way)
