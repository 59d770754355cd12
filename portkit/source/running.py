"""What runs on a host, whoever started it, as a compose file."""

from __future__ import annotations

from dataclasses import dataclass

from portkit.app import environment
from portkit.engines.docker import Docker
from portkit.errors import AppError
from portkit.host import Host
from portkit.model import Finding
from portkit.wire.json_types import JsonObject

KINDS = ("container", "project")


@dataclass(frozen=True)
class Shown:
    """document: a compose file as data, in which `$` is doubled as a file needs it. It contains
    the environment, and so passwords. findings: what the file cannot say, field by field."""

    document: JsonObject
    findings: tuple[Finding, ...]


def show(host: Host, what: str) -> Shown:
    """The compose file of `container:NAME` or `project:NAME`, as it is on the host. Nothing there
    is changed.

    AppError when there is none; EngineError when the engine does not answer.
    """
    kind, sign, name = what.partition(":")
    if kind not in KINDS or not sign or not name:
        raise AppError(
            "there is nothing of that kind to show",
            details=f"{what[:200]!r} is neither container:NAME nor project:NAME",
            resolution="Give the name of a container, or of a project as docker compose ls has it.",
        )
    engine = Docker(host.docker_socket(), host.name)
    try:
        seen = engine.see(kind, name)
    finally:
        engine.close()
    from portkit.engines.described import project as docker_project

    found = docker_project.project(seen, name if kind == "project" else seen.containers[0].name)
    document = {key: environment.escaped(value) for key, value in found.document.items()}
    return Shown(document, found.findings)
