"""What a compatibility rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from portkit.errors import IncompatibleError, PortkitError
from portkit.model import (
    AppSpec,
    Engine,
    Facts,
    Finding,
    Form,
    ImageConfig,
    Instance,
    Linux,
    Needs,
    RunSpec,
    Severity,
)

S = TypeVar("S")
T = TypeVar("T")
BOTH, IMAGE, DISK = frozenset(Form), frozenset({Form.IMAGE}), frozenset({Form.DISK})


# What no document says of a kind of host, because it is another one on each machine. A verdict by
# documentation is about the kind.
OF_THE_MACHINE = {
    "cpus": "its processors",
    "memory_bytes": "its memory",
    "memory_available_bytes": "its free memory",
    "store_free_bytes": "its free space",
    "docker_free_bytes": "its free space",
    "loop_s": "its speed",
    "listening": "the ports that are in use",
    "listening_udp": "the ports that are in use",
    "addresses": "its addresses",
    "networks": "the networks that it has",
    "subnets": "the networks that it has",
    "network_kinds": "the networks that it has",
    "volumes": "the volumes that it has",
}


class Scope(StrEnum):
    """What a rule looks at: the App alone, the App in one Form, or also the target host."""

    APP = "app"
    FORM = "form"
    HOST = "host"


@dataclass(frozen=True)
class Case:
    """One service of an App in one Form on one host, which is what most rules judge.

    spec: the service. app: all of them. image: of the service. instances: what portkit has on that
    host, as far as it was asked. needs: what the service needs of its host; None where its image
    was not read. machines: the architectures of all images of the App.
    """

    spec: RunSpec
    app: AppSpec
    image: ImageConfig
    facts: Facts
    form: Form
    instances: tuple[Instance, ...] = ()
    needs: Needs | None = None
    machines: tuple[str, ...] = ()


class UnknownFact(Exception):
    """A rule asked for a field of the Facts that nobody knows. name: of the field."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class KnownFacts:
    """Facts of which some fields are not known: a rule that reads one of these cannot judge.

    Rules read Facts as they are; which of them a missing field concerns follows from what they
    read, and stands nowhere else.
    """

    def __init__(self, facts: Facts, unknown: frozenset[str]) -> None:
        self._facts = facts
        self._unknown = unknown

    def __getattr__(self, name: str) -> object:
        """The field; UnknownFact when it is not known."""
        if name in self._unknown:
            raise UnknownFact(name)
        return getattr(self._facts, name)


def linux_of(facts: Facts) -> Linux:
    """What is known of the kernel: nothing, where nobody knows it."""
    try:
        return facts.linux
    except UnknownFact:
        return Linux()


def engine_name(facts: Facts) -> str:
    """The engine and its version, for people."""
    name = "Podman" if engine_of(facts).podman else "Docker"
    return f"{name} {facts.docker_version}" if facts.docker_version else name


def engine_of(facts: Facts) -> Engine:
    """What is known of the engine: nothing, where nobody knows it."""
    try:
        return facts.engine
    except UnknownFact:
        return Engine()


@dataclass(frozen=True)
class Found:
    """What the function of a rule saw.

    evidence: one string for each thing that was read. remedy, severity: only where those of the
    rule do not fit.
    """

    message: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    severity: Severity | None = None


def one_by_one(items: Iterable[T], look: Callable[[T], Iterable[Found]]) -> Iterator[Found]:
    """What `look` finds of each item: one of which something is not known does not hide others."""
    for item in items:
        try:
            yield from look(item)
        except UnknownFact as missing:
            yield Found(_not_known(missing.name), severity=Severity.UNKNOWN)


def _not_known(name: str) -> str:
    return f"not known about the host: {name}"


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One named compatibility rule.

    look: a pure function from what is judged (most often a Case) to what it found.
    forms: those in which the rule matters. error: the exception that a Move raises when this rule
    refuses it; only rules of severity `error` refuse. source: what the rule rests on, where that is
    not how portkit itself works. emulates: a Form of which it finds something runs on an emulated
    processor.
    """

    id: str
    severity: Severity
    scope: Scope
    look: Callable[[S], Iterable[Found]]
    remedy: str = ""
    forms: frozenset[Form] = BOTH
    error: type[PortkitError] = IncompatibleError
    source: str = ""
    emulates: bool = False

    def judge(self, subject: S) -> tuple[Finding, ...]:
        """The findings of this rule about `subject`, and, where it met a fact that is not known,
        one that says so."""
        found = []
        try:
            for row in self.look(subject):
                severity, remedy = row.severity or self.severity, row.remedy or self.remedy
                found.append(Finding(self.id, severity, row.message, row.evidence, remedy))
        except UnknownFact as missing:
            found.append(self._unknown(missing.name))
        return tuple(found)

    def _unknown(self, name: str) -> Finding:
        if name in OF_THE_MACHINE:
            message = f"depends on the machine: {OF_THE_MACHINE[name]}"
            return Finding(self.id, Severity.INFO, message)
        refuses = self.severity is Severity.ERROR
        severity = Severity.UNKNOWN if refuses else Severity.INFO
        return Finding(self.id, severity, _not_known(name))
