"""The old ports of an App at its source, forwarded to the target until somebody ends that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portkit import host as hosts
from portkit.errors import AppError, ConflictError, HookError, PortkitError
from portkit.host import Host
from portkit.model import App, Port
from portkit.move.by_marker import Connect
from portkit.move.cutover import source_of
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import Plan, plan_from
from portkit.move.step import BaseStep
from portkit.progress import NullObserver, Observer
from portkit.wire.json_types import JsonObject


@dataclass(frozen=True)
class Forwarded:
    """What a host forwards for a Move that went away from it. ports: (port, where it leads). live:
    whether it does; a host that was restarted does not."""

    move: str
    app: str
    ports: tuple[tuple[int, str], ...]
    live: bool


class Forward(BaseStep):
    """The source forwards the App's TCP ports to the target, whatever becomes of portkit."""

    undone_at = "source"

    def do(self) -> JsonObject:
        ground = self.ground
        if ground.skip_hooks:
            ground.clock.observer.message("the App's old ports are not forwarded")
            return {}
        if ground.gone is not None:
            ground.clock.observer.message(
                f"{ground.plan.source} cannot be reached, so it does not forward the App's old "
                f"ports; when the Move has ended: portkit forward {ground.plan.move}"
            )
            return {}
        try:
            with ground.clock.phase("forward"):
                begin(ground.plan, source_of(ground), ground.target)
            for port in ground.plan.ports:
                if port.protocol == "tcp" and port.is_local:
                    where = f"port {port.host_port} is published on {port.host_ip} only"
                    ground.clock.observer.message(f"{where}, so it is not forwarded")
        except PortkitError as error:
            plan = ground.plan
            raise HookError(
                "the App has moved, but its old ports are not forwarded",
                details=f"{error.brief}\n{error.details}".strip(),
                resolution=f"The App runs on {plan.target}. When the cause is fixed: portkit "
                f"resume {plan.move}\nTo end the Move without it: portkit resume {plan.move} "
                "--skip-hooks",
            ) from error
        return {"phases": ground.phases()}

    def undo(self) -> None:
        """Before the App is started at its source, which needs these ports."""
        end(self.ground.plan.move, source_of(self.ground))


def begin(plan: Plan, source: Host, target: Host) -> None:
    """Let the source forward; what was forwarded for this Move before ends."""
    address = target.address()
    chosen = plan.live.chosen if plan.live is not None else {}
    rows = [
        [port.host_ip, chosen.get(port.key, port.host_port), address, port.host_port]
        for port in plan.ports
        if _is_forwarded(port)
    ]
    source.remote.call("forward.begin", {"id": plan.move, "app": plan.app, "rows": rows})


def _is_forwarded(port: Port) -> bool:
    """One that is published for its own host alone is so on the target too, where the source
    cannot reach it."""
    return port.protocol == "tcp" and not port.is_local


def end(identity: str, source: Host) -> bool:
    """End what a host forwards for a Move; whether it was forwarded."""
    return bool(source.remote.call("forward.end", {"id": identity})["removed"])


def forwarded(host: Host) -> tuple[Forwarded, ...]:
    """What a host forwards for Moves."""
    rows = host.remote.call("forward.list", {})["forwards"]
    return tuple(
        Forwarded(
            row["id"],
            row["app"],
            tuple((each["port"], each["to"]) for each in row["ports"]),
            row["live"],
        )
        for row in rows
    )


def forward(
    identity: str,
    *,
    stop: bool = False,
    journal: Journal | None = None,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> None:
    """Let the source of a Move that has ended forward the App's TCP ports to the target, or end
    that. ConflictError for a Move that has not ended, or was rolled back."""
    journal, observer = journal or Journal(), observer or NullObserver()
    entry = journal.get(identity)
    plan = plan_from(entry.plan)
    if plan.live is None or plan.source is None:
        raise AppError(
            "only an App that ran at its source has old ports",
            details=f"{identity} of {entry.app}",
        )
    if entry.state is not MoveState.DONE and not stop:
        raise ConflictError(
            "the Move did not complete",
            details=f"{identity} is {entry.state}",
            resolution=f"Run portkit show {identity} for details.",
        )
    with journal.held(identity), connect(plan.source, observer) as source:
        if stop:
            end(identity, source)
            return
        with connect(plan.target, observer) as target:
            begin(plan, source, target)


def refuse(apps: Sequence[App], source: Host | None, target: Host) -> None:
    """AppError where nothing could be forwarded."""
    address = target.address()
    why = ""
    if not all(app.running for app in apps):
        why = "only an App that runs there has ports"
    elif not all(any(_is_forwarded(p) for s in app.services for p in s.ports) for app in apps):
        why = "the App publishes no TCP port, or only for its own host (127.0.0.1)"
    elif source is None or source.endpoint == target.endpoint or address.startswith("127."):
        why = f"{target.name} ({address}) is not another host for it"
    if why:
        raise AppError(
            "there is nothing for the source to forward",
            details=why,
            resolution="Leave out --forward.",
        )
