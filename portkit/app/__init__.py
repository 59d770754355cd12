"""Stage 1: sources -> App, and App with its image -> RunSpec."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from portkit.app.names import image_reference, made_name
from portkit.app.resolve import defaults, resolve
from portkit.errors import AppError
from portkit.model import App, Build, Finding, Service, Severity

_DOCKERFILES = ("Dockerfile", "Containerfile")  # the first that is there

__all__ = ["defaults", "load", "resolve"]


def load(source: str | Path, *, environ: Mapping[str, str] | None = None) -> App:
    """Read an App: a folder with compose.yaml or Dockerfile, a compose file, or an image's name.

    environ: the variables for `${VAR}` in the compose file, by default this process's environment.
    Raises AppError, which names the file and the line where there is one.
    """
    environ = dict(os.environ) if environ is None else environ
    text = str(source)
    try:
        path = Path(source).expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, NUL, no such user
        raise _no_app(text, str(error)) from error
    if folder:
        return _folder(path.resolve(), text, environ)
    if file and path.name.partition(".")[0] in _DOCKERFILES:
        raise _dockerfile(path, text)
    if file:
        from portkit.app import compose

        return compose.load(path.resolve(), made_name(path.resolve().parent.name), environ)
    try:
        image_reference(text)
    except ValueError as error:
        raise _no_app(text, "it is no folder, no file and no image reference") from error
    name = made_name(re.split(r"[:@]", text.rsplit("/", 1)[-1])[0])
    return App(name, (Service(name, image=text),), text)


def _no_app(text: str, why: str) -> AppError:
    return AppError(
        "there is no such App",
        details=f"{text[:200]!r}: {why}",
        resolution="Give a folder with compose.yaml or Dockerfile, or an image's name.",
    )


def _dockerfile(path: Path, text: str) -> AppError:
    plain = path.name in _DOCKERFILES
    more = f", with `dockerfile: {path.name[:80]}` under `build:` in its compose.yaml"
    return AppError(
        "a Dockerfile alone is no App",
        details=f"{text[:200]}: portkit builds from the folder that it stands in",
        resolution=f"Give the folder: {str(path.parent)[:200]}{'' if plain else more}.",
    )


def _folder(path: Path, source: str, environ: Mapping[str, str]) -> App:
    from portkit.app import compose

    for name in compose.FILES:
        if (path / name).is_file():
            return compose.load(path / name, made_name(path.name), environ)
    dockerfile = next((name for name in _DOCKERFILES if (path / name).is_file()), None)
    if dockerfile is None:
        raise AppError(
            "the folder holds no App",
            details=f"{path} has neither {compose.FILES[0]} nor Dockerfile nor Containerfile",
            resolution="Add one, or name the folder that has it.",
        )
    note = Finding(
        "ports-from-expose",
        Severity.INFO,
        "every port that the Dockerfile EXPOSEs is published under its own number",
        (str(path / "Dockerfile"),),
        "Write a compose.yaml to choose others.",
    )
    service = Service(made_name(path.name), build=Build(path, dockerfile))
    return App(service.name, (service,), source, (note,))
