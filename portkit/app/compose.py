"""The files of a compose project -> App. Source of keys and words: the compose-spec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from portkit.app import envfile, mounts, networks, project, service
from portkit.app.assemble import Assembler
from portkit.app.contents import Binds, Mounted
from portkit.app.document import Value
from portkit.app.files import Folder, Origin, Sealed, read_file
from portkit.app.health import front_of, health_of, machine_of
from portkit.app.keys import TOP_CARRIED, TOP_KNOWN
from portkit.app.names import app_name, made_name
from portkit.app.reader import Reader
from portkit.errors import AppError
from portkit.model import (
    App,
    ContentFile,
    ContentKind,
    Machine,
    Network,
    Reading,
    Service,
    Severity,
    Volume,
)

_VERSION = re.compile(r"[123](\.[0-9]{1,2})?")
_PROJECT = "COMPOSE_PROJECT_NAME"
_PROFILES = "COMPOSE_PROFILES"
_FILE, _SEPARATOR = "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR"
_ENV_FILES, _NO_ENV_FILE = "COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")  # as Go reads one
_SERVICES = 500  # of an App
FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)


def files_of(folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The compose files of a folder: those of COMPOSE_FILE, or the one of FILES with the one of
    OVERRIDES beside it; () where there is none."""
    known = _variables(folder, environ)
    if named := _words(known.get(_FILE, ""), known.get(_SEPARATOR) or ":"):
        return named
    first = next((name for name in FILES if (folder / name).is_file()), None)
    if first is None:
        return ()
    over = next((name for name in OVERRIDES if (folder / name).is_file()), None)
    return (first,) if over is None else (first, over)


def load(folder: Path, reading: Reading, environ: Mapping[str, str]) -> App:
    """The App of the files of `reading`, which names one or more, relative to the folder.

    `environ` wins over the .env file beside the first of them.
    """
    paths, texts, reader = _opened(folder, reading.files, environ)
    profiles = reading.profiles or _words(reader.environ.get(_PROFILES, ""), ",")
    given = reading.name or reader.environ.get(_PROJECT, "")
    # Whatever chose them now, they are chosen when the App is read again.
    chosen = replace(reading, files=tuple(map(str, paths)), profiles=profiles, name=given)
    return _Project(reader, chosen).app(texts, given, made_name(paths[0].parent.name))


def project_name(folder: Path, environ: Mapping[str, str]) -> str:
    """What compose calls the project in a folder, of which no more is read than that. AppError
    where it has no compose file."""
    files = files_of(folder, environ)
    if not files:
        raise AppError(
            "the folder contains no compose project",
            details=f"{folder} has no {FILES[0]}",
            resolution="Name the project itself: `docker compose ls` on its host lists them.",
        )
    paths, texts, reader = _opened(folder, files, environ)
    given, made = reader.environ.get(_PROJECT, ""), made_name(paths[0].parent.name)
    return _Project(reader, Reading()).name(Assembler(reader).parsed(texts), given, made)


def _opened(
    folder: Path, files: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[Path], list[tuple[bytes, Origin]], Reader]:
    """The compose files, their content, and what reads it."""
    paths = [_absolute(folder, name) for name in files]
    known = {"PWD": str(paths[0].parent), **_variables(paths[0].parent, environ)}
    reader = Reader(paths[0], Folder(paths[0].parent), known)
    origins = [replace(reader.origin, name=str(path)) for path in paths]
    texts = [(read_file(path), origin) for path, origin in zip(paths, origins, strict=True)]
    return paths, texts, reader


def read(
    document: bytes,
    source: str,
    attached: Iterable[str] = (),
    contents: Mapping[str, tuple[ContentFile, ...]] | None = None,
    same_paths: Sequence[str] = (),
) -> App:
    """The App of a document that came from elsewhere. No file of this machine is read, looked
    for or named by it, and no variable of the environment is seen.

    `env_file`, `build`, `include`, bind mounts but those of `contents`, and every `ca_file` but
    those of `attached` (which stay in the App as they are written) are an AppError. source: what to
    call the document in errors. same_paths: as of a Reading.
    """
    reader = Reader(Path(source), Sealed(frozenset(attached), contents or {}), {})
    return _Project(reader, Reading(same_paths=tuple(same_paths))).app(
        [(document, reader.origin)], "", "app"
    )


