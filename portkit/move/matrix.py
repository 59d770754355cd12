"""Where Apps can run: one cell for each App, Form and host, with the reason.

A host is asked (`judge_apps`) or is known from documents only (`compat.Profile`). Everything that
was found becomes one Matrix, which is a value; docs/check.schema.json describes its document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from portkit import compat
from portkit.compat import Profile
from portkit.errors import IncompatibleError, PortkitError, PredictionError, UnknownError
from portkit.isolation.seen import Isolation
from portkit.model import Facts, Finding, Form, Severity, Verdict
from portkit.move.observed import Observed, Outcome
from portkit.move.prepare import Package, Request
from portkit.report import Report, plain
from portkit.wire.json_types import JsonObject

SCHEMA = "portkit.check/1"
_RUNS = (Verdict.NATIVE, Verdict.EMULATED)


class Basis(StrEnum):
    """What is known of a host rests on this: it was asked, documents say it, or nothing does."""

    ASKED = "asked"
    DOCUMENTATION = "documentation"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class HostKnown:
    """One host of a Matrix.

    facts: None if it could not be asked. kept_s: the age in seconds of those Facts that are kept
    from one check to the next; None if all were read now. profile: for a host that is known from
    documentation. error: why it could not be asked.
    """

    name: str
    basis: Basis
    facts: Facts | None = None
    kept_s: float | None = None
    profile: Profile | None = None
    error: PortkitError | None = None


@dataclass(frozen=True)
class Cell:
    """The result for one App in one Form on one host. reason: why the verdict was given, in one
    line. observed: what a trial showed; None without a trial. isolation: what a probe in the App's
    place saw; None if that was not asked for."""

    app: str
    form: Form
    host: str
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]
    observed: Observed | None = None
    isolation: Isolation | None = None

    @property
    def runs(self) -> bool:
        """Whether the App can run there: what a trial showed, else what is predicted."""
        if self.observed is not None and self.observed.outcome is not Outcome.UNTRIED:
            return self.observed.outcome is Outcome.RUNS
        return self.verdict in _RUNS

    @property
    def known(self) -> bool:
        """Whether anything says if it can run."""
        tried = self.observed is not None and self.observed.outcome is not Outcome.UNTRIED
        return tried or self.verdict is not Verdict.UNKNOWN


@dataclass(frozen=True)
class Matrix:
    """Every App in every Form on every host, in the order in which they were named."""

    apps: tuple[str, ...]
    forms: tuple[Form, ...]
    hosts: tuple[HostKnown, ...]
    cells: tuple[Cell, ...]

    def of(self, app: str) -> tuple[Cell, ...]:
        """The cells of one App."""
        return tuple(cell for cell in self.cells if cell.app == app)


# A host with its cells.
Row = tuple[HostKnown, tuple[Cell, ...]]


def joined(apps: Sequence[str], forms: Sequence[Form], rows: Sequence[Row]) -> Matrix:
    """The Matrix of these hosts. Where none of them could be asked, the error of the first is
    raised."""
    errors = [host.error for host, _ in rows if host.error is not None]
    if errors and len(errors) == len(rows):
        raise errors[0]
    return Matrix(
        apps=tuple(apps),
        forms=tuple(forms),
        hosts=tuple(host for host, _ in rows),
        cells=tuple(cell for _, cells in rows for cell in cells),
    )


def asked(name: str, reports: Sequence[Report], kept_s: float | None) -> Row:
    """A host that was asked, with its cells. reports: of the Apps, judged for it."""
    facts = reports[0].target
    cells = tuple(
        cell_of(report.app.name, form.form, name, facts, form.verdict, form.findings)
        for report in reports
        for form in report.forms
    )
    return HostKnown(name, Basis.ASKED, facts, kept_s), cells


def unreachable(name: str, apps: Sequence[str], forms: Sequence[Form], error: PortkitError) -> Row:
    """A host that did not answer: nothing is known of it."""
    cells = tuple(
        Cell(app, form, name, Verdict.UNKNOWN, error.brief, ()) for app in apps for form in forms
    )
    return HostKnown(name, Basis.UNREACHABLE, error=error), cells


def documented(packages: Sequence[Package], request: Request, profile: Profile) -> Row:
    """A kind of host that documents describe, with its cells."""
    lacks = request.source.lacking(None, request.store)
    apps = {each.app.name: (each.spec, each.image.images) for each in packages}
    own = {each.app.name: each.needs for each in packages}
    run = [each.app.name for each in packages if each.app.seen_up]
    judged = compat.documented(apps, profile, request.forms, own, run)
    cells = []
    for each in packages:
        known = each.app.findings + each.running + lacks
        refused = any(finding.severity is Severity.ERROR for finding in known)
        for form in request.forms:
            verdict, findings = judged[each.app.name][form]
            verdict = Verdict.INCOMPATIBLE if refused else verdict
            facts, rows = profile.facts, known + findings
            cells.append(cell_of(each.app.name, form, profile.name, facts, verdict, rows))
    known_host = HostKnown(profile.name, Basis.DOCUMENTATION, profile.facts, profile=profile)
    return known_host, tuple(cells)


def cell_of(
    app: str,
    form: Form,
    host: str,
    facts: Facts,
    verdict: Verdict,
    findings: tuple[Finding, ...],
) -> Cell:
    """One cell, with its reason."""
    return Cell(app, form, host, verdict, _reason(verdict, findings, form, facts), findings)


def _reason(verdict: Verdict, findings: Sequence[Finding], form: Form, facts: Facts) -> str:
    """What a verdict rests on. Of a refusal, what refuses; else what would run the App."""
    weighs = {
        Verdict.INCOMPATIBLE: (Severity.ERROR,),
        Verdict.UNKNOWN: (Severity.UNKNOWN,),
    }.get(verdict, ())
    told = [row.message for row in findings if row.severity in weighs]
    if told:
        return "; ".join(dict.fromkeys(told))
    if verdict is Verdict.UNKNOWN:
        return "nothing describes its processor or accelerator"
    if form is Form.DISK:
        virtual = facts.accelerator_note or facts.accelerator
        return f"{facts.architecture}, {_version('QEMU', facts.qemu_version)}, {virtual}"
    slow = next((row.message for row in findings if row.rule in ("architecture", "emulated")), "")
    name = "Podman" if facts.engine.podman else "Docker"
    told = [facts.architecture, _version(name, facts.docker_version), slow]
    return ", ".join(each for each in told if each)


def _version(name: str, version: str | None) -> str:
    return f"{name} {version}" if version else name


def outcome(matrix: Matrix, *, strict: bool = False) -> PortkitError | None:
    """The error that says how a check ends; None when it ends well.

    It ends well when every App can run in some Form on some host; with `strict`, when every cell
    says so. Else the error is the one that a Move would raise, or UnknownError where it is not
    known. What a trial showed counts more than what was predicted; where the two do not agree, that
    is what is said: PredictionError.
    """
    wrong = _wrong(matrix)
    if wrong is not None:
        return wrong
    cells = {app: matrix.of(app) for app in matrix.apps}
    bad = {
        app: [cell for cell in row if not cell.runs]
        for app, row in cells.items()
        if strict or not any(cell.runs for cell in row)
    }
    unknown = {app: [cell for cell in row if not cell.known] for app, row in bad.items()}
    refused = {
        f"{cell.app} on {cell.host}": cell.findings
        for app, row in bad.items()
        # Without `strict`, an App that may run somewhere is not refused.
        if strict or not unknown[app]
        for cell in row
    }
    if error := compat.refusal(refused):
        return error
    silent = [cell for row in unknown.values() for cell in row]
    if not silent:
        return _failed([cell for row in bad.values() for cell in row])
    return UnknownError(
        "it is not known whether it can run",
        details="\n".join(f"{c.app} ({c.form}) on {c.host}: {c.reason}" for c in silent),
        resolution="Name a host that portkit can reach: --on HOST.",
    )


def _wrong(matrix: Matrix) -> PredictionError | None:
    cells = [each for each in matrix.cells if each.observed and each.observed.agrees is False]
    if not cells:
        return None
    return PredictionError(
        "the prediction and the result of the trial differ",
        details="\n".join(map(_beside, cells)),
        resolution="Trust the result of the trial, and report it with --output json: a rule is "
        "wrong or missing.",
    )


def _failed(cells: Sequence[Cell]) -> IncompatibleError | None:
    """Cells of which nothing was predicted, and which did not run when they were tried."""
    if not cells:
        return None
    return IncompatibleError("it did not run", details="\n".join(map(_beside, cells)))


def _beside(cell: Cell) -> str:
    seen = cell.observed
    told = f"{seen.outcome} ({seen.reason})" if seen and seen.reason else seen and seen.outcome
    return f"{cell.app} ({cell.form}) on {cell.host}: predicted {cell.verdict}, seen: {told}"


def matrix_json(matrix: Matrix) -> JsonObject:
    """A Matrix as the document that docs/check.schema.json describes."""
    return {
        "schema": SCHEMA,
        "apps": list(matrix.apps),
        "forms": [form.value for form in matrix.forms],
        "hosts": [_host(host) for host in matrix.hosts],
        "cells": [plain(cell) for cell in matrix.cells],
    }


def _host(host: HostKnown) -> JsonObject:
    row: JsonObject = {
        "name": host.name,
        "basis": host.basis.value,
        "kept_s": host.kept_s,
        "error": str(host.error) if host.error else "",
        "facts": plain(host.facts) if host.facts else None,
        "unknown": [],
        "documentation": None,
    }
    profile = host.profile
    if profile is not None:
        row["unknown"] = [field.name for field in fields(Facts) if field.name in profile.unknown]
        for name in row["unknown"]:
            del row["facts"][name]
        row["documentation"] = {
            "title": profile.title,
            "read": profile.read.isoformat(),
            "assumes": list(profile.assumes),
            "how": profile.how,
            "documents": [plain(each) for each in profile.documents],
        }
    return row
