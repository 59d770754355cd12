"""What is known while one container is put into the words of a compose file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portkit.engines.described.answers import Config, Container
from portkit.model import Finding, Severity


@dataclass(frozen=True)
class Engine:
    """What the daemon gives where nobody asks. cgroup: the namespace, host or private."""

    runtime: str = "runc"
    log: str = "json-file"
    cgroup: str = "private"


@dataclass(frozen=True)
class Described:
    """One service in compose's words.

    findings: what the words cannot say.
    """

    name: str
    service: Mapping[str, object]
    findings: tuple[Finding, ...] = ()


@dataclass
class Reading:
    """One container while it is read."""

    container: Container
    image: Config
    engine: Engine
    services: Mapping[str, str]  # ids and names of the containers beside it -> service
    volumes: Mapping[str, str]  # the engine's name -> the name in the file
    networks: Mapping[str, str]
    others: Mapping[str, str]  # ids of containers that are not in the file -> name
    findings: list[Finding] = field(default_factory=list)

    def lost(self, place: str, what: str, severity: Severity = Severity.WARNING) -> None:
        """Note what the file cannot say."""
        name = self.container.name
        self.findings.append(
            Finding("container-not-described", severity, f"{name}: {what}", (place,))
        )
