"""A compose file -> App. Source of keys and words: the compose-spec, 05-services.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from portkit.app import environment, values
from portkit.app.document import Value, parse
from portkit.app.health import health_of, machine_of
from portkit.app.keys import CARRIED, HARMLESS, KNOWN, TOP_CARRIED, TOP_KNOWN
from portkit.errors import AppError
from portkit.model import App, Build, Finding, Healthcheck, Mount, Port, Service, Severity, Ulimit

T = TypeVar("T")
FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


def load(path: Path, name: str, environ: Mapping[str, str]) -> App:
    """The App of a compose file. `environ` wins over the .env file beside it."""
    return Reader(path, environ).app(name)


class Reader:
    """Reads one file; every error names its line, every key that is not carried is a Finding."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.findings: list[Finding] = []
        dotenv = path.parent / ".env"
        self.environ = {**self._env_file(dotenv, environ, required=False), **environ}

    # ------------------------------------------------------------ errors and findings

    def error(self, value: Value | None, why: str) -> AppError:
        where = f"{self.path}:{value.line}" if value else str(self.path)
        return AppError(
            "the compose file cannot be used",
            details=f"{where}: {why}",
            resolution="Mend the file at that line; docs/compose.md lists what is carried out.",
        )

    def note(self, rule: str, value: Value, message: str, severity: Severity) -> None:
        where = f"{self.path.name}:{value.line}"
        self.findings.append(Finding(rule, severity, message, where, "See docs/compose.md."))

    def use(self, value: Value, read: Callable[[Any], T]) -> T:
        """`read` of the plain value; its ValueError gets the line."""
        try:
            return read(value.plain())
        except (ValueError, TypeError) as error:
            raise self.error(value, str(error)) from error

    # ------------------------------------------------------------ the document

    def app(self, name: str) -> App:
        from portkit.app.names import app_name

        document = self._interpolated(parse(_read(self.path), str(self.path)))
        top = self.mapping(document)
        for key, value in top.items():
            if key not in TOP_KNOWN and not key.startswith("x-"):
                raise self.error(value, f"compose knows no top-level key {key[:80]!r}")
            if key in TOP_KNOWN - TOP_CARRIED:
                message = f"the top-level key {key!r} is not carried out"
                self.note("compose-not-carried", value, message, Severity.WARNING)
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
        return replace(value, data=text)

    def mapping(self, value: Value) -> dict[str, Value]:
        if value.data is None:
            return {}
        if not isinstance(value.data, dict):
            raise self.error(value, "a mapping is wanted here")
        return value.data

    def _list(self, value: Value) -> list[Value]:
        return value.data if isinstance(value.data, list) else [value]

    def text(self, value: Value) -> str:
        if isinstance(value.data, bool) or not isinstance(value.data, str | int | float):
            raise self.error(value, "a string is wanted here")
        return str(value.data)

    def _flag(self, value: Value) -> bool:
        if not isinstance(value.data, bool):
            raise self.error(value, "true or false is wanted here")
        return value.data

    def _pairs(self, value: Value) -> dict[str, str]:
        """A mapping, or a list of KEY=VALUE; a key without a value asks the environment."""
        rows: list[tuple[str, Value, str | None]] = []
        if isinstance(value.data, list):
            for each in value.data:
                key, equals, text = self.text(each).partition("=")
                rows.append((key, each, text if equals else None))
        else:
            for key, each in self.mapping(value).items():
                data = each.data
                if isinstance(data, bool):
                    data = "true" if data else "false"
                if isinstance(data, dict | list):
                    raise self.error(each, f"{key} wants a string")
                rows.append((key, each, None if data is None else str(data)))
        found = {}
        for key, each, told in rows:
            text_or_none = self.environ.get(key) if told is None else told
            if not key or "\0" in key or "=" in key:
                raise self.error(each, f"{key[:40]!r} is not a name")
            if text_or_none is not None:
                found[key] = text_or_none
        return found

    def _env_file(
        self, path: Path, environ: Mapping[str, str], *, required: bool = True
    ) -> dict[str, str]:
        if not path.is_file():
            if required:
                raise self.error(None, f"the env_file {path} is not there")
            return {}
        text = _read(path).decode("utf-8", "replace")
        return environment.parse_env_file(text, str(path), environ)

    # ------------------------------------------------------------ one service

    def _service(self, name: str, value: Value, top: dict[str, Value]) -> Service:
        from portkit.app.names import service_name

        row = self.mapping(value)
        for key, each in row.items():
            if key not in KNOWN and not key.startswith("x-"):
                raise self.error(each, f"compose knows no service key {key[:80]!r}")
            if key in KNOWN - CARRIED - HARMLESS:
                message = f"{key!r} is not carried out"
                self.note("compose-not-carried", each, message, Severity.WARNING)
        if "image" not in row and "build" not in row:
            raise self.error(value, f"the service {name} has neither image nor build")
        extra = row.get("x-portkit") or top.get("x-portkit") or Value({}, value.line)

        def get(key: str, read: Callable[[Value], T], default: T) -> T:
            found = row.get(key)
            return default if found is None or found.data is None else read(found)

        def using(read: Callable[[Any], T]) -> Callable[[Value], T]:
            return lambda each: self.use(each, read)

        limits = self._limits(row)
        none: tuple[Mount, ...] = ()
        return Service(
            name=self.use(Value(name, value.line), service_name),
            image=get("image", self.text, None),
            build=get("build", self._build, None),
            command=get("command", using(values.words), None),
            entrypoint=get("entrypoint", using(values.words), None),
            environment=self._environment(row),
            user=get("user", self.text, None),
            group_add=get("group_add", self._strings, ()),
            working_dir=get("working_dir", self.text, None),
            hostname=get("hostname", self.text, None),
            ports=get("ports", self._ports, ()),
            volumes=get("volumes", self._volumes, none) + get("tmpfs", self._tmpfs, none),
            healthcheck=get("healthcheck", self._healthcheck, None),
            restart=get("restart", self._restart, "no"),
            stop_signal=get("stop_signal", self.text, None),
            stop_grace_period_s=get("stop_grace_period", using(values.duration), 10.0),
            ulimits=get("ulimits", self._ulimits, {}),
            cap_add=get("cap_add", self._strings, ()),
            cap_drop=get("cap_drop", self._strings, ()),
            privileged=get("privileged", self._flag, False),
            read_only=get("read_only", self._flag, False),
            init=get("init", self._flag, False),
            cpus=limits[0],
            mem_limit_bytes=limits[1],
            labels=get("labels", self._pairs, {}),
            health=health_of(self, extra, self.path.parent),
            machine=machine_of(self, extra),
        )

    def _strings(self, value: Value) -> tuple[str, ...]:
        return tuple(self.text(each) for each in self._list(value))

    def _environment(self, row: dict[str, Value]) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in self._list(row["env_file"]) if "env_file" in row else []:
            required = True
            path = each
            if isinstance(each.data, dict):
                path = each.data.get("path", each)
                required = "required" not in each.data or self._flag(each.data["required"])
            file = self.path.parent / self.text(path)
            found.update(self._env_file(file, {**self.environ, **found}, required=required))
        if "environment" in row:
            found.update(self._pairs(row["environment"]))
        return found

    def _build(self, value: Value) -> Build:
        if not isinstance(value.data, dict):
            return Build(self._context(value))
        row = self.mapping(value)
        for key, each in row.items():
            if key not in ("context", "dockerfile", "args", "target", "network"):
                message = f"'build.{key}' is not carried out"
                self.note("compose-not-carried", each, message, Severity.WARNING)
        return Build(
            context=self._context(row.get("context", Value(".", value.line))),
            dockerfile=self.text(row["dockerfile"]) if "dockerfile" in row else "Dockerfile",
            args=self._pairs(row["args"]) if "args" in row else {},
            target=self.text(row["target"]) if "target" in row else None,
            network=self.text(row["network"]) if "network" in row else None,
        )

    def _context(self, value: Value) -> Path:
        path = (self.path.parent / Path(self.text(value)).expanduser()).resolve()
        if not path.is_dir():
            raise self.error(value, f"the build context {path} is not a folder")
        return path

    def _ports(self, value: Value) -> tuple[Port, ...]:
        found: list[Port] = []
        for each in self._list(value):
            if not isinstance(each.data, dict):
                found += self.use(each, lambda data: values.ports(str(data)))
                continue
            row = each.plain()
            known = {"target", "published", "protocol", "host_ip", "mode", "name", "app_protocol"}
            if unknown := set(row) - known:
                raise self.error(each, f"a port has no {sorted(unknown)[0]!r}")
            if "target" not in row:
                raise self.error(each, "a port needs a target")
            outside = f"{row['published']}:" if row.get("published") else ""
            text = f"{outside}{row['target']}/{row.get('protocol', 'tcp')}"
            host_ip = self.use(each, lambda data: values.address_of(str(data.get("host_ip") or "")))
            new = self.use(Value(text, each.line), values.ports)
            found += [replace(port, host_ip=host_ip) for port in new]
        seen: set[tuple[str, int, str]] = set()
        for port in found:
            key = (port.host_ip, port.host_port, port.protocol)
            if key in seen:
                raise self.error(value, f"port {port.host_port} is published twice")
            seen.add(key)
        return tuple(found)

    def _volumes(self, value: Value) -> tuple[Mount, ...]:
        found: list[Mount] = []
        for each in self._list(value):
            mount = self._mount(each)
            if mount.type == "bind":
                self.note(
                    "bind-not-carried",
                    each,
                    f"the folder {mount.source} on the host would not travel with the App",
                    Severity.ERROR,
                )
            if mount.target in {other.target for other in found}:
                raise self.error(each, f"{mount.target} is mounted twice")
            found.append(mount)
        return tuple(found)

    def _mount(self, each: Value) -> Mount:
        if not isinstance(each.data, dict):
            return self.use(each, lambda data: values.mount(str(data)))
        row = each.plain()
        known = {"type", "source", "target", "read_only", "tmpfs", "volume", "bind", "consistency"}
        if unknown := set(row) - known:
            raise self.error(each, f"a volume has no {sorted(unknown)[0]!r}")
        if row.get("type") not in ("volume", "bind", "tmpfs"):
            raise self.error(each, "a volume's type is volume, bind or tmpfs here")
        tmpfs = dict(row.get("tmpfs") or {})
        size = self.use(Value(tmpfs["size"], each.line), values.size) if "size" in tmpfs else None
        mount = Mount(
            row["type"],
            str(row.get("target", "")),
            str(row.get("source") or ""),
            bool(row.get("read_only", False)),
            size,
        )
        return self.use(each, lambda _: values.checked_mount(mount))

    def _tmpfs(self, value: Value) -> tuple[Mount, ...]:
        found: list[Mount] = []
        for each in self._list(value):
            target, _, options = self.text(each).partition(":")
            sizes = [o.partition("=")[2] for o in options.split(",") if o.startswith("size=")]
            size = self.use(Value(sizes[0], each.line), values.size) if sizes else None
            mount = Mount("tmpfs", target, tmpfs_bytes=size)
            found.append(self.use(each, lambda _, m=mount: values.checked_mount(m)))  # type: ignore[misc]
        return tuple(found)

    def _healthcheck(self, value: Value) -> Healthcheck:
        row = self.mapping(value)
        if "disable" in row and self._flag(row["disable"]):
            return Healthcheck(("NONE",))
        test = row["test"].plain() if "test" in row else []
        words = ("CMD-SHELL", test) if isinstance(test, str) else tuple(str(w) for w in test)
        if words and words[0] not in ("NONE", "CMD", "CMD-SHELL"):
            raise self.error(row["test"], "a list begins with NONE, CMD or CMD-SHELL")

        def seconds(key: str) -> float | None:
            return self.use(row[key], values.duration) if key in row else None

        return Healthcheck(
            test=words,
            interval_s=seconds("interval"),
            timeout_s=seconds("timeout"),
            retries=self.use(row["retries"], int) if "retries" in row else None,
            start_period_s=seconds("start_period"),
        )

    def _restart(self, value: Value) -> str:
        text = "no" if value.data is False else self.text(value)
        kind, colon, count = text.partition(":")
        if kind == "on-failure" and (not colon or count.isdecimal()):
            return text
        if text not in ("no", "always", "unless-stopped"):
            raise self.error(value, f"{text[:40]!r} is no restart policy")
        return text

    def _ulimits(self, value: Value) -> dict[str, Ulimit]:
        found = {}
        for key, each in self.mapping(value).items():
            row = each.plain()
            pair = (row.get("soft"), row.get("hard")) if isinstance(row, dict) else (row, row)
            if not all(isinstance(n, int) and not isinstance(n, bool) and n >= -1 for n in pair):
                raise self.error(each, f"the limit {key} is a number, or soft and hard")
            found[key] = Ulimit(int(pair[0] or 0), int(pair[1] or 0))
        return found

    def _limits(self, row: dict[str, Value]) -> tuple[float | None, int | None]:
        """cpus and bytes of memory, from the service's own keys or deploy.resources.limits."""
        cpus, memory = row.get("cpus"), row.get("mem_limit")
        if "deploy" in row:
            deploy = self.mapping(row["deploy"])
            for key, each in deploy.items():
                if key != "resources":
                    message = f"'deploy.{key}' is not carried out"
                    self.note("compose-not-carried", each, message, Severity.WARNING)
            resources = self.mapping(deploy.get("resources", Value({}, 1)))
            limits = self.mapping(resources.get("limits", Value({}, 1)))
            cpus, memory = cpus or limits.get("cpus"), memory or limits.get("memory")
        return (
            self.use(cpus, float) if cpus else None,
            self.use(memory, values.size) if memory else None,
        )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read((1 << 20) + 1)
    except OSError as error:
        raise AppError(
            f"{path} cannot be read",
            details=str(error),
            resolution="Check the path and its permissions.",
        ) from error
