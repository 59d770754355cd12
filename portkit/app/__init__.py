"""Stage 1: sources -> App, and App with its image -> RunSpec."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from portkit.app.names import made_name
from portkit.app.resolve import defaults, resolve
from portkit.errors import AppError
from portkit.model import App, Build, Finding, Service, Severity

__all__ = ["defaults", "load", "resolve"]

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,511}")


def load(source: str | Path, *, environ: Mapping[str, str] | None = None) -> App:
    """The App of a folder (compose.yaml or Dockerfile), a compose file, or an image reference.

    environ: for `${VAR}` in the compose file; default: this process's environment.
    Raises AppError, with file and line where there is one.
    """
    environ = dict(os.environ) if environ is None else environ
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path.resolve(), str(source), environ)
    if path.is_file():
        from portkit.app import compose

        return compose.load(path.resolve(), made_name(path.resolve().parent.name), environ)
    text = str(source)
    if text.startswith((".", "/", "~")) or not _REFERENCE.fullmatch(text):
        raise AppError(
            "there is no such App",
            details=f"{text[:200]!r} is no folder, no file and no image reference",
            resolution="Give a folder with compose.yaml or Dockerfile, or an image's name.",
        )
    name = made_name(re.split(r"[:@]", text.rsplit("/", 1)[-1])[0])
    return App(name, (Service(name, image=text),), text)


def _folder(path: Path, source: str, environ: Mapping[str, str]) -> App:
    from portkit.app import compose

    for name in compose.FILES:
        if (path / name).is_file():
            return compose.load(path / name, made_name(path.name), environ)
    if not (path / "Dockerfile").is_file():
        raise AppError(
            "the folder holds no App",
            details=f"{path} has neither {compose.FILES[0]} nor Dockerfile",
            resolution="Add one, or name the folder that has it.",
        )
    note = Finding(
        "ports-from-expose",
        Severity.INFO,
        "every port that the Dockerfile EXPOSEs is published under its own number",
        str(path / "Dockerfile"),
        "Write a compose.yaml to choose others.",
    )
    service = Service(made_name(path.name), build=Build(path))
    return App(service.name, (service,), source, (note,))
