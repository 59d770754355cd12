"""What a bundle says about itself: one JSON document, named by its type in index.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from portkit.bundle import contents
from portkit.bundle.tar import malformed
from portkit.errors import AppError, VerifyError
from portkit.model import Finding, Severity
from portkit.transfer.bases import MOST_OPEN
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

SCHEMA = "portkit.bundle/2"
LIMIT = 8 << 20  # bytes; as values in memory it takes some ten times as much
SMALL = 16 << 20  # bytes of the configurations of all images, and of all manifests
MOST_SERVICES = 500  # of an App, as its reader has it
MOST_LAYERS = 4000  # of all images; the most that JSON with a limit of values has room for is more
_Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
_Bytes = Annotated[int, Field(ge=0, lt=1 << 44)]  # below 16 TiB: ext4 ends there
MAX_TEXT = 4096  # characters
MAX_EVIDENCE = 1000  # texts in one finding
_Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Pem = Annotated[str, Field(max_length=1 << 20)]


class _Row(BaseModel):
    # strict: "1" is no number here. forbid: a field that this version does not know may change what
    # the others mean.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Base(_Row):
    """Something that a recipe copies from."""

    digest: _Digest
    size: _Bytes


class Content(_Row):
    """A blob of an Artifact: its digest and size, and what of it is in the bundle.

    encoding: zstd (packed is its content), recipe (packed is a recipe against `bases`, in zstd),
    absent (the target has it).
    """

    digest: _Digest
    size: _Bytes
    encoding: Literal["zstd", "recipe", "absent"]
    packed: _Digest | None = None
    packed_size: _Bytes = 0
    bases: Annotated[list[Base], Field(max_length=MOST_OPEN), FailFast()] = []


class Noted(_Row):
    """A Finding of the App."""

    rule: _Text
    severity: Literal["error", "unknown", "warning", "info"]
    message: _Text
    evidence: Annotated[list[_Text], Field(max_length=MAX_EVIDENCE), FailFast()]
    remedy: _Text
    services: Annotated[list[_Text], Field(max_length=MAX_EVIDENCE), FailFast()] = []

    @classmethod
    def of(cls, finding: Finding) -> Noted:
        """A Finding with every text cut to what this document may hold."""
        return cls(
            rule=finding.rule[:MAX_TEXT],
            severity=finding.severity.value,
            message=finding.message[:MAX_TEXT],
            evidence=[text[:MAX_TEXT] for text in finding.evidence[:MAX_EVIDENCE]],
            remedy=finding.remedy[:MAX_TEXT],
            services=list(finding.services[:MAX_EVIDENCE]),
        )

    def finding(self) -> Finding:
        """The Finding as a value."""
        return Finding(
            rule=self.rule,
            severity=Severity(self.severity),
            message=self.message,
            evidence=tuple(self.evidence),
            remedy=self.remedy,
            services=tuple(self.services),
        )


class Disk(_Row):
    """kit: digest of its GuestKit; files: of the kit, which it is made from on the target.
    data_bytes: without its holes."""

    content: Content
    kit: _Digest | None
    files: Annotated[list[Content], Field(max_length=16), FailFast()] = []
    data_bytes: _Bytes


class Document(_Row):
    """app: a compose document. cas: PEM of each CA that it names. carried: a tar of its files.
    source: what was packed. facts: of the host where.

    images: the configuration of the image that each service runs. layers: of all images, in the
    order of the services and of their diffIDs, each once; layers without `packed` and not absent do
    not exist: a bundle of the disk alone has none.
    """

    schema_: Literal["portkit.bundle/2"] = Field(alias="schema")
    app: Annotated[str, Field(max_length=LIMIT)]
    cas: Annotated[list[_Pem], Field(max_length=MOST_SERVICES), FailFast()]
    carried: Content | None
    source: _Text
    findings: Annotated[list[Noted], Field(max_length=10_000), FailFast()]
    facts: JsonObject
    images: Annotated[dict[_Text, _Digest], Field(min_length=1, max_length=MOST_SERVICES)]
    layers: Annotated[list[Content], Field(max_length=MOST_LAYERS), FailFast()]
    forms: Annotated[list[Literal["image", "disk"]], Field(min_length=1, max_length=2)]
    disk: Disk | None
    made_for: _Text = ""

    def contents(self) -> list[Content]:
        """Layers, the kit, then the disk: each after its bases. What goes into a Store."""
        return [*self.layers, *([*self.disk.files, self.disk.content] if self.disk else [])]

    def members(self) -> list[Content]:
        """Everything that has a member of its own."""
        carried = () if self.carried is None else (self.carried,)
        return [each for each in (*self.contents(), *carried) if each.packed]


def parse(data: bytes) -> Document:
    """VerifyError when it is malformed, or does not fit together."""
    try:
        document = Document.model_validate(strict_json.loads(data, most=strict_json.MAX_CHECKED))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"][:4])
        raise malformed(f"its document: {place}: {first['msg']}"[:500]) from None
    except ValueError as error:
        raise malformed(f"its document: {error}") from None
    _check(document)
    return document


def _check(document: Document) -> None:
    if ("disk" in document.forms) != (document.disk is not None):
        raise malformed("its document and its contents disagree about a disk")
    if len(set(document.forms)) != len(document.forms):
        raise malformed("its document names a form twice")
    carried = document.carried
    if carried is not None and (carried.encoding != "zstd" or carried.size > contents.LIMIT):
        raise malformed(f"the App's files are not in it, or have more than {contents.LIMIT} bytes")
    packed = {content.digest for content in document.contents() if content.packed}
    seen: set[str] = set()
    for content in (*document.contents(), *(() if carried is None else (carried,))):
        bases = {base.digest for base in content.bases}
        if content.digest in seen:
            raise malformed(f"{content.digest} is in its document twice")
        if (content.packed is None) != (content.encoding == "absent"):
            raise malformed(f"{content.digest} is neither in it nor listed as absent")
        if content.bases and content.encoding != "recipe":
            raise malformed(f"{content.digest} has bases although it needs none")
        if len(bases) != len(content.bases):
            raise malformed(f"{content.digest} lists a base twice")
        # Made for a host, it may be made from what is there, but not from what follows or itself.
        if not (bases & packed if document.made_for else bases) <= seen:
            raise malformed(
                f"{content.digest} is made from something that is not in it, or that follows it"
            )
        seen.add(content.digest)


def made(**fields: object) -> Document:
    """The document of those fields; AppError where the App has more than it may hold."""
    try:
        return Document.model_validate({"schema": SCHEMA, **fields})
    except ValidationError as error:
        row = error.errors(include_input=False, include_url=False)[0]
        raise too_large(f"{row['loc'][0]}: {row['msg']}"[:500]) from None


def check_small(sizes: Iterable[int]) -> None:
    """AppError when configurations or manifests are more than are read."""
    if (total := sum(sizes)) > SMALL:
        raise too_large(
            f"the descriptions of its images have {total} bytes, at most {SMALL} are allowed"
        )


def too_large(why: str) -> AppError:
    """The error for an App that is more than a bundle holds."""
    return AppError(
        "the App is too large for a bundle",
        details=why,
        resolution="Move it from host to host, without a bundle.",
    )


def encode(document: Document) -> bytes:
    """AppError when it is more than `parse` takes."""
    data = json.dumps(document.model_dump(by_alias=True), sort_keys=True, indent=1).encode()
    if len(data) > LIMIT:
        raise too_large(f"its description has {len(data)} bytes, at most {LIMIT} are allowed")
    try:
        parse(data)
    except VerifyError as error:
        raise too_large(error.details) from None
    return data


def digest_of(data: bytes) -> str:
    """The digest of bytes in memory."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
