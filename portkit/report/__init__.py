"""Stage 6: all that one Move measured, as one JSON document (docs/report.schema.json). Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from portkit.delivery import Prediction, Transfer
from portkit.model import App, Artifact, Facts, Finding, Form, Method, Verdict
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
SCHEMA = "portkit.report/1"
_ARTIFACT_KEYS = ("digest", "logical_bytes", "stored_bytes")
# The rest of `Boot` says how the times were measured, and stands beside them under `ttfr`.
_BOOT_KEYS = ("engine", "version", "accelerator", "url", "status")
_METHOD_KEYS = ("method", "reason", "vantage", "poll_s")
_NOT_BOOTED = {"method": "", "reason": "", "vantage": "", "poll_s": 0.0}


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
        "source": plain(report.source),
        "target": plain(report.target),
        "links": {"source": report.source_link_bytes, "target": report.target_link_bytes},
        "phases": [plain(phase) for phase in report.phases],
        "forms": [_form(form) for form in report.forms],
    }


def _form(form: FormReport) -> JsonObject:
    row = plain(replace(form, artifact=None))
    boot = row.pop("boot") or _NOT_BOOTED
    artifact = form.artifact
    return {
        "form": row["form"],
        # The rest of an Artifact holds the image's environment.
        "artifact": artifact and {name: getattr(artifact, name) for name in _ARTIFACT_KEYS},
        "predicted": row["predicted"],
        "transfer": row["transfer"],
        "phases": row["phases"],
        "ttfr": {
            "from_move_s": row["from_move_s"],
            "from_boot_s": row["from_boot_s"],
            **{key: boot[key] for key in _METHOD_KEYS},
        },
        "boot": form.boot and {key: boot[key] for key in _BOOT_KEYS},
        "instance": row["instance"],
        "state": row["state"],
        "compat": {"verdict": row["verdict"], "findings": row["findings"]},
    }


def plain(value: object) -> Any:
    """A value of portkit's as JSON has it: tuples become lists, and enums their words."""
    return adapter(type(value)).dump_python(value, mode="json")


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """What reads and writes values of a class as JSON."""
    from pydantic import TypeAdapter  # slow to import

    return TypeAdapter(kind)
