"""What says on the hosts that a Move is at work: the App's lock, and the Move's marker."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from portkit.errors import PortkitError
from portkit.host import Host
from portkit.model import Live, OnTaken
from portkit.move import plan as plans
from portkit.move.by_marker import told
from portkit.move.ground import Ground
from portkit.wire import labels
from portkit.wire.json_types import JsonObject

# In the result of the step `release`: the ends of the Move whose marker is still there.
LEFT = "left"


def mark(ground: Ground, role: str, host: Host, more: Sequence[str] = ()) -> list[str]:
    """Take the lock and write the marker; the digests that the Move will have brought there.

    more: digests that it needs and no step has recorded yet."""
    call = ("move.begin", _about(ground, role, more))
    answer = host.remote.call(*call)
    if not ground.results.result("reserve"):
        for path in answer["unreadable"]:
            ground.clock.observer.message(
                f"{host.name}: {path} cannot be read: until it is elsewhere, that Move cannot end, "
                "and what other Moves bring to the host's Store stays there"
            )
    # Repeated whenever the connection is made anew: the lock belongs to a process on the host,
    # which ended with the old one.
    others = (each for each in host.remote.standing if not _marks(each, role))
    host.remote.standing = [*others, call]
    return list(answer["brought"]) if role == "target" else []


def _marks(call: tuple[str, JsonObject], role: str) -> bool:
    return call[0] == "move.begin" and call[1]["role"] == role


def _about(ground: Ground, role: str, more: Sequence[str]) -> JsonObject:
    plan = ground.plan
    there = role == "target"
    needs = sorted({digest for form in plan.forms for digest in ground.blobs(form)} | {*more})
    begun = "brought" in ground.results.result("reserve")
    return {
        "id": plan.move,
        "app": plan.app,
        "role": role,
        "about": {
            "source": plan.source or "a bundle",
            "target": plan.target,
            "holder": _holder(),
            "started": ground.began,
            "forms": " ".join(plan.forms),
            "endpoint": "" if ground.at_target is None else ground.target.endpoint,
            # Not the commands: they are nobody's business there.
            **({"hooks": str(len(plan.hooks))} if plan.hooks else {}),
            **({"forward": "yes"} if plan.forward else {}),
            **({"quiesce": "yes"} if plans.QUIESCE in plan.steps() else {}),
            **told(plan.live),
            **(_keeps(plan.live) if there else {}),
        },
        "needs": needs if there else [],
        "ports": [[p.host_ip, p.host_port, p.protocol] for p in plan.ports] if there else [],
        "hold": " ".join(plan.holds.values()) if there else "",
        "brought": ground.brought() if there and begun else None,
    }


def _keeps(live: Live | None) -> dict[str, str]:
    """The volumes that the App takes as they are: no other Move may set them aside meanwhile."""
    taking = live.taking if live else ()
    return {f"{labels.KEEPS}{each.name}": "yes" for each in taking if each.way is OnTaken.KEEP}


def give_room(ground: Ground) -> None:
    """The Move is about to be taken back: on both hosts, the room that was set aside for that is
    free. An engine whose disk is full can remove and stop nothing."""
    for _, host in ground.ends:
        if host.remote.lost:
            continue  # the App may have to start at the other one, which shall not wait for it
        # Of a host that cannot be reached, the steps that are undone there say so.
        with suppress(PortkitError):
            host.remote.call("move.room", {"id": ground.plan.move})


def release(ground: Ground) -> None:
    """Let the locks go and remove the markers, on both hosts as far as they are at hand."""
    plan = ground.plan
    for _, host in ground.ends:
        # First, or a connection that breaks now would take the lock again.
        host.remote.standing = [each for each in host.remote.standing if each[0] != "move.begin"]
        host.remote.call("move.end", {"id": plan.move, "app": plan.app})


def _holder() -> str:
    """Who makes this Move, for people who meet its marker on a host."""
    return f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"
