"""An Artifact as JSON in the Store, and back. Only portkit writes it; it is read as anybody's."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

from portkit.errors import VerifyError
from portkit.model import Artifact, check_digest
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SCHEMA = "portkit.artifact/2"


def manifest_of(artifact: Artifact) -> JsonObject:
    """What `artifact_from` reads, as values for JSON."""
    return {"schema": _SCHEMA, **asdict(artifact)}


def artifact_from(data: bytes) -> Artifact:
    """The Artifact of a manifest; VerifyError when it is not one."""
    try:
        row = strict_json.loads(data)
        if not isinstance(row, dict) or row.get("schema") != _SCHEMA:
            raise ValueError("it has another schema")
        artifact = _adapter().validate_json(data)  # a ValidationError is a ValueError
    except ValueError as error:
        raise VerifyError(
            "an artifact's manifest cannot be read",
            details=_reason(error),
            resolution="It was made by another version of portkit; pack the App again.",
        ) from None
    for digest in (artifact.digest, *(blob.digest for blob in artifact.blobs)):
        check_digest(digest)
    return artifact


@cache
def _adapter() -> TypeAdapter[Artifact]:
    from pydantic import TypeAdapter  # slow to import

    return TypeAdapter(Artifact)


def _reason(error: ValueError) -> str:
    """Without the values: an environment is among them."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part)[:80] for part in first['loc'][:4])}: {first['msg']}"[:500]
