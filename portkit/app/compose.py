"""A compose file -> App. Source of keys and words: the compose-spec, 05-services.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from portkit.app import build, envfile, limits, mounts, ports, values
from portkit.app.document import Value, parse
from portkit.app.files import LIMIT, Folder, Sealed, read_file
from portkit.app.health import health_of, machine_of
from portkit.app.keys import CARRIED, HARMLESS, KNOWN, TOP_CARRIED, TOP_KNOWN
from portkit.app.names import account, app_name, engine_user, image_reference, service_name
from portkit.app.reader import Reader
from portkit.errors import AppError
from portkit.model import App, Mount, Service, Severity

T = TypeVar("T")
_MERGE = "Run `docker compose config > merged.yaml` beside it and give portkit that file."
_VERSION = re.compile(r"[123](\.[0-9]{1,2})?")
_PROJECT = "COMPOSE_PROJECT_NAME"
_ENV_FILES = 100  # of a service: each is merged with all before it
_OVERRIDES = (
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
)
FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_MAY_BE_NULL = ("command", "entrypoint", "deploy")  # compose refuses it elsewhere


def load(path: Path, name: str, environ: Mapping[str, str]) -> App:
    """The App of a compose file. `environ` wins over the .env file beside it; COMPOSE_PROJECT_NAME
    of either over the file's `name:`, and that over `name`."""
    if path.name in FILES:
        # compose merges these without being told; a Move of the first file alone would be another
        # App.
        for other in _OVERRIDES:
            if (path.parent / other).exists():
                raise AppError(
                    "the compose file cannot be used alone",
                    details=f"{path.parent / other}: compose merges it into {path.name}, "
                    "portkit would carry another App",
                    resolution=_MERGE,
                )
    dotenv = path.parent / ".env"
    told = envfile.parse(read_file(dotenv), str(dotenv), environ) if dotenv.is_file() else {}
    # PWD: compose sets it to the project's folder, and files use it for paths.
    known = {"PWD": str(path.parent), **told, **environ}
    return _app(Reader(path, Folder(path.parent), known), read_file(path), name)


def read(document: bytes, source: str, attached: Iterable[str] = ()) -> App:
    """The App of a document that came from elsewhere. No file of this machine is read, looked
    for or named by it, and no variable of the environment is seen.

    `env_file`, `build`, bind mounts and every `ca_file` but those of `attached` (which stay in
    the App as they are written) are an AppError. source: what to call the document in errors.
    """
    return _app(Reader(Path(source), Sealed(frozenset(attached)), {}), document, "app")


def _app(reader: Reader, text: bytes, name: str) -> App:
    document = parse(text, str(reader.path))
    # Before anything else is interpolated: values may be made from the project's name.
    reader.environ[_PROJECT] = name = _named(reader, document, name)
    top = reader.mapping(reader.interpolated(document))
    _check_top(reader, top)
    declared = top.get("volumes", Value({}, 1))
    mounts.volumes(reader, declared)
    services = reader.mapping(top.get("services", Value({}, 1)))
    if not services:
        raise reader.error(top.get("services", document), "there are no services in it")
    if len(services) > 1:
        raise reader.error(top["services"], f"{len(services)} services; portkit moves one for now")
    read = tuple(_Service(reader, key, row, top).read() for key, row in services.items())
    return App(name, read, str(reader.path), tuple(reader.findings))


def _named(reader: Reader, document: Value, name: str) -> str:
    """The project's name, which variables may ask for."""
    # As compose does: the variable wins over `name:` in the file (docker compose, "Specify a
    # project name").
    given = reader.environ.get(_PROJECT)
    if given:
        return app_name(given)
    value = document.data.get("name") if isinstance(document.data, dict) else None
    if value is not None:
        name = reader.text(reader.interpolated(value), "name") or name
    return app_name(name)


