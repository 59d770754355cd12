"""What may be in the way of a Move that begins here: other Moves, and what listens at its ports."""

from __future__ import annotations

from typing import Dict, List

from portkit.remote import facts, leases
from portkit.wire.frames import RemoteError


def described(marker: leases.Marker) -> str:
    about = marker["about"]
    return "Move %s of %s, %s -> %s, started %s by %s" % (
        marker["id"],
        marker["app"],
        about.get("source", "?"),
        about.get("target", "?"),
        about.get("started", "?"),
        about.get("holder", "?"),
    )


def require_known(identity: str, role: str, about: Dict[str, str]) -> None:
    """HostError when a Move is to stop an App here, and the marker of another one cannot be read:
    that one may have stopped the same App, and its way back would start it beside this one's."""
    if role == "source" and (_containers(about) or "domain" in about):
        leases.require_readable(beside=identity)


def require_alone(app: str, identity: str, ports: List[leases.Port], about: Dict[str, str]) -> None:
    """ConflictError when another Move is in the way of this one."""
    _alone(app, identity, ports)
    _alone_with(identity, about)


def _alone(app: str, identity: str, ports: List[leases.Port]) -> None:
    """ConflictError when another Move of the App was left unfinished, or one has a port."""
    for marker in leases.markers():
        if marker["id"] == identity:
            continue
        if marker["app"] == app:
            raise RemoteError(
                "ConflictError",
                "an earlier Move of %s is unfinished" % app,
                described(marker),
                "On the machine where it was started, run `portkit resume %s` or `portkit "
                "rollback %s`. On another machine, run `portkit rollback %s --on` this host."
                % ((marker["id"],) * 3),
            )
        shared = [mine for mine in ports for other in marker["ports"] if _overlap(mine, other)]
        if shared:
            raise RemoteError(
                "ConflictError",
                "port %d is reserved by another Move" % shared[0][1],
                described(marker),
                "Wait until it has ended, or publish another port.",
            )


def _alone_with(identity: str, about: Dict[str, str]) -> None:
    """ConflictError when another Move stops one of the same containers: by its project, and by
    itself, an App has two names."""
    mine = _containers(about)
    for marker in leases.markers():
        if marker["id"] != identity and mine & _containers(marker["about"]):
            raise RemoteError(
                "ConflictError",
                "another Move of the same containers is running or unfinished",
                described(marker),
                "End that one first. `portkit moves` shows it on the machine where it was started.",
            )


def _containers(about: Dict[str, str]) -> "set[str]":
    """The ids of what a Move stops here."""
    return {text.partition(" ")[0] for name, text in about.items() if name.startswith("container ")}


def require_free(ports: List[leases.Port]) -> None:
    """ConflictError when something listens at a port, though nothing did when it was checked."""
    for port in ports:
        for address, number in facts.listening(port[2]) if port[2] in ("tcp", "udp") else ():
            if _overlap(port, (address, number, port[2])):
                raise RemoteError(
                    "ConflictError",
                    "port %d is already in use on the target" % number,
                    "%s listens on %s:%d" % (port[2], address, number),
                    "Stop what listens there, or publish another port.",
                )


def _overlap(mine: leases.Port, other: leases.Port) -> bool:
    """Whether two published ports cannot be had at once; "" and the unspecified addresses are all
    addresses."""
    every = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
    alike = mine[0] == other[0] or mine[0] in every or other[0] in every
    return bool(alike and mine[1:] == other[1:])
