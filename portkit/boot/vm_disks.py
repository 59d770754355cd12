"""The disks of a VM as a folder, at its source and on its target (`portkit.remote.vm_disks`)."""

from __future__ import annotations

from portkit.boot import Runner
from portkit.errors import ConflictError
from portkit.host import Host


def folder_at_source(host: Host, identity: str) -> str:
    """A folder with the disks of an Instance and nothing else, while it runs or not; there until
    its Move is over."""
    return _only(host, "instance.expose", {"id": identity})


def folder_on_target(host: Host, identity: str) -> str:
    """Where the disks of an Instance arrive; there until its Move is over."""
    return _only(host, "instance.stage", {"id": identity, "disks": True})


def _only(host: Host, verb: str, args: dict[str, object]) -> str:
    (folder,) = host.remote.call(verb, args)["folders"]
    return str(folder)


def adopt(host: Host, runner: Runner, identity: str) -> None:
    """Put the disks that arrived in the place of those that an Instance has.

    ConflictError while it runs; VerifyError when they are not of that VM.
    """
    if runner.life(identity).running:
        raise ConflictError(
            "the disks of a running VM cannot be replaced",
            details=f"{identity} on {host.name}",
            resolution=f"portkit stop {identity} --on {host.name}",
        )
    host.remote.call("instance.adopt", {"id": identity})
