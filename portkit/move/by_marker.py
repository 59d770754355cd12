"""A Move taken back by its markers on the hosts, by a machine that has no journal of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from portkit import boot, transfer
from portkit import host as hosts
from portkit.boot import taken
from portkit.errors import ConflictError, HostError, TransferError
from portkit.host import Host
from portkit.model import Form, Live, LiveContainer, LiveDomain
from portkit.progress import NullObserver, Observer
from portkit.source.origin import origin
from portkit.wire.json_types import JsonObject

_CONTAINER = re.compile(r"container \d+")
# What a marker says of a container is checked, as all that a host says.
_TOLD = re.compile(
    r"([0-9a-f]{64}) (no|always|unless-stopped|on-failure(?::\d{1,9})?) (runs|rests)"
)
_VM_TOLD = re.compile(
    r"(pk-[0-9a-f]{12}) (no|always|unless-stopped|on-failure(?::\d{1,9})?) (by itself|by hand) "
    r"(runs|rests)( live)?"
)

Connect = Callable[[str, Observer], AbstractContextManager[Host]]


def told(live: Live | None) -> dict[str, str]:
    """What a marker says of an App that ran at its source when the Move began: how each of its
    containers was, or its VM."""
    rows = () if live is None else live.containers
    if live is not None and live.domain is not None:
        vm = live.domain
        how = "by itself" if vm.autostart else "by hand"
        state = f"{'runs' if vm.running else 'rests'}{' live' if vm.keeps_running else ''}"
        return {"domain": f"{vm.id} {vm.restart} {how} {state}"}
    return {
        f"container {number}": f"{each.id} {each.restart} {'runs' if each.running else 'rests'}"
        for number, each in enumerate(rows)
    }


def ran(about: Mapping[str, str]) -> Live | None:
    """The App at its source, by what its marker says; None where it did not run."""
    if vm := _VM_TOLD.fullmatch(about.get("domain", "")):
        how = vm[3] == "by itself", vm[4] == "runs", vm[5] is not None
        return Live((), (), domain=LiveDomain(vm[1], vm[2], *how))
    found = [_TOLD.fullmatch(text) for name, text in about.items() if _CONTAINER.fullmatch(name)]
    rows = tuple(
        LiveContainer(id=row[1], service="", restart=row[2], running=row[3] == "runs")
        for row in found
        if row is not None
    )
    return Live(rows, ()) if rows else None


def rollback_on(
    identity: str,
    host: Host,
    *,
    discard_writes: bool = False,
    without_target: bool = False,
    observer: Observer | None = None,
    connect: Connect = hosts.connect,
) -> bool:
    """Roll a Move back by its marker on the host, without the journal.

    discard_writes: also if a running App, or one whose Move has commands after its commit, was
    started on the target, and may have written there. without_target: the host is the source, and
    the target is gone for good: nothing proves that the App does not run there, and the caller
    vouches for that. It may have been started there, so this needs discard_writes.

    This is for a Move that another machine started. Calling it for the source starts an App that
    ran there again, which is possible once nothing of the Move is left on the target. Returns False
    if the host has no marker of that Move. Raises ConflictError while the Move is running.
    """
    observer = observer or NullObserver()
    markers = host.remote.call("move.list", {"id": identity})["moves"]
    found = next((marker for marker in markers if marker["id"] == identity), None)
    if found is None:
        return False
    if found["live"]:
        raise ConflictError(
            "the Move is still running",
            details=f"{identity} of {found['app']}, by {found['about'].get('holder', '?')}",
            resolution="Stop that portkit first, with Ctrl-C.",
        )
    live = ran(found["about"])
    if found["about"].get("hooks"):
        observer.message(
            "the commands of --after-commit are known only to "
            f"{found['about'].get('holder', 'the machine that began it')}: they are not run for "
            "this rollback"
        )
    if without_target and (found["role"] == "target" or live is None):
        raise ConflictError(
            "--without-target is for the source of a running App",
            details=f"{identity} of {found['app']}: {host.name} has the marker of its "
            f"{found['role']}" + ("" if live else "; no App ran at the source"),
            resolution="Leave out --without-target: no other host is needed.",
        )
    if found["role"] == "target":
        # A Move with commands after its commit may wait for one: the target keeps its App by then.
        if (live is not None or found["about"].get("hooks")) and not discard_writes:
            _refuse_started(found, host)
        _clear(found, host, observer if live else NullObserver(), strict=live is not None)
    elif live is not None:
        if without_target:
            _require_vouched(found, host, observer, connect, discard_writes=discard_writes)
        else:
            _require_nothing_left(found, host, observer, connect)
        _start_again(found, host, live, observer)
    # Last: as long as there is a marker, the same call can be made again.
    host.remote.call("move.end", {"id": identity, "app": found["app"]})
    return True


def _forms(marker: JsonObject) -> tuple[Form, ...]:
    """Those in which the Move went; all where its marker does not say it."""
    words = str(marker["about"].get("forms", "")).split()
    known = tuple(form for form in Form if form.value in words)
    return known or tuple(Form)


def _refuse_started(marker: JsonObject, host: Host) -> None:
    for form in _forms(marker):
        if boot.was_started(host, form, marker["id"]):
            raise ConflictError(
                "the App was started on the target and may have written data there",
                details=f"{marker['id']} of {marker['app']} on {host.name}",
                resolution="To remove it with what it wrote: "
                f"portkit rollback {marker['id']} --on {host.name} --discard-writes",
            )


def _clear(marker: JsonObject, host: Host, observer: Observer, *, strict: bool) -> None:
    """Remove all that the Move has brought to its target. strict: an engine that does not answer
    may still run it, and is an EngineError."""
    identity = marker["id"]
    facts = host.facts()
    engines = {Form.IMAGE: facts.docker_version, Form.DISK: facts.libvirt_version}
    # Else an engine that is not there holds nothing of the Move.
    for form, version in engines.items():
        if version is not None or (strict and form in _forms(marker)):
            with boot.runner(host, form) as runner:
                if any(each.id == identity for each in runner.instances()):
                    observer.message(
                        f"what the App wrote on {host.name} since it was started there is lost"
                    )
                runner.remove(identity)
    taken.put_back(host, identity)
    brought = marker["brought"]
    transfer.release(marker["hold"].split(), host, brought, move=identity, parts=brought)


def _require_vouched(
    marker: JsonObject, host: Host, observer: Observer, connect: Connect, *, discard_writes: bool
) -> None:
    """ConflictError where the target can be reached from here after all, or the user has not said
    that what the App may have written there is lost."""
    identity, target = marker["id"], marker["about"]["target"]
    if not discard_writes:
        raise ConflictError(
            f"the App may have been started on {target} and have written data there",
            details=f"{identity} of {marker['app']}: the marker on {host.name} does not say it",
            resolution="To start it here and lose that: portkit rollback "
            f"{identity} --on {host.name} --without-target --discard-writes",
        )
    endpoint = marker["about"].get("endpoint", "")
    if endpoint != "local":  # that was the machine that began the Move, whatever is called so here
        try:
            with connect(target, observer) as there:
                reached = there.endpoint == endpoint
        except (HostError, TransferError) as error:
            reached = False
            observer.message(f"{target} cannot be reached: {error.brief}")
        if reached:
            raise ConflictError(
                f"{target} can be reached, so the Move is not rolled back without it",
                details=f"{identity} of {marker['app']}: --without-target",
                resolution=f"First: portkit rollback {identity} --on {target}\nThen: portkit "
                f"rollback {identity} --on {host.name}",
            )
    observer.message(
        f"what this Move has brought to {target} was not removed there; if that comes back: "
        f"portkit rollback {identity} --on {target}"
    )


def _require_nothing_left(
    marker: JsonObject, host: Host, observer: Observer, connect: Connect
) -> None:
    """ConflictError where the App may run on the target."""
    identity, about = marker["id"], marker["about"]
    without = (
        f"If {about['target']} is lost for good: portkit rollback {identity} --on {host.name} "
        "--without-target\nThis starts the App here without proof that it is stopped there: do it "
        "only if that host is off or destroyed. It does not start the App by itself before the "
        "commit; after the commit it does."
    )
    try:
        _ask_target(marker, observer, connect, without)
    except (HostError, TransferError) as error:
        error.resolution = f"{error.resolution}\n{without}".strip()
        raise


def _ask_target(marker: JsonObject, observer: Observer, connect: Connect, without: str) -> None:
    target, endpoint = marker["about"]["target"], marker["about"].get("endpoint", "")
    left = False
    with connect(target, observer) as there:
        # Names are those of the machine that began the Move; `local` was that machine itself.
        if endpoint == "local" or there.endpoint != endpoint:
            raise ConflictError(
                "this host does not know the target of the Move",
                details=f"the machine that began the Move called it {target} "
                f"({endpoint or 'unknown'})",
                resolution="Make sure that nothing of the Move runs there. Then restore the "
                "restart policies here and start the containers (docker update, "
                "docker start) or the VM (virsh autostart, virsh start).\n" + without,
            )
        for form in _forms(marker):
            with boot.runner(there, form) as runner:
                left |= any(each.id == marker["id"] for each in runner.instances())
    if left:
        raise ConflictError(
            "the App may run on the target",
            details=f"{marker['id']} of {marker['app']} on {target}",
            resolution=f"First: portkit rollback {marker['id']} --on {target}",
        )


def _start_again(marker: JsonObject, host: Host, live: Live, observer: Observer) -> None:
    """The App runs at its source again; nothing can run on the target."""
    if marker["about"].get("forward"):
        host.remote.call("forward.end", {"id": marker["id"]})  # it has the App's ports
    with origin(host, live) as source:
        for what in source.settle():
            observer.message(
                f"the {what} was asked to power off and is still running; it is left running"
            )
        source.unfence()
        source.start()
    if marker["about"].get("quiesce"):
        observer.message(
            "its x-portkit.quiesce.after commands are not known here: run them yourself"
        )
