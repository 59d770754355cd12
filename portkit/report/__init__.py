"""Stage 6: everything that one Move measured, as one JSON document (docs/report.schema.json)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from portkit.delivery import Delivery, Prediction, Transfer
from portkit.model import (
    App,
    Artifact,
    Facts,
    Figure,
    Finding,
    Form,
    MachineStart,
    Method,
    RunSpec,
    Timeline,
    Verdict,
)
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
SCHEMA = "portkit.report/1"
_ARTIFACT_KEYS = ("digest", "logical_bytes", "stored_bytes")
# The rest of `Boot` says how the times were measured, and stands beside them under `ttfr`.
_BOOT_KEYS = ("engine", "version", "accelerator", "url", "status", "machine")
_METHOD_KEYS = (
    "healthy_s",
    "method",
    "reason",
    "vantage",
    "poll_s",
    "timeout_s",
    "timeout_reason",
)
_NOT_BOOTED = {
    "healthy_s": None,
    "method": "",
    "reason": "",
    "vantage": "",
    "poll_s": 0.0,
    "timeout_s": 0.0,
    "timeout_reason": "",
}


@dataclass(frozen=True)
class Phase:
    """One thing that took time. start_s: seconds since the first action of the Move."""

    name: str
    start_s: float
    seconds: float


@dataclass(frozen=True)
class Boot:
    """How the app was found to be up, and on what it runs.

    accelerator: kvm, tcg (emulated) or none. status: of HTTP, 0 where there was none. method,
    reason: how it was known, and why no better method was possible. vantage: from where it was
    asked: direct, ssh or engine. poll_s: seconds between two questions.
    timeout_s: how long the first answer was waited for at most; timeout_reason: why so long.
    machine: how a VM was started; None for a container. healthy_s: of several services, seconds
    from the first start until all of their healthchecks passed; None where none has one.
    """

    engine: str
    version: str
    accelerator: str
    url: str
    status: int
    method: Method = Method.PUBLISHED
    reason: str = ""
    vantage: str = ""
    poll_s: float = 0.0
    timeout_s: float = 0.0
    timeout_reason: str = ""
    machine: MachineStart | None = None
    healthy_s: float | None = None


@dataclass(frozen=True)
class ServiceBytes:
    """What one service of several has to do with what travelled in the image Form.

    image: the digest of its image. bytes: of the image's content. sent_bytes: of the compressed
    streams of its blobs. shared_bytes: what of these other services need as well.
    """

    name: str
    image: str
    bytes: int
    sent_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class VolumeReport:
    """How the data of one volume came to the target.

    name: what the source's engine calls it; "" for a folder of the host. path: where the source has
    it. target_name: what the target's engine calls it, or the path of its disk there; "" where an
    earlier portkit began the Move. entries, bytes: of its content, as it was at the end. passes:
    how many there were while the App ran. sent_bytes: of content, in all passes. last_s,
    last_sent_bytes: of the pass after the App was stopped. skipped: what is no file, folder or
    link, and stayed behind.
    """

    name: str
    path: str
    target_name: str
    entries: int
    bytes: int
    passes: int
    sent_bytes: int
    last_s: float
    last_sent_bytes: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileReport:
    """A file of the source host that went with the App's configuration. path: there. target_path:
    on the target's host; in a VM, its path there."""

    path: str
    target_path: str


@dataclass(frozen=True)
class Cutover:
    """How a running App changed its host. timeline: what was seen of both hosts all through it;
    None where no published port leads to the App, or where the Move was resumed."""

    timeline: Timeline | None
    volumes: tuple[VolumeReport, ...]
    files: tuple[FileReport, ...] = ()


@dataclass(frozen=True)
class FormReport:
    """What one Form cost, or would cost.

    artifact: None if a check did not make one. from_boot_s: the time to first request, in seconds,
    one value for each start. from_move_s: for the first start, counted from the beginning of the
    Move. state: running, ready or removed; "" before. predicted: for a Move that is planned, or was
    planned before. services: for the image Form of several services.
    """

    form: Form
    artifact: Artifact | None
    verdict: Verdict
    findings: tuple[Finding, ...]
    phases: tuple[Phase, ...] = ()
    transfer: Transfer | None = None
    boot: Boot | None = None
    from_move_s: float | None = None
    from_boot_s: tuple[float, ...] = ()
    instance: str = ""
    state: str = ""
    predicted: Prediction | None = None
    services: tuple[ServiceBytes, ...] = ()


@dataclass(frozen=True)
class Report:
    """One Move of one App.

    source_link_bytes, target_link_bytes: on the whole connection to each host, in both directions.
    phases: those before the phases of the forms. cutover: for an App that was running. predictions:
    the figures beside what was measured. survey_bytes: what was sent to the target to predict
    them.
    """

    move: str
    app: App
    source: Facts
    target: Facts
    source_link_bytes: int
    target_link_bytes: int
    phases: tuple[Phase, ...]
    forms: tuple[FormReport, ...]
    dry_run: bool = False
    cutover: Cutover | None = None
    predictions: tuple[Figure, ...] = ()
    survey_bytes: int = 0


def by_service(
    services: Sequence[RunSpec], image: Artifact, sent: Sequence[Delivery]
) -> tuple[ServiceBytes, ...]:
    """What was sent for each of several services; () for one alone. sent: how the blobs of the
    image Form travelled."""
    if len(services) < 2:
        return ()
    configs = {config.digest: config for config in image.images}
    contents = {
        service.service: {service.image, *configs[service.image].diff_ids} for service in services
    }
    users = Counter(digest for digests in contents.values() for digest in digests)
    sizes = {blob.digest: blob.size for blob in image.blobs}
    streams = {each.digest: each.sent for each in sent}
    return tuple(
        ServiceBytes(
            name=service.service,
            image=service.image,
            bytes=sum(sizes[digest] for digest in contents[service.service]),
            sent_bytes=sum(streams.get(digest, 0) for digest in contents[service.service]),
            shared_bytes=sum(
                streams.get(digest, 0) for digest in contents[service.service] if users[digest] > 1
            ),
        )
        for service in services
    )


def to_json(report: Report) -> JsonObject:
    """A Report as the document that docs/report.schema.json describes.

    It contains no environment and no arguments, because they may contain secrets.
    """
    front = report.app.front_service
    return {
        "schema": SCHEMA,
        "move": report.move,
        "dry_run": report.dry_run,
        "app": {
            "name": report.app.name,
            "source": report.app.source,
            "service": front.name,
            "image": front.image,
            "built": front.build is not None,
            "services": [
                {"name": each.name, "image": each.image, "built": each.build is not None}
                for each in report.app.services
            ],
        },
        "source": plain(report.source),
        "target": plain(report.target),
        "links": {"source": report.source_link_bytes, "target": report.target_link_bytes},
        "phases": [plain(phase) for phase in report.phases],
        "forms": [_form(form) for form in report.forms],
        "cutover": report.cutover and plain(report.cutover),
        "predictions": [plain(each) for each in report.predictions],
        "survey_bytes": report.survey_bytes,
    }


def _form(form: FormReport) -> JsonObject:
    row = plain(replace(form, artifact=None))
    boot = row.pop("boot") or _NOT_BOOTED
    artifact = form.artifact
    return {
        "form": row["form"],
        # The rest of an Artifact contains the image's environment.
        "artifact": artifact and {name: getattr(artifact, name) for name in _ARTIFACT_KEYS},
        "predicted": row["predicted"],
        "transfer": row["transfer"],
        "services": row["services"],
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
