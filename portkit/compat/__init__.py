"""What an App needs is compared with what a host has, before a byte is sent. Pure.

All rules are in one table (`table.py`). Each is a small function with an id, a severity, a scope, a
remedy, and the error that a Move raises when the rule refuses it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from types import MappingProxyType
from typing import cast

from portkit.architecture import TABLE
from portkit.compat import ports as port_rules
from portkit.compat.asks import sought
from portkit.compat.disk import DiskCase
from portkit.compat.host import taken_networks
from portkit.compat.owner import Lacking, Running, disproved
from portkit.compat.ports import Pair
from portkit.compat.profile import Profile
from portkit.compat.room import Load, needed
from portkit.compat.rule import Case, Found, KnownFacts, Rule, Scope
from portkit.compat.table import BUNDLE_LACKS, CASE_RULES, PORT_SHARED, RULES, RUNNING, SPACE
from portkit.compat.table_of_disks import DISKS
from portkit.compat.table_of_programs import SYSTEM
from portkit.errors import IncompatibleError, PortkitError
from portkit.model import (
    AppSpec,
    Artifact,
    Blob,
    Facts,
    Finding,
    Form,
    ImageConfig,
    Instance,
    Needs,
    Port,
    Severity,
    Verdict,
)
from portkit.model.disk import DiskFile, DiskMachine

__all__ = [
    "RULES",
    "Case",
    "Found",
    "Profile",
    "Rule",
    "Scope",
    "check",
    "check_all",
    "check_disk",
    "clashes",
    "disproved",
    "documented",
    "documented_disk",
    "lacking",
    "refusal",
    "running",
    "something_taken",
    "sought",
    "space",
    "space_needed",
    "verdict",
]

_ERRORS = {rule.id: rule.error for rule in RULES}
_EMULATES = frozenset(rule.id for rule in RULES if rule.emulates)
_NO_NEEDS: Mapping[str, Needs] = MappingProxyType({})


def check(
    spec: AppSpec,
    images: Mapping[str, ImageConfig],
    facts: Facts,
    form: Form,
    instances: tuple[Instance, ...] = (),
    unknown: frozenset[str] = frozenset(),
    needs: Mapping[str, Needs] = _NO_NEEDS,
) -> tuple[Finding, ...]:
    """What the rules find of one App in one Form on one host.

    images: by digest. instances: what portkit has there. unknown: the fields of `facts` that are
    not known. needs: of those services whose image was read. A finding about one of several
    services names it; one that is true of all of them is there once. Of an image for another system
    nothing but that is found.
    """
    found: dict[Finding, list[str]] = {}
    known = cast(Facts, KnownFacts(facts, unknown)) if unknown else facts
    machines = tuple(dict.fromkeys(images[each.image].architecture for each in spec.services))
    for service in spec.services:
        image, own = images[service.image], needs.get(service.service)
        case = Case(service, spec, image, known, form, instances, own, machines)
        for rule in CASE_RULES if image.os == "linux" else (SYSTEM,):
            for finding in rule.judge(case) if form in rule.forms else ():
                found.setdefault(finding, []).append(service.service)
    return tuple(_named(finding, names, spec) for finding, names in found.items())


def _named(finding: Finding, services: Sequence[str], spec: AppSpec) -> Finding:
    if len(services) == len(spec.services):
        return finding
    message = f"{', '.join(services)}: {finding.message}"
    return replace(finding, message=message, services=tuple(services))


def something_taken(spec: AppSpec, facts: Facts) -> bool:
    """Whether something on the host listens where the App is to be published, or a network there
    has the name of one of the App's."""
    ports = port_rules.taken(spec.ports, facts)
    names = (name for each in spec.services for name in taken_networks(spec, each, facts))
    return next(chain(ports, names), None) is not None


def check_all(
    apps: Mapping[str, tuple[AppSpec, Sequence[ImageConfig]]],
    facts: Facts,
    forms: Sequence[Form],
    there: tuple[Instance, ...] = (),
    unknown: frozenset[str] = frozenset(),
    needs: Mapping[str, Mapping[str, Needs]] = MappingProxyType({}),
) -> dict[str, dict[Form, tuple[Finding, ...]]]:
    """What the rules find of Apps that go to one host: each alone, and all of them together.

    apps: what the processes of each App will see, and its images, by the App's name. there: what
    portkit has on the host already. unknown: the fields of `facts` that are not known. needs: of
    each App's services whose images were read. Answers the findings of each App in each of the
    Forms.
    """
    shared = clashes({name: spec.ports for name, (spec, _) in apps.items()})
    found = {}
    for name, (spec, images) in apps.items():
        known = {image.digest: image for image in images}
        found[name] = {
            form: check(spec, known, facts, form, there, unknown, needs.get(name, _NO_NEEDS))
            + shared[name]
            for form in forms
        }
    return found


