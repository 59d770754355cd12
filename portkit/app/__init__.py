"""Stage 1: sources -> App, and App with its image -> RunSpec."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from portkit.app.asked import with_health
from portkit.app.carried import filled
from portkit.app.names import app_name, image_reference, made_name
from portkit.app.resolve import defaults, resolve, resolve_all
from portkit.errors import AppError
from portkit.model import App, Build, Finding, Reading, Service, Severity

_DOCKERFILES = ("Dockerfile", "Containerfile")  # the first that is there

__all__ = ["defaults", "filled", "load", "resolve", "resolve_all", "with_health"]


def load(
    source: str | Path,
    *,
    environ: Mapping[str, str] | None = None,
    files: Sequence[str | Path] = (),
    profiles: Sequence[str] = (),
    name: str = "",
    carry: Sequence[str | Path] = (),
    health: Mapping[str, str] | None = None,
    same_paths: Sequence[str] = (),
) -> App:
    """Read an App: a folder with a compose.yaml or a Dockerfile, a compose file, or an image's
    name.

    environ: the variables for `${VAR}` in the compose file, by default this process's environment;
    COMPOSE_FILE, COMPOSE_PROFILES and COMPOSE_PROJECT_NAME in it apply if the corresponding
    arguments are empty. files: compose files in the folder `source`, merged in this order.
    profiles: select the services that belong to the App. name: the App's name. carry: paths of bind
    mounts that travel with the App although they are outside of its folder, or hold data. health:
    by the keys of `x-portkit.health`, what counts in place of what the App says, of the service
    that answers for it. same_paths: absolute paths that the App binds of whatever host it is on,
    such as a socket. Raises AppError, which names the file and, if there is one, the line.
    """
    environ = dict(os.environ) if environ is None else environ
    text = str(source)
    try:
        path = Path(source).expanduser()
        folder, file = path.is_dir(), path.is_file()
        carried = tuple(str(Path(each).expanduser().resolve()) for each in carry)
    except (OSError, ValueError, RuntimeError) as error:  # too long, NUL, no such user
        raise _no_app(text, str(error)) from error
    reading = Reading(
        tuple(map(str, files)), tuple(profiles), name, carried, same_paths=tuple(same_paths)
    )
    app = _loaded(path, text, reading, environ, folder=folder, file=file)
    return with_health(app, health or {})


def _loaded(
    path: Path, text: str, reading: Reading, environ: Mapping[str, str], *, folder: bool, file: bool
) -> App:
    if folder:
        return _folder(path.resolve(), text, reading, environ)
    if file and not reading.files and path.name.partition(".")[0] in _DOCKERFILES:
        raise _dockerfile(path, text)
    if file:
        from portkit.app import compose

        path = path.absolute()
        reading = replace(reading, files=reading.files or (path.name,))
        return compose.load(path.parent, reading, environ)
    if reading.files:
        raise _no_app(text, "the files to read the App from are not in a folder")
    try:
        image_reference(text)
    except ValueError as error:
        raise _no_app(text, "it is not a folder, a file or an image reference") from error
    name = app_name(reading.name or made_name(re.split(r"[:@]", text.rsplit("/", 1)[-1])[0]))
    return App(name, (Service(name, image=text),), text, reading=reading)


def _no_app(text: str, why: str) -> AppError:
    return AppError(
        "the App was not found",
        details=f"{text[:200]!r}: {why}",
        resolution="Name a folder with compose.yaml or Dockerfile, a compose file, or an image.",
    )


def _dockerfile(path: Path, text: str) -> AppError:
    plain = path.name in _DOCKERFILES
    more = f", with `dockerfile: {path.name[:80]}` under `build:` in its compose.yaml"
    return AppError(
        "portkit does not take a Dockerfile as an App",
        details=f"{text[:200]}: portkit builds from the folder that contains it",
        resolution=f"Name the folder instead: {str(path.parent)[:200]}{'' if plain else more}.",
    )


def _folder(path: Path, source: str, reading: Reading, environ: Mapping[str, str]) -> App:
    from portkit.app import compose

    if files := reading.files or compose.files_of(path, environ):
        return compose.load(path, replace(reading, files=files), environ)
    dockerfile = next((name for name in _DOCKERFILES if (path / name).is_file()), None)
    if dockerfile is None:
        raise AppError(
            "the folder contains no App",
            details=f"{path} has neither {compose.FILES[0]} nor Dockerfile nor Containerfile",
            resolution="Add one of these files, or name the folder that has one.",
        )
    note = Finding(
        "ports-from-expose",
        Severity.INFO,
        "portkit publishes every port that the Dockerfile EXPOSEs, under its own number",
        (str(path / "Dockerfile"),),
        "To publish other ports, write a compose.yaml.",
    )
    name = app_name(reading.name or made_name(path.name))
    service = Service(name, build=Build(path, dockerfile))
    return App(name, (service,), source, (note,), reading=reading)
