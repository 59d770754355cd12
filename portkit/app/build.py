"""Compose's `build`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Build, GitUrl, Severity

_SECRET = re.compile(r"passw|secret|token|credential|private|api_?key", re.IGNORECASE)
_OTHER = re.compile(r"service:|.*://", re.DOTALL)


def read(reader: Reader, value: Value) -> Build:
    """A context alone, or the mapping; an argument that names a secret is a Finding."""
    if not isinstance(value.data, dict):
        return Build(_context(reader, value))
    row = reader.level(value, "build")
    args = reader.inherited(row["args"], "build.args") if "args" in row else {}
    # `docker history` shows build arguments to everybody who has the image.
    for name in filter(_SECRET.search, args):
        message = f"the build argument {name[:80]} stays readable in the image's history"
        reader.note("build-arg-kept", row["args"], message, Severity.WARNING)

    def text(key: str) -> str | None:
        return reader.text(row[key], f"build.{key}") or None if key in row else None

    if text("dockerfile") and text("dockerfile_inline"):
        raise reader.error(value, "dockerfile and dockerfile_inline cannot be combined")
    return Build(
        context=_context(reader, row.get("context", replace(value, data="."))),
        dockerfile=text("dockerfile") or "Dockerfile",
        inline=text("dockerfile_inline"),
        args={key: text for key, text in args.items() if text is not None},
        target=text("target"),
        network=text("network"),
    )


def _context(reader: Reader, value: Value) -> Path | GitUrl:
    text = reader.text(value, "build.context") or "."
    if GitUrl.is_remote(text):
        return reader.use(value, lambda _: reader.files(value).repository(text))
    if _OTHER.match(text):  # not which: a URL may hold a password
        message = "portkit builds only from a folder or a git repository"
        raise reader.error(value, message, "Name a folder in `build.context`.")
    return reader.use(value, lambda _: reader.files(value).context(text))
