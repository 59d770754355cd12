"""Compose's `build`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.app.document import Value
from portkit.model import Build, Severity

if TYPE_CHECKING:
    from portkit.app.compose import Reader

_SECRET = re.compile(r"passw|secret|token|credential|private|api_?key", re.IGNORECASE)


def read(reader: Reader, value: Value) -> Build:
    """A context alone, or the mapping; an argument that names a secret is a Finding."""
    if not isinstance(value.data, dict):
        return Build(_context(reader, value))
    row = reader.level(value, "build")
    args = reader.pairs(row["args"], "build.args") if "args" in row else {}
    for name in filter(_SECRET.search, args):
        message = f"the build argument {name[:80]} stays readable in the image's history"
        reader.note("build-arg-kept", row["args"], message, Severity.WARNING)
    return Build(
        context=_context(reader, row.get("context", Value(".", value.line))),
        dockerfile=reader.text(row["dockerfile"]) if "dockerfile" in row else "Dockerfile",
        args=args,
        target=reader.text(row["target"]) if "target" in row else None,
        network=reader.text(row["network"]) if "network" in row else None,
    )


def _context(reader: Reader, value: Value) -> Path:
    return reader.use(value, lambda _: reader.files.context(reader.text(value)))