def _variables(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the environment, over those of the file .env or of the files of _ENV_FILES."""
    names = _words(environ.get(_ENV_FILES, ""), ",")
    paths = [_absolute(folder, name) for name in names]
    if not names and (folder / ".env").is_file() and environ.get(_NO_ENV_FILE) not in _TRUE:
        paths = [folder / ".env"]
    told: dict[str, str] = {}
    for path in paths:
        told = envfile.parse(read_file(path), str(path), environ, told)
    return {**told, **environ}


def _words(text: str, separator: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(separator) if word.strip())


def _absolute(folder: Path, name: str) -> Path:
    """Without following links: the project's folder is where the file is named, not where it is."""
    try:
        return Path(os.path.normpath(folder / Path(name).expanduser()))
    except (OSError, RuntimeError, ValueError) as error:
        raise AppError("the name of a compose file is not valid", details=name[:200]) from error


@dataclass
class _Project:
    """The reading of one project."""

    reader: Reader
    reading: Reading
    _lines: dict[str, Value] = field(default_factory=dict)  # of the services

    def app(self, texts: list[tuple[bytes, Origin]], given: str, made: str) -> App:
        """given: a name that wins over the file's; made: one where nobody gives any."""
        reader = self.reader
        assembler = Assembler(reader)
        documents = assembler.parsed(texts)
        # Before anything else is interpolated: values may be made from the project's name.
        name = self.name(documents, given, made)
        reader.environ[_PROJECT] = name
        top = reader.mapping(assembler.document(documents))
        _check_top(reader, top)
        services, front = self._services(top, name)
        app = App(
            name,
            tuple(services.values()),
            str(reader.path),
            networks=self._networks(top, services, name),
            volumes=self._volumes(top, services, name),
            front=front,
            machine=self._machine(top, services),
            reading=self.reading,
        )
        return replace(app, findings=tuple(reader.findings))

    def name(self, documents: list[Value], given: str, made: str) -> str:
        """The project's name, which variables may ask for."""
        # As compose does: -p and the variable win over `name:` in the files, of which the last
        # counts (docker compose, "Specify a project name").
        if given:
            return app_name(given)
        for document in reversed(documents):
            value = document.data.get("name") if isinstance(document.data, dict) else None
            if value is not None and value.data is not None:
                text = self.reader.text(self.reader.interpolated(value), "name")
                if text:
                    return app_name(text)
        return app_name(made)

    def _services(self, top: dict[str, Value], name: str) -> tuple[dict[str, Service], str]:
        """The chosen services as they hang together, and the one that answers for the App."""
        reader = self.reader
        rows = self._chosen(top)
        shared = self._shared(top, rows)
        told = {}
        for key, row in rows.items():
            with reader.about(key):
                told[key] = service.read(reader, key, row, shared)
        everyone = reader.mapping(top["services"])
        found = {
            key: project.needed(reader, each.service, self._lines[key], told, everyone)
            for key, each in told.items()
        }
        found = project.own(reader, found, self._lines, name)
        project.check_circle(reader, found, self._lines)
        asked = {key: each.volumes_from for key, each in told.items() if each.volumes_from}
        found = project.with_volumes_from(reader, found, asked, self._lines)
        project.check_ports(reader, found, self._lines)
        extra = top.get("x-portkit")
        named = front_of(reader, extra, found) if extra is not None else ""
        quiesce = None if extra is None else reader.mapping(extra).get("quiesce")
        if quiesce is not None and len(found) > 1:
            raise reader.error(
                quiesce, "x-portkit.quiesce is a setting of a service: move it into one"
            )
        probed = [key for key, each in told.items() if each.probed]
        front = project.front(found.values(), named, probed)
        if extra is not None and len(found) > 1 and front not in probed:
            found[front] = replace(found[front], health=health_of(reader, extra, top=True))
        return found, front

    def _chosen(self, top: dict[str, Value]) -> dict[str, Value]:
        """The services that the profiles choose."""
        reader = self.reader
        value = top.get("services", Value({}, 1))
        rows = reader.mapping(value)
        if not rows:
            raise reader.error(value, "it contains no services")
        self._lines.update(rows)
        found = {
            key: row
            for key, row in rows.items()
            if project.chosen(self._profiles(row), self.reading.profiles)
        }
        if not found:
            why = "every service belongs to a profile, and no profile was chosen"
            raise reader.error(
                value, why, "Choose a profile with --profile NAME or COMPOSE_PROFILES."
            )
        if len(found) > _SERVICES:
            raise reader.error(
                value, f"it has {len(found)} services; an App can have at most {_SERVICES}"
            )
        return found

    def _profiles(self, row: Value) -> list[str]:
        told = self.reader.mapping(row).get("profiles")
        if told is None or told.data is None:
            return []
        return [self.reader.text(each) for each in self.reader.items(told, "profiles")]

    def _shared(self, top: dict[str, Value], rows: dict[str, Value]) -> service.Shared:
        reader = self.reader
        carry = [Path(path) for path in self.reading.carry]
        for each in (top, *(reader.mapping(row) for row in rows.values())):
            if "x-portkit" in each:
                carry += self._carry(each["x-portkit"])
        return service.Shared(
            volumes=self._rows(top, "volumes"),
            configs=Mounted(reader, ContentKind.CONFIG, top.get("configs")),
            secrets=Mounted(reader, ContentKind.SECRET, top.get("secrets")),
            binds=Binds(reader, carry, self.reading.same_paths),
            # Of one service it says what its own would say.
            extra=top.get("x-portkit") if len(rows) == 1 else None,
        )

    def _carry(self, extra: Value) -> list[Path]:
        reader = self.reader
        told = reader.mapping(extra).get("carry")
        if told is None:
            return []
        return [self._path(each) for each in reader.list_of(told)]

    def _path(self, value: Value) -> Path:
        files = self.reader.files(value)
        text = self.reader.text(value, "x-portkit.carry")
        found: Path = self.reader.use(value, lambda _: files.named(text))
        return found.resolve()

    def _networks(
        self, top: dict[str, Value], services: Mapping[str, Service], name: str
    ) -> tuple[Network, ...]:
        """Those that a service is in; AppError where one is not declared."""
        rows = self._rows(top, "networks")
        rows.setdefault(networks.DEFAULT, Value(None, 1))
        declared = {key: networks.network(self.reader, key, row, name) for key, row in rows.items()}
        used: dict[str, Network] = {}
        for key, each in services.items():
            for place in each.networks:
                if place.network not in declared:
                    why = f"{key}: the network {place.network[:80]!r} is not declared"
                    raise self.reader.error(self._lines[key], why)
                used[place.network] = declared[place.network]
        return tuple(used.values())

    def _volumes(
        self, top: dict[str, Value], services: Mapping[str, Service], name: str
    ) -> tuple[Volume, ...]:
        """Those that a service mounts."""
        rows = self._rows(top, "volumes")
        declared = {key: mounts.volume(self.reader, key, row, name) for key, row in rows.items()}
        names = dict.fromkeys(
            mount.source
            for each in services.values()
            for mount in each.volumes
            if mount.type == "volume" and mount.source
        )
        return tuple(
            declared.get(key) or mounts.volume(self.reader, key, Value(None, 1), name)
            for key in names
        )

    def _rows(self, top: dict[str, Value], key: str) -> dict[str, Value]:
        """What the top level declares under a key."""
        value = top.get(key)
        return {} if value is None else dict(self.reader.mapping(value))

    def _machine(self, top: dict[str, Value], services: Mapping[str, Service]) -> Machine:
        made = project.machine(services.values())
        extra = top.get("x-portkit")
        if extra is None or len(services) == 1:
            return made
        return machine_of(self.reader, extra, made)


def _check_top(reader: Reader, top: dict[str, Value]) -> None:
    for key, value in top.items():
        if key in TOP_KNOWN - TOP_CARRIED:
            message = f"portkit ignores the top-level key {key!r}"
            reader.note("compose-not-carried", value, message, Severity.WARNING)
    if "version" in top and not _VERSION.fullmatch(reader.text(top["version"], "version")):
        raise reader.error(top["version"], "portkit does not support this version of compose files")
