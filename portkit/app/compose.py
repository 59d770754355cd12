"""A compose file -> App. Source of keys and words: the compose-spec, 05-services.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from portkit.app import build, environment, limits, mounts, ports, values
from portkit.app.document import Value, parse
from portkit.app.files import Files, Folder, Sealed, read_file
from portkit.app.health import health_of, machine_of
from portkit.app.keys import CARRIED, HARMLESS, KNOWN, LEVELS, TOP_CARRIED, TOP_KNOWN
from portkit.app.names import account, app_name, image_reference, service_name
from portkit.errors import AppError
from portkit.model import App, Finding, Mount, Service, Severity

T = TypeVar("T")
_VERSION = re.compile(r"[123](\.[0-9]{1,2})?")
_GROWN_LIMIT = 8 << 20  # characters of all values that hold variables
_MEND = "Mend the file at that line; docs/compose.md lists what is carried out."
_MERGE = "Run `docker compose config > merged.yaml` beside it and give portkit that file."
_OVERRIDES = (
    *("compose.override.yaml", "compose.override.yml"),
    *("docker-compose.override.yaml", "docker-compose.override.yml"),
)
FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


def load(path: Path, name: str, environ: Mapping[str, str]) -> App:
    """The App of a compose file. `environ` wins over the .env file beside it."""
    if path.name in FILES:
        for other in _OVERRIDES:
            if (path.parent / other).exists():
                raise AppError(
                    "the compose file cannot be used alone",
                    details=f"{path.parent / other}: compose merges it into {path.name}, "
                    "portkit would carry another App",
                    resolution=_MERGE,
                )
    return Reader(path, Folder(path.parent), environ).app(read_file(path), name)


def read(document: bytes, source: str, attached: Iterable[str] = ()) -> App:
    """The App of a document that came from elsewhere. No file of this machine is read, looked
    for or named by it, and no variable of the environment is seen.

    `env_file`, `build`, bind mounts and every `ca_file` but those of `attached` (which stay in
    the App as they are written) are an AppError. source: what to call the document in errors.
    """
    return Reader(Path(source), Sealed(frozenset(attached)), {}).app(document, "app")


class Reader:
    """Reads one file; every error names its line, every key that is not carried is a Finding."""

    def __init__(self, path: Path, files: Files, environ: Mapping[str, str]) -> None:
        self.path = path
        self.files = files
        self.findings: list[Finding] = []
        self._grown = 0
        self.environ = dict(environ)
        if isinstance(files, Folder):
            dotenv = path.parent / ".env"
            told = _text(read_file(dotenv)) if dotenv.is_file() else ""
            self.environ = {**environment.parse_env_file(told, str(dotenv), environ), **environ}

    # ------------------------------------------------------------ errors and findings

    def error(self, value: Value | None, why: str, resolution: str = _MEND) -> AppError:
        where = f"{self.path}:{value.line}" if value else str(self.path)
        return AppError(
            "the compose file cannot be used",
            details=f"{where}: {why}",
            resolution=resolution,
        )

    def _elsewhere(self, key: str, value: Value) -> AppError:
        why = f"portkit does not follow `{key}` and would carry another App"
        return self.error(value, why, _MERGE)

    def note(self, rule: str, value: Value, message: str, severity: Severity) -> None:
        where = f"{self.path.name}:{value.line}"
        self.findings.append(Finding(rule, severity, message, (where,), "See docs/compose.md."))

    def use(self, value: Value, read: Callable[[Any], T]) -> T:
        """`read` of the plain value; its ValueError gets the line."""
        try:
            return read(value.plain())
        except (ValueError, TypeError) as error:
            raise self.error(value, str(error)) from error

    # ------------------------------------------------------------ the document

    def app(self, text: bytes, name: str) -> App:
        """The App that the file's text describes; `name`: where the text gives none."""
        document = self._interpolated(parse(text, str(self.path)))
        top = self.mapping(document)
        for key, value in top.items():
            if key not in TOP_KNOWN and not key.startswith("x-"):
                raise self.error(value, f"compose knows no top-level key {key[:80]!r}")
            if key == "include":
                raise self._elsewhere(key, value)
            if key in TOP_KNOWN - TOP_CARRIED:
                message = f"the top-level key {key!r} is not carried out"
                self.note("compose-not-carried", value, message, Severity.WARNING)
        if "version" in top and not _VERSION.fullmatch(self.text(top["version"])):
            raise self.error(top["version"], "portkit does not know this version of compose files")
        if "volumes" in top:
            mounts.volumes(self, top["volumes"])
        services = self.mapping(top.get("services", Value({}, 1)))
        if not services:
            raise self.error(None, "there are no services in it")
        if len(services) > 1:
            raise self.error(
                top["services"], f"{len(services)} services; portkit moves one for now"
            )
        if "name" in top:
            name = self.text(top["name"])
        read = tuple(self._service(key, value, top) for key, value in services.items())
        return App(app_name(name), read, str(self.path), tuple(self.findings))

    def _interpolated(self, value: Value) -> Value:
        data = value.data
        if isinstance(data, dict):
            return replace(value, data={k: self._interpolated(v) for k, v in data.items()})
        if isinstance(data, list):
            return replace(value, data=[self._interpolated(each) for each in data])
        if not isinstance(data, str) or "$" not in data:
            return value

        def unset(name: str) -> None:
            message = f"the variable {name} is not set; empty was taken"
            self.note("variable-unset", value, message, Severity.WARNING)

        try:
            text = environment.interpolate(data, self.environ, unset)
        except ValueError as error:
            raise self.error(value, str(error)) from error
        self._grown += len(text)
        if self._grown > _GROWN_LIMIT:
            raise self.error(value, "the file grows too big with its variables")
        return replace(value, data=text)

    def mapping(self, value: Value) -> dict[str, Value]:
        if value.data is None:
            return {}
        if not isinstance(value.data, dict):
            raise self.error(value, "a mapping is wanted here")
        return value.data

    def level(self, value: Value, name: str, shown: str = "") -> dict[str, Value]:
        """A mapping inside a service or volume: an unknown key is an error, a known one that is
        not carried out a Finding. `name`: of keys.LEVELS; `shown`: what to call it."""
        row = self.mapping(value)
        level = LEVELS[name]
        for key, each in row.items():
            full = f"{shown or name}.{key[:80]}"
            if key in level.noted | level.harmless:
                weight = Severity.INFO if key in level.harmless else Severity.WARNING
                self.note("compose-not-carried", each, f"{full!r} is not carried out", weight)
            elif key not in level.carried and not key.startswith("x-"):
                raise self.error(each, f"compose knows no {full!r}")
        return row

    def list_of(self, value: Value) -> list[Value]:
        """The values of a list, or the value alone."""
        return value.data if isinstance(value.data, list) else [value]

    def text(self, value: Value, key: str = "") -> str:
        """A string; a plain number only where it is the same as its text. No error quotes it:
        it may be a secret. `key`: what to call it."""
        what = f"{key[:120]}: " if key else ""
        if value.written and value.written != str(value.data):
            raise self.error(value, f"{what}a plain number would change here: put it in quotes")
        if isinstance(value.data, bool) or not isinstance(value.data, str | int | float):
            raise self.error(value, f"{what}a string is wanted here")
        return str(value.data)

    def flag(self, value: Value) -> bool:
        if not isinstance(value.data, bool):
            raise self.error(value, "true or false is wanted here")
        return value.data

    def pairs(self, value: Value, what: str) -> dict[str, str]:
        """A mapping, or a list of KEY=VALUE; a key without a value asks the environment."""
        rows: list[tuple[str, Value, str | None]] = []
        if isinstance(value.data, list):
            for each in value.data:
                key, equals, text = self.text(each, what).partition("=")
                rows.append((key, each, text if equals else None))
        else:
            for key, each in self.mapping(value).items():
                data = each.data
                if isinstance(data, bool):
                    rows.append((key, each, "true" if data else "false"))
                else:
                    name = f"{what}.{key}".partition("=")[0]
                    rows.append((key, each, None if data is None else self.text(each, name)))
        found = {}
        for key, each, told in rows:
            text_or_none = self.environ.get(key) if told is None else told
            if not key or "\0" in key or "=" in key:
                told_name = key.partition("=")[0]  # what follows may be a secret
                raise self.error(
                    each, f"{what}: a name is empty, or holds = after {told_name[:40]!r}"
                )
            if text_or_none is not None:
                found[key] = text_or_none
        return found

    def words(self, value: Value) -> tuple[str, ...]:
        """A command: a list as it is, a string split like a shell would."""
        if isinstance(value.data, list):
            return tuple(self.text(each) for each in value.data)
        return self.use(value, values.words)

    # ------------------------------------------------------------ one service

    def _known(self, row: dict[str, Value]) -> None:
        """Every key of a service is one of compose's; what is not carried out is told."""
        for key, each in row.items():
            if key not in KNOWN and not key.startswith("x-"):
                raise self.error(each, f"compose knows no service key {key[:80]!r}")
            if key == "extends":
                raise self._elsewhere(key, each)
            if key in KNOWN - CARRIED:
                weight = Severity.INFO if key in HARMLESS else Severity.WARNING
                self.note("compose-not-carried", each, f"{key!r} is not carried out", weight)

    def _service(self, name: str, value: Value, top: dict[str, Value]) -> Service:
        row = self.mapping(value)
        self._known(row)
        if "image" not in row and "build" not in row:
            raise self.error(value, f"the service {name} has neither image nor build")
        extra = row.get("x-portkit") or top.get("x-portkit") or Value({}, value.line)

        def get(key: str, read: Callable[[Value], T], default: T) -> T:
            found = row.get(key)
            return default if found is None or found.data is None else read(found)

        def using(read: Callable[[Any], T]) -> Callable[[Value], T]:
            return lambda each: self.use(each, read)

        def by(read: Callable[[Reader, Value], T]) -> Callable[[Value], T]:
            return lambda each: read(self, each)

        cpus, memory = limits.resources(self, row)
        none: tuple[Mount, ...] = ()
        return Service(
            name=self.use(Value(name, value.line), service_name),
            image=get("image", self._image, None),
            build=get("build", by(build.read), None),
            command=get("command", self.words, None),
            entrypoint=get("entrypoint", self.words, None),
            environment=self._environment(row),
            user=get("user", self._account, None),
            group_add=get("group_add", self._accounts, ()),
            working_dir=get("working_dir", self.text, None),
            hostname=get("hostname", self.text, None),
            ports=get("ports", by(ports.read), ()),
            volumes=mounts.once(
                self,
                get("volumes", by(mounts.read), none),
                get("tmpfs", by(mounts.tmpfs), none),
                value,
            ),
            healthcheck=get("healthcheck", by(limits.healthcheck), None),
            restart=get("restart", self._restart, "no"),
            stop_signal=get("stop_signal", by(limits.stop_signal), None),
            stop_grace_period_s=get("stop_grace_period", using(values.duration), 10.0),
            ulimits=get("ulimits", by(limits.ulimits), {}),
            cap_add=get("cap_add", by(limits.capabilities), ()),
            cap_drop=get("cap_drop", by(limits.capabilities), ()),
            privileged=get("privileged", self.flag, False),
            read_only=get("read_only", self.flag, False),
            init=get("init", self.flag, False),
            cpus=cpus,
            mem_limit_bytes=memory,
            labels=get("labels", lambda each: self.pairs(each, "labels"), {}),
            health=health_of(self, extra),
            machine=machine_of(self, extra, cpus, memory),
        )

    def _image(self, value: Value) -> str:
        return self.use(value, lambda _: image_reference(self.text(value)))

    def _account(self, value: Value) -> str:
        return self.use(value, lambda _: account(self.text(value)) if value.data else "")

    def _accounts(self, value: Value) -> tuple[str, ...]:
        return tuple(self._account(each) for each in self.list_of(value))

    def _environment(self, row: dict[str, Value]) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in self.list_of(row["env_file"]) if "env_file" in row else []:
            required, raw = True, False
            path = each
            if isinstance(each.data, dict):
                self.level(each, "env_file")
                form = each.data.get("format")
                raw = form is not None and form.data is not None
                if form is not None and raw and self.text(form) != "raw":
                    raise self.error(form, "portkit knows no format of env_file but raw")
                path = each.data.get("path", each)
                required = "required" not in each.data or self.flag(each.data["required"])
            file = self.text(path)
            data = self.use(replace(path, data=file), self.files.read)
            if data is None:
                if required:
                    raise self.error(path, f"the env_file {file[:200]} does not exist")
                continue
            parse_file = environment.parse_raw if raw else environment.parse_env_file
            found.update(parse_file(_text(data), file, {**self.environ, **found}))
        if "environment" in row:
            found.update(self.pairs(row["environment"], "environment"))
        return found

    def _restart(self, value: Value) -> str:
        text = "no" if value.data is False else self.text(value)
        kind, colon, count = text.partition(":")
        if kind == "on-failure" and (
            not colon or (count.isascii() and count.isdigit() and len(count) < 10)
        ):
            return text
        if text not in ("no", "always", "unless-stopped"):
            raise self.error(value, f"{text[:40]!r} is no restart policy")
        return text


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
