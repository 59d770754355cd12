"""An Artifact as JSON in the Store, and back. Only portkit writes and reads it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from portkit.errors import VerifyError
from portkit.model import Artifact, Blob, Form, Healthcheck, ImageConfig, check_digest

_SCHEMA = "portkit.artifact/1"


def manifest_of(artifact: Artifact) -> dict[str, Any]:
    return {"schema": _SCHEMA, **asdict(artifact)}


def artifact_from(data: bytes) -> Artifact:
    """The Artifact of a manifest; VerifyError when it is not one."""
    try:
        row = json.loads(data)
        if row.pop("schema") != _SCHEMA:
            raise ValueError("another schema")
        config = row["config"]
        health = config["healthcheck"]
        for name in ("diff_ids", "env", "entrypoint", "cmd", "exposed_ports", "volumes"):
            config[name] = tuple(config[name])
        if health is not None:
            health = Healthcheck(**{**health, "test": tuple(health["test"])})
        config["healthcheck"] = health
        row["config"] = ImageConfig(**config)
        row["blobs"] = tuple(Blob(check_digest(b["digest"]), int(b["size"])) for b in row["blobs"])
        return Artifact(**{**row, "form": Form(row["form"]), "digest": check_digest(row["digest"])})
    except (ValueError, KeyError, TypeError) as error:
        raise VerifyError(
            "an artifact's manifest cannot be read",
            details=repr(error),
            resolution="It was made by another version; pack the App again.",
        ) from error
