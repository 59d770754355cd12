"""One service of a compose file -> Service. Source of keys and words: the compose-spec,
05-services.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from portkit.app import build, engine, envfile, limits, mounts, networks, ports, values
from portkit.app.contents import Binds, Mounted
from portkit.app.document import Value
from portkit.app.files import LIMIT
from portkit.app.health import health_of, limited, machine_of
from portkit.app.keys import CARRIED, HARMLESS, KNOWN
from portkit.app.merge import UNIQUE, unique
from portkit.app.names import account, engine_user, image_reference, service_name
from portkit.app.quiesce import quiesce_of, with_labels
from portkit.app.reader import Reader
from portkit.app.stated import stated_of
from portkit.model import (
    Condition,
    Content,
    Dependency,
    Logging,
    Mount,
    Service,
    Severity,
)

T = TypeVar("T")
D = TypeVar("D")
_ENV_FILES = 100  # of a service: each is merged with all before it
_MAY_BE_NULL = ("command", "deploy", "entrypoint")  # compose refuses it elsewhere


@dataclass(frozen=True)
class Shared:
    """What the services of a file have in common. volumes: those that the top level declares.
    extra: the top level's x-portkit, where it counts for this service."""

    volumes: Mapping[str, Value]
    configs: Mounted
    secrets: Mounted
    binds: Binds
    extra: Value | None = None


@dataclass(frozen=True)
class Told:
    """A Service, and what it says about others. volumes_from: (service, read only)."""

    service: Service
    volumes_from: tuple[tuple[str, bool], ...] = ()
    probed: bool = field(default=False)  # x-portkit.health says how it is asked


def read(reader: Reader, name: str, value: Value, shared: Shared) -> Told:
    """The service that stands under `name`; AppError with the line of what is wrong with it."""
    return _Service(reader, name, value, shared).read()


