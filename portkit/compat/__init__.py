"""What an App needs held against what a host has: Findings, before a byte moves. Pure.

The rules stand in one table (`table.py`); each is a small function with an id, a severity, a scope,
a remedy and the error that a Move raises when the rule refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from portkit.compat import ports as port_rules
from portkit.compat.owner import Lacking, Running
from portkit.compat.ports import Pair
from portkit.compat.room import Load, needed
from portkit.compat.rule import Case, Found, Rule, Scope
from portkit.compat.table import BUNDLE_LACKS, CASE_RULES, PORT_SHARED, RULES, RUNNING, SPACE
from portkit.errors import IncompatibleError, PortkitError
from portkit.model import (
    Artifact,
    Blob,
    Facts,
    Finding,
    Form,
    ImageConfig,
    Instance,
    Port,
    RunSpec,
    Severity,
    Verdict,
)

__all__ = [
    "RULES",
    "Case",
    "Found",
    "Rule",
    "Scope",
    "check",
    "check_all",
    "clashes",
    "lacking",
    "port_taken",
    "refusal",
    "running",
    "space",
    "space_needed",
    "verdict",
]

_ERRORS = {rule.id: rule.error for rule in RULES}


def check(
    spec: RunSpec,
    image: ImageConfig,
    facts: Facts,
    form: Form,
    instances: tuple[Instance, ...] = (),
) -> tuple[Finding, ...]:
    """What the rules find of one App in one Form on one host; instances: what portkit has there."""
    case = Case(spec, image, facts, form, instances)
    return tuple(
        finding for rule in CASE_RULES if form in rule.forms for finding in rule.judge(case)
    )


def port_taken(spec: RunSpec, facts: Facts) -> bool:
    """Whether something on the host listens where the App is to be published."""
    return next(port_rules.taken(spec.ports, facts), None) is not None


def check_all(
    apps: Mapping[str, tuple[RunSpec, ImageConfig]],
    facts: Facts,
    forms: Sequence[Form],
    there: tuple[Instance, ...] = (),
) -> dict[str, dict[Form, tuple[Finding, ...]]]:
    """What the rules find of Apps that go to one host: each alone, and all of them together.

    apps: what each App's process will see, and its image, by the App's name. there: what portkit
    has on the host already. Answers the findings of each App in each of the Forms.
    """
    shared = clashes({name: spec.ports for name, (spec, _) in apps.items()})
    return {
        name: {form: check(spec, image, facts, form, there) + shared[name] for form in forms}
        for name, (spec, image) in apps.items()
    }


def verdict(findings: Iterable[Finding], facts: Facts, form: Form) -> Verdict:
    """The one word for them."""
    if any(finding.severity is Severity.ERROR for finding in findings):
        return Verdict.INCOMPATIBLE
    if facts.architecture not in ("amd64", "arm64"):
        return Verdict.UNKNOWN
    if form is Form.DISK and facts.accelerator != "kvm":
        return Verdict.EMULATED
    return Verdict.NATIVE


def space(
    facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]], more: int = 0
) -> tuple[Finding, ...]:
    """Whether a host has room for all that is to come at once; see `Load`."""
    return SPACE.judge(Load(facts, tuple(new), more))


def space_needed(facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]]) -> int:
    """Bytes at most that this takes on a host at one time: what `space` compares with the free."""
    return sum(needed(Load(facts, tuple(new))))


def clashes(ports: Mapping[str, Sequence[Port]]) -> dict[str, tuple[Finding, ...]]:
    """The ports that two of the Apps for one host publish, reported for both; ports: by the App's
    name."""
    found: dict[str, list[Finding]] = {name: [] for name in ports}
    for (one, first), (other, second) in combinations(ports.items(), 2):
        rows = PORT_SHARED.judge(Pair(one, first, other, second))
        found[one] += rows
        found[other] += rows
    return {name: tuple(dict.fromkeys(rows)) for name, rows in found.items()}


def running(source: str, names: Sequence[str]) -> tuple[Finding, ...]:
    """names: of what runs the App on the source host."""
    return RUNNING.judge(Running(source, tuple(names)))


def lacking(made_for: str, target: str, blobs: Mapping[str, int]) -> tuple[Finding, ...]:
    """blobs: digest and size of what a bundle leaves out and the target does not have."""
    return BUNDLE_LACKS.judge(Lacking(made_for, target, blobs))


def refusal(findings: Mapping[str, Iterable[Finding]]) -> PortkitError | None:
    """The one error for everything that stands in the way; None when nothing does.

    findings: by the App's name. A finding that is not true of every App names its own. The class
    is the one of the rules that refuse, IncompatibleError where they differ.
    """
    # Findings are values: what is true of several Apps, such as a full disk, is the same Finding
    # and said once.
    owners: dict[Finding, list[str]] = {}
    for app, found in findings.items():
        for finding in dict.fromkeys(found):
            if finding.severity is Severity.ERROR:
                owners.setdefault(finding, []).append(app)
    if not owners:
        return None

    def named(finding: Finding, text: str) -> str:
        apps = owners[finding]
        return text if len(apps) == len(findings) else f"{', '.join(apps)}: {text}"

    briefs = dict.fromkeys(named(row, row.message) for row in owners)
    seen = dict.fromkeys(
        named(row, f"{row.rule}: {text}") for row in owners for text in row.evidence
    )
    # A finding of the App's own reader has no rule in the table.
    kinds = {_ERRORS.get(row.rule, IncompatibleError) for row in owners}
    kind = kinds.pop() if len(kinds) == 1 else IncompatibleError
    return kind(
        "; ".join(briefs),
        details="\n".join(seen),
        resolution=" ".join(dict.fromkeys(row.remedy for row in owners if row.remedy)),
    )