def _check_top(reader: Reader, top: dict[str, Value]) -> None:
    for key, value in top.items():
        if key not in TOP_KNOWN and not key.startswith("x-"):
            raise reader.error(value, f"compose knows no top-level key {key[:80]!r}")
        if key == "include":
            raise _elsewhere(reader, key, value)
        if key in TOP_KNOWN - TOP_CARRIED:
            message = f"the top-level key {key!r} is not carried out"
            reader.note("compose-not-carried", value, message, Severity.WARNING)
    if "version" in top and not _VERSION.fullmatch(reader.text(top["version"], "version")):
        raise reader.error(top["version"], "portkit does not know this version of compose files")


def _elsewhere(reader: Reader, key: str, value: Value) -> AppError:
    why = f"portkit does not follow `{key}` and would carry another App"
    return reader.error(value, why, _MERGE)


class _Service:
    """The reading of one service."""

    def __init__(self, reader: Reader, name: str, value: Value, top: dict[str, Value]) -> None:
        self._reader = reader
        self._name = name
        self._value = value
        self._top = top
        self._row = reader.mapping(value)
        self._env_bytes = 0

    def read(self) -> Service:
        """Every field, each by its own reader."""
        reader, get = self._reader, self._get
        self._check()
        # Beside the service wins over the top level, where it stands in files with one service.
        extra = self._row.get("x-portkit") or self._top.get("x-portkit")
        extra = extra or Value({}, self._value.line)
        cpus, memory = limits.resources(reader, self._row)
        return Service(
            name=reader.use(Value(self._name, self._value.line), service_name),
            image=get("image", self._image, None),
            build=get("build", lambda each: build.read(reader, each), None),
            command=get("command", reader.words, None),
            entrypoint=get("entrypoint", reader.words, None),
            environment=self._environment(),
            user=get("user", self._account, None),
            group_add=get("group_add", self._groups, ()),
            working_dir=get("working_dir", reader.optional, None),
            hostname=get("hostname", reader.optional, None),
            ports=get("ports", lambda each: ports.read(reader, each), ()),
            volumes=self._mounts(),
            healthcheck=get("healthcheck", lambda each: limits.healthcheck(reader, each), None),
            restart=get("restart", self._restart, "no"),
            stop_signal=get("stop_signal", lambda each: limits.stop_signal(reader, each), None),
            stop_grace_period_s=get("stop_grace_period", self._using(values.duration), 10.0),
            ulimits=get("ulimits", lambda each: limits.ulimits(reader, each), {}),
            cap_add=self._capabilities("cap_add"),
            cap_drop=self._capabilities("cap_drop"),
            privileged=get("privileged", reader.flag, False),
            read_only=get("read_only", reader.flag, False),
            init=get("init", reader.flag, False),
            cpus=cpus,
            mem_limit_bytes=memory,
            labels=get("labels", self._labels, {}),
            health=health_of(reader, extra),
            machine=machine_of(reader, extra, cpus, memory),
        )

    def _check(self) -> None:
        """Every key is one of compose's and has a value; what is not carried out is a Finding."""
        for key, each in self._row.items():
            if key not in KNOWN and not key.startswith("x-"):
                raise self._reader.error(each, f"compose knows no service key {key[:80]!r}")
            # The file that it names may be anywhere, and what it says changes this service: better
            # no App than another one.
            if key == "extends":
                raise _elsewhere(self._reader, key, each)
            # In YAML `ports:` without a value is null, most often a mistake.
            if key in CARRIED and each.data is None and key not in _MAY_BE_NULL:
                raise self._reader.error(each, f"{key} has no value: give it one, or remove it")
            if key in KNOWN - CARRIED:
                weight = Severity.INFO if key in HARMLESS else Severity.WARNING
                message = f"{key!r} is not carried out"
                self._reader.note("compose-not-carried", each, message, weight)
        image = self._row.get("image")
        if "build" not in self._row and (image is None or image.data == ""):
            why = f"the service {self._name[:80]} has neither image nor build"
            if "provider" in self._row:
                why = "`provider` starts something that is no container: portkit cannot move it"
            raise self._reader.error(image or self._value, why)

    def _get(self, key: str, read: Callable[[Value], T], default: T) -> T:
        found = self._row.get(key)
        return default if found is None or found.data is None else read(found)

    def _using(self, read: Callable[[Any], T]) -> Callable[[Value], T]:
        return lambda each: self._reader.use(each, read)

    def _image(self, value: Value) -> str | None:
        text = self._reader.text(value)
        return self._reader.use(value, lambda _: image_reference(text)) if text else None

    def _account(self, value: Value) -> str | None:
        text = engine_user(self._reader.text(value))
        return self._reader.use(value, lambda _: account(text)) if text else None

    def _groups(self, value: Value) -> tuple[str, ...]:
        groups = [self._account(each) for each in self._reader.items(value, "group_add")]
        if None in groups:
            raise self._reader.error(value, "a group has no name")
        return tuple(dict.fromkeys(group for group in groups if group))

    def _capabilities(self, key: str) -> tuple[str, ...]:
        return self._get(key, lambda each: limits.capabilities(self._reader, each, key), ())

    def _labels(self, value: Value) -> dict[str, str]:
        pairs = self._reader.pairs(value, "labels")
        return {key: text or "" for key, text in pairs.items()}

    def _mounts(self) -> tuple[Mount, ...]:
        declared = self._top.get("volumes", Value({}, 1)).data
        none: tuple[Mount, ...] = ()
        return mounts.together(
            self._reader,
            self._get("volumes", lambda each: mounts.read(self._reader, each, declared), none),
            self._get("tmpfs", lambda each: mounts.tmpfs(self._reader, each), none),
            self._value,
        )

    def _environment(self) -> dict[str, str | None]:
        """`environment` over the env files; they may use its values, this machine's come first."""
        reader = self._reader
        none: dict[str, str | None] = {}
        told = self._get("environment", lambda each: reader.pairs(each, "environment"), none)
        own = reader.inherited(told)
        seen = {key: text for key, text in own.items() if text is not None} | reader.environ
        found: dict[str, str] = {}
        files: list[Value] = []
        names = self._get("env_file", reader.list_of, files)
        if len(names) > _ENV_FILES:
            raise reader.error(names[_ENV_FILES], f"there are over {_ENV_FILES} env files")
        for each in names:
            found = self._env_file(each, seen, found)
        return {**found, **own}

    def _env_file(
        self, each: Value, seen: Mapping[str, str], found: dict[str, str]
    ) -> dict[str, str]:
        reader, required, raw, path = self._reader, True, False, each
        if isinstance(each.data, dict):
            row = reader.level(each, "env_file")
            if "path" not in row:
                raise reader.error(each, "an env_file needs a path")
            path = row["path"]
            form = reader.text(row["format"]) if "format" in row else ""
            if form not in ("", ".env", "raw"):
                raise reader.error(row["format"], "portkit knows no format of env_file but raw")
            raw = form == "raw"
            required = "required" not in row or reader.flag(row["required"])
        file = reader.text(path, "env_file")
        data = reader.use(path, lambda _: reader.files.read(file) if file else None)
        if data is None:
            if required:
                raise reader.error(path, f"the env_file {file[:200]!r} does not exist")
            return found
        self._env_bytes += len(data)
        if self._env_bytes > LIMIT:
            raise reader.error(path, f"the env files have over {LIMIT} bytes together")
        return (envfile.parse_raw if raw else envfile.parse)(data, file, seen, found)

    def _restart(self, value: Value) -> str:
        text = self._reader.text(value) or "no"
        kind, colon, count = text.partition(":")
        if kind == "on-failure" and (
            not colon or (count.isascii() and count.isdigit() and len(count) < 10)
        ):
            return text
        if text not in ("no", "always", "unless-stopped"):
            raise self._reader.error(value, f"{text[:40]!r} is no restart policy")
        return text