class _Service:
    """The reading of one service."""

    def __init__(self, reader: Reader, name: str, value: Value, shared: Shared) -> None:
        self._reader = reader
        self._name = name
        self._value = value
        self._shared = shared
        self._row = reader.mapping(value)
        self._env_bytes = 0

    def read(self) -> Told:
        """Every field, each by its own reader."""
        self._check()
        reader = self._reader
        block = self._row.get("x-portkit") or self._shared.extra
        extra = with_labels(reader, block or replace(self._value, data={}), self._labels())
        resources = limits.resources(reader, self._row)
        placed = self._mounts()
        service = Service(
            name=reader.use(replace(self._value, data=self._name), service_name),
            volumes=tuple(each for each in placed if isinstance(each, Mount)),
            contents=self._contents(placed),
            cpus=resources.cpus,
            mem_limit_bytes=resources.memory,
            pids_limit=resources.pids,
            mem_reservation_bytes=resources.reserved,
            health=health_of(reader, extra, top=block is not None and block is self._shared.extra),
            machine=machine_of(reader, extra, limited(resources.cpus, resources.memory)),
            stated=stated_of(reader, extra),
            quiesce=quiesce_of(reader, extra),
            **self._process(),
            **self._engine(),
            **self._places(),
        )
        service = replace(service, depends_on=self._dependencies(service))
        return Told(service, self._volumes_from(), "health" in reader.mapping(extra))

    def _process(self) -> dict[str, Any]:
        """What the image is, and what its process sees."""
        reader, get = self._reader, self._get
        return {
            "image": get("image", self._image, None),
            "platform": get("platform", lambda each: engine.platform(reader, each), ""),
            "build": get("build", lambda each: build.read(reader, each), None),
            "command": get("command", reader.words, None),
            "entrypoint": get("entrypoint", reader.words, None),
            "environment": self._environment(),
            "user": get("user", self._account, None),
            "group_add": get("group_add", self._groups, ()),
            "working_dir": get("working_dir", reader.optional, None),
            "hostname": get("hostname", reader.optional, None),
            "domainname": get("domainname", reader.text, ""),
            "healthcheck": get("healthcheck", lambda each: limits.healthcheck(reader, each), None),
            "stop_signal": get("stop_signal", lambda each: limits.stop_signal(reader, each), None),
            "stop_grace_period_s": get("stop_grace_period", self._using(values.duration), 10.0),
            "tty": get("tty", reader.flag, False),
            "stdin_open": get("stdin_open", reader.flag, False),
        }

    def _engine(self) -> dict[str, Any]:
        """What the engine allows it."""
        reader, get = self._reader, self._get
        return {
            "restart": self._restart_policy(),
            "ulimits": get("ulimits", lambda each: limits.ulimits(reader, each), {}),
            "cap_add": self._capabilities("cap_add"),
            "cap_drop": self._capabilities("cap_drop"),
            "privileged": get("privileged", reader.flag, False),
            "read_only": get("read_only", reader.flag, False),
            "init": get("init", reader.flag, False),
            "labels": self._labels(),
            "security_opt": get("security_opt", self._texts("security_opt"), ()),
            "sysctls": get("sysctls", self._pairs("sysctls"), {}),
            "cpuset": get("cpuset", reader.text, ""),
            "runtime": get("runtime", reader.text, ""),
            "storage_opt": get("storage_opt", self._pairs("storage_opt"), {}),
            "shm_bytes": get("shm_size", self._using(values.size), None) or None,
            "memswap_bytes": get("memswap_limit", self._using(limits.memory_and_swap), None),
            "oom_score_adj": get("oom_score_adj", self._using(limits.score), 0),
            "devices": get("devices", lambda each: engine.devices(reader, each), ()),
            "logging": get("logging", lambda each: engine.logging(reader, each), Logging()),
            "container_name": get(
                "container_name", lambda each: engine.container_name(reader, each), ""
            ),
            "profiles": get("profiles", self._texts("profiles"), ()),
            "scale": self._scale(),
        }

    def _places(self) -> dict[str, Any]:
        """Where it is in networks and namespaces."""
        reader, get = self._reader, self._get
        mode = get("network_mode", lambda each: networks.mode(reader, each), "")
        told = self._row.get("networks")
        if mode and told is not None and told.data:
            raise reader.error(told, "network_mode and networks cannot be combined")

        def namespace(key: str, *words: str) -> str:
            return get(key, lambda each: networks.namespace(reader, each, key, words), "")

        return {
            "ports": get("ports", lambda each: ports.read(reader, each), ()),
            "expose": get("expose", lambda each: engine.expose(reader, each), ()),
            "networks": () if mode else networks.attachments(reader, told),
            "network_mode": mode,
            "links": get("links", lambda each: networks.links(reader, each), ()),
            "extra_hosts": get("extra_hosts", lambda each: networks.extra_hosts(reader, each), ()),
            "dns": get("dns", self._dns, ()),
            "dns_search": get("dns_search", self._words, ()),
            "dns_opt": get("dns_opt", self._words, ()),
            "pid": namespace("pid", "host"),
            "ipc": namespace("ipc", "none", "private", "host", "shareable"),
            "userns_mode": namespace("userns_mode", "host"),
        }

    def _check(self) -> None:
        """Every key is one of compose's and has a value; what is not carried out is a Finding."""
        for key, each in self._row.items():
            if key not in KNOWN and not key.startswith("x-"):
                raise self._reader.error(each, f"compose has no service key {key[:80]!r}")
            # In YAML `ports:` without a value is null, most often a mistake.
            if key in CARRIED and each.data is None and key not in _MAY_BE_NULL:
                raise self._reader.error(each, f"{key} has no value: set one, or remove the key")
            if key in KNOWN - CARRIED:
                weight = Severity.INFO if key in HARMLESS else Severity.WARNING
                message = f"portkit ignores {key!r}"
                self._reader.note("compose-not-carried", each, message, weight)
        if (deployed := self._row.get("deploy")) is not None and deployed.data is not None:
            self._reader.level(deployed, "deploy")
        image = self._row.get("image")
        if "build" not in self._row and (image is None or image.data == ""):
            why = f"the service {self._name[:80]} has neither image nor build"
            if "provider" in self._row:
                why = (
                    "`provider` starts something that is not a container, so portkit cannot move it"
                )
            raise self._reader.error(image or self._value, why)

    def _get(self, key: str, read: Callable[[Value], T], default: D) -> T | D:
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

    def _labels(self) -> dict[str, str]:
        """`labels` over those of the files."""
        reader = self._reader
        found: dict[str, str] = {}
        files: list[Value] = []
        for each in self._get("label_file", reader.list_of, files):
            name = reader.text(each, "label_file")
            found = envfile.parse(self._file(each, name, "label_file"), name, {}, found)
        none: dict[str, str | None] = {}
        pairs = self._get("labels", lambda each: reader.pairs(each, "labels"), none)
        return {**found, **{key: text or "" for key, text in pairs.items()}}

    def _file(self, value: Value, name: str, key: str) -> bytes:
        reader = self._reader
        data = reader.use(value, lambda _: reader.files(value).read(name))
        if data is None:
            raise reader.error(value, f"the {key} {name[:200]!r} does not exist")
        return data

    def _mounts(self) -> tuple[Mount | Content, ...]:
        reader, shared = self._reader, self._shared
        none: tuple[Mount | Content, ...] = ()
        own = self._get(
            "volumes",
            lambda each: mounts.read(reader, each, shared.volumes, shared.binds),
            none,
        )
        return (*own, *self._get("tmpfs", lambda each: mounts.tmpfs(reader, each), ()))

    def _contents(self, placed: tuple[Mount | Content, ...]) -> tuple[Content, ...]:
        """Everything that is mounted, each at a place of its own; of it the files that travel."""
        none: tuple[Content, ...] = ()
        mounted = (
            *placed,
            *self._get("configs", self._shared.configs.read, none),
            *self._get("secrets", self._shared.secrets.read, none),
        )
        places: set[str] = set()
        for each in mounted:
            if each.target in places:
                raise self._reader.error(self._value, f"{each.target[:80]} is mounted twice")
            places.add(each.target)
        return tuple(each for each in mounted if isinstance(each, Content))

    def _volumes_from(self) -> tuple[tuple[str, bool], ...]:
        """(service, read only) of SERVICE[:ro]."""
        reader = self._reader
        found = []
        empty: list[Value] = []
        for each in self._get("volumes_from", lambda one: reader.items(one, "volumes_from"), empty):
            name, _, access = reader.text(each, "volumes_from").partition(":")
            if name == "container" or access not in ("", "ro", "rw"):
                why = (
                    "volumes_from names something that is not a service, or an unknown access mode"
                )
                raise reader.error(each, why)
            found.append((name, access == "ro"))
        return tuple(found)

    def _dependencies(self, service: Service) -> tuple[Dependency, ...]:
        """`depends_on`, and what other keys need without saying so."""
        none: dict[str, Dependency] = {}
        found = dict(self._get("depends_on", self._depends_on, none))
        for name, _ in service.links:
            found.setdefault(name, Dependency(name, restart=True))
        for text in (service.network_mode, service.pid, service.ipc):
            if name := networks.shared(text):
                found.setdefault(name, Dependency(name, restart=True))
        for name, _ in self._volumes_from():
            found.setdefault(name, Dependency(name))
        return tuple(found.values())

    def _depends_on(self, value: Value) -> dict[str, Dependency]:
        reader = self._reader
        if isinstance(value.data, list):
            names = [reader.text(each, "depends_on") for each in value.data]
            return {name: Dependency(name) for name in names}
        found = {}
        for name, each in reader.mapping(value).items():
            row = {} if each.data is None else reader.level(each, "depends_on")
            if "condition" not in row:
                raise reader.error(each, f"depends_on: {name[:80]} needs a `condition`")
            found[name] = Dependency(
                name,
                reader.use(row["condition"], Condition),
                "required" not in row or reader.flag(row["required"]),
                "restart" in row and reader.flag(row["restart"]),
            )
        return found

    def _texts(self, key: str) -> Callable[[Value], tuple[str, ...]]:
        def read(value: Value) -> tuple[str, ...]:
            rows = self._reader.items(value, key)
            return tuple(dict.fromkeys(self._reader.text(each, key) for each in rows))

        return read

    def _words(self, value: Value) -> tuple[str, ...]:
        """One text, or a list of them; those without a character count for nothing."""
        rows = [self._reader.text(each) for each in self._reader.list_of(value)]
        return tuple(dict.fromkeys(text for text in rows if text))

    def _dns(self, value: Value) -> tuple[str, ...]:
        rows = [each for each in self._reader.list_of(value) if each.data not in ("", None)]
        return tuple(dict.fromkeys(networks.address(self._reader, each) for each in rows))

    def _pairs(self, key: str) -> Callable[[Value], dict[str, str]]:
        def read(value: Value) -> dict[str, str]:
            pairs = self._reader.pairs(value, key)
            return {name: text or "" for name, text in pairs.items()}

        return read

    def _scale(self) -> int:
        number = limits.scale(self._reader, self._row)
        if number != 1:
            key = "scale" if "scale" in self._row else "deploy.replicas"
            where = self._row.get("scale", self._row.get("deploy", self._value))
            message = f"{key!r} is {number}, but portkit creates one container of {self._name[:80]}"
            self._reader.note("compose-not-carried", where, message, Severity.WARNING)
        return number

    def _restart_policy(self) -> str:
        """That of `deploy` wins, as in compose."""
        deployed = limits.deploy(self._reader, self._row).get("restart_policy")
        own = self._get("restart", lambda each: engine.restart(self._reader, each), "no")
        return own if deployed is None else limits.restart_policy(self._reader, deployed)

    def _environment(self) -> dict[str, str | None]:
        """`environment` over the env files; they may use its values, this machine's come first."""
        reader = self._reader
        none: dict[str, str | None] = {}
        own = self._get("environment", lambda each: reader.inherited(each, "environment"), none)
        known = {key: text for key, text in own.items() if text is not None}
        found: dict[str, str] = {}
        files: list[Value] = []
        names = self._get("env_file", reader.list_of, files)
        if len(names) > _ENV_FILES:
            raise reader.error(names[_ENV_FILES], f"there are more than {_ENV_FILES} env files")
        for each in unique(names, UNIQUE["services", "*", "env_file"]):
            seen = known | dict(reader.origin_of(each).environ)
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
                raise reader.error(row["format"], "portkit supports no env_file format but raw")
            raw = form == "raw"
            required = "required" not in row or reader.flag(row["required"])
        file = reader.text(path, "env_file")
        data = reader.use(path, lambda _: reader.files(path).read(file) if file else None)
        if data is None:
            if required:
                raise reader.error(path, f"the env_file {file[:200]!r} does not exist")
            return found
        self._env_bytes += len(data)
        if self._env_bytes > LIMIT:
            raise reader.error(path, f"the env files together have more than {LIMIT} bytes")
        return (envfile.parse_raw if raw else envfile.parse)(data, file, seen, found)