def check_disk(
    disk: DiskFile, machine: DiskMachine, facts: Facts, unknown: frozenset[str] = frozenset()
) -> tuple[Finding, ...]:
    """What the rules find of a disk that portkit did not make, on one host. unknown: as `check`."""
    known = cast(Facts, KnownFacts(facts, unknown)) if unknown else facts
    case = DiskCase(disk, machine, known)
    return tuple(finding for rule in DISKS for finding in rule.judge(case))


def verdict(findings: Iterable[Finding], facts: Facts, form: Form) -> Verdict:
    """The one word that the findings about a Form amount to."""
    findings = tuple(findings)
    severities = {finding.severity for finding in findings}
    if Severity.ERROR in severities:
        return Verdict.INCOMPATIBLE
    if Severity.UNKNOWN in severities:
        return Verdict.UNKNOWN
    if form is Form.DISK and facts.architecture not in TABLE:
        return Verdict.UNKNOWN
    if form is Form.DISK and facts.accelerator != "kvm":
        return Verdict.EMULATED
    if any(finding.rule in _EMULATES for finding in findings):
        return Verdict.EMULATED
    return Verdict.NATIVE


def documented(
    apps: Mapping[str, tuple[AppSpec, Sequence[ImageConfig]]],
    profile: Profile,
    forms: Sequence[Form],
    needs: Mapping[str, Mapping[str, Needs]] = MappingProxyType({}),
    run: Collection[str] = (),
) -> dict[str, dict[Form, tuple[Verdict, tuple[Finding, ...]]]]:
    """What `check_all` finds on a kind of host of which only documents are known, and what it
    amounts to. run: the Apps that run at their source; see `disproved`."""
    found: dict[str, dict[Form, tuple[Verdict, tuple[Finding, ...]]]] = {}
    judged = check_all(apps, profile.facts, forms, unknown=profile.unknown, needs=needs)
    for name, rows in judged.items():
        images = {image.architecture for image in apps[name][1]}
        kept = {form: disproved(rows[form]) if name in run else rows[form] for form in forms}
        found[name] = {form: _by(profile, form, kept[form], images) for form in forms}
    return found


def documented_disk(
    disk: DiskFile, machine: DiskMachine, profile: Profile
) -> tuple[Verdict, tuple[Finding, ...]]:
    """What `check_disk` finds on a kind of host of which only documents are known, and what it
    amounts to."""
    found = check_disk(disk, machine, profile.facts, profile.unknown)
    return _by(profile, Form.DISK, found, disk.inside.architectures)


def _by(
    profile: Profile, form: Form, findings: tuple[Finding, ...], images: Collection[str]
) -> tuple[Verdict, tuple[Finding, ...]]:
    findings, told = profile.answered(findings, form, images)
    found = verdict(findings, profile.facts, form)
    if found is Verdict.INCOMPATIBLE:  # then it does not matter what is not known
        return found, tuple(row for row in findings if row.severity is not Severity.UNKNOWN)
    if found is Verdict.UNKNOWN or told is not None:
        return (found if told is None or found is Verdict.UNKNOWN else told), findings
    silent = "architecture" in profile.unknown or (
        form is Form.DISK and "accelerator" in profile.unknown
    )
    return (Verdict.UNKNOWN if silent else found), findings


def space(
    facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]], more: int = 0
) -> tuple[Finding, ...]:
    """Whether a host has room for everything that comes to it in one command; see `Load`."""
    return SPACE.judge(Load(facts, tuple(new), more))


def space_needed(facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]]) -> int:
    """The most bytes that this takes on a host at one time: what `space` compares."""
    return sum(needed(Load(facts, tuple(new))))


def clashes(ports: Mapping[str, Sequence[Port]]) -> dict[str, tuple[Finding, ...]]:
    """The ports that two Apps for the same host publish. Each is reported for both of them.

    ports: what each App publishes, by its name.
    """
    found: dict[str, list[Finding]] = {name: [] for name in ports}
    for (one, first), (other, second) in combinations(ports.items(), 2):
        rows = PORT_SHARED.judge(Pair(one, first, other, second))
        found[one] += rows
        found[other] += rows
    return {name: tuple(dict.fromkeys(rows)) for name, rows in found.items()}


def running(source: str, names: Sequence[str]) -> tuple[Finding, ...]:
    """Whether the App runs on the source host. names: of the containers and domains that run it."""
    return RUNNING.judge(Running(source, tuple(names)))


def lacking(made_for: str, target: str, blobs: Mapping[str, int]) -> tuple[Finding, ...]:
    """Whether a bundle leaves out something that the target does not have.

    blobs: digest and size of each blob that is left out and is not on the target.
    """
    return BUNDLE_LACKS.judge(Lacking(made_for, target, blobs))


def refusal(findings: Mapping[str, Iterable[Finding]]) -> PortkitError | None:
    """One error for everything that stands in the way, or None when nothing does.

    findings: of each App, by its name. When a finding is not true of all Apps, the text names those
    it is true of. The class of the error is the one that the refusing rules have; where they differ
    it is IncompatibleError.
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
