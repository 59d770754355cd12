"""What a compatibility rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from portkit.errors import IncompatibleError, PortkitError
from portkit.model import (
    AppSpec,
    Facts,
    Finding,
    Form,
    ImageConfig,
    Instance,
    RunSpec,
    Severity,
)

S = TypeVar("S")
BOTH = frozenset(Form)


class Scope(StrEnum):
    """What a rule looks at: the App alone, the App in one Form, or also the target host."""

    APP = "app"
    FORM = "form"
    HOST = "host"


@dataclass(frozen=True)
class Case:
    """One service of an App in one Form on one host, which is what most rules judge.

    spec: the service. app: all of them. image: of the service. instances: what portkit has on that
    host, as far as it was asked.
    """

    spec: RunSpec
    app: AppSpec
    image: ImageConfig
    facts: Facts
    form: Form
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True)
class Found:
    """What the function of a rule saw.

    evidence: one string for each thing that was read. remedy: only where that of the rule does not
    fit.
    """

    message: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Rule(Generic[S]):
    """One named compatibility rule.

    look: a pure function from what is judged (most often a Case) to what it found.
    forms: those in which the rule matters. error: the exception that a Move raises when this rule
    refuses it; only rules of severity `error` refuse.
    """

    id: str
    severity: Severity
    scope: Scope
    look: Callable[[S], Iterable[Found]]
    remedy: str = ""
    forms: frozenset[Form] = BOTH
    error: type[PortkitError] = IncompatibleError

    def judge(self, subject: S) -> tuple[Finding, ...]:
        """The findings of this rule about `subject`."""
        return tuple(
            Finding(self.id, self.severity, row.message, row.evidence, row.remedy or self.remedy)
            for row in self.look(subject)
        )
