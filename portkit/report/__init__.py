"""Stage 6: all that one Move measured, as one JSON document (docs/report.schema.json). Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from portkit.delivery import Prediction, Transfer
from portkit.model import App, Artifact, Facts, Finding, Form, Method, Verdict
from portkit.wire.json_types import JsonObject

SCHEMA = "portkit.report/1"
# The rest of `Boot` says how the times were measured, and stands beside them under `ttfr`.
_BOOT_KEYS = ("engine", "version", "accelerator", "url", "status")


@dataclass(frozen=True)
class Phase:
    """start_s: from the first action of the Move. Both in seconds."""

    name: str
    start_s: float
    seconds: float


@dataclass(frozen=True)
class Boot:
    """How the app was found to be up. method, reason: what told it, and why not the app itself on a
    published port. vantage: from where: direct, ssh or engine. poll_s: between two questions."""

    engine: str
    version: str
    accelerator: str
    url: str
    status: int
    method: Method = Method.PUBLISHED
    reason: str = ""
    vantage: str = ""
    poll_s: float = 0.0


@dataclass(frozen=True)
class FormReport:
    """What one Form cost. from_boot_s: one value for each start, in order. predicted: what it would
    cost, where the Move was only planned."""

    form: Form
    artifact: Artifact | None  # None where a check did not make one
    verdict: Verdict
    findings: tuple[Finding, ...]
    phases: tuple[Phase, ...] = ()
    transfer: Transfer | None = None
    boot: Boot | None = None
    from_move_s: float | None = None
    from_boot_s: tuple[float, ...] = ()
    instance: str = ""
    state: str = ""  # running | ready | removed
    predicted: Prediction | None = None


@dataclass(frozen=True)
class Report:
    """One Move. links: bytes both ways over each host's connection, from begin to end."""

    move: str
    app: App
    source: Facts
    target: Facts
    source_link_bytes: int
    target_link_bytes: int
    phases: tuple[Phase, ...]
    forms: tuple[FormReport, ...]
    dry_run: bool = False


def to_json(report: Report) -> JsonObject:
    """A Report as the document that docs/report.schema.json describes.

    It contains no environment and no arguments, because they may hold secrets.
    """
    service = report.app.service
    return {
        "schema": SCHEMA,
        "move": report.move,
        "dry_run": report.dry_run,
        "app": {
            "name": report.app.name,
            "source": report.app.source,
            "service": service.name,
            "image": service.image,
            "built": service.build is not None,
        },
        "source": _facts(report.source),
        "target": _facts(report.target),
        "links": {"source": report.source_link_bytes, "target": report.target_link_bytes},
        "phases": [asdict(phase) for phase in report.phases],
        "forms": [_form(form) for form in report.forms],
    }


def _facts(facts: Facts) -> JsonObject:
    row = asdict(facts)
    # JSON has lists only; a document that was read back would otherwise differ from this one.
    row["listening"] = [list(pair) for pair in facts.listening]
    row["listening_udp"] = [list(pair) for pair in facts.listening_udp]
    return row


def _transfer(transfer: Transfer) -> JsonObject:
    return {**asdict(transfer), "blobs": [asdict(blob) for blob in transfer.blobs]}


def _measured(boot: Boot | None) -> JsonObject:
    """How the times were measured; nothing of it where none was."""
    if boot is None:
        return {"method": "", "reason": "", "vantage": "", "poll_s": 0.0}
    return {
        "method": boot.method.value,
        "reason": boot.reason,
        "vantage": boot.vantage,
        "poll_s": boot.poll_s,
    }


def _form(form: FormReport) -> JsonObject:
    artifact = form.artifact
    boot = None if form.boot is None else asdict(form.boot)
    return {
        "form": form.form.value,
        "artifact": artifact
        and {
            "digest": artifact.digest,
            "logical_bytes": artifact.logical_bytes,
            "stored_bytes": artifact.stored_bytes,
        },
        "predicted": None if form.predicted is None else asdict(form.predicted),
        "transfer": None if form.transfer is None else _transfer(form.transfer),
        "phases": [asdict(phase) for phase in form.phases],
        "ttfr": {
            "from_move_s": form.from_move_s,
            "from_boot_s": list(form.from_boot_s),
            **_measured(form.boot),
        },
        "boot": None if boot is None else {key: boot[key] for key in _BOOT_KEYS},
        "instance": form.instance,
        "state": form.state,
        "compat": {
            "verdict": form.verdict.value,
            "findings": [{**asdict(f), "severity": f.severity.value} for f in form.findings],
        },
    }
