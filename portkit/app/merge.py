"""Two readings of one project as one, by the rules of compose-spec, 13-merge.md. Pure.

Mappings are merged by key and lists are joined, but for the keys that the tables name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from portkit.app import values
from portkit.app.document import OVERRIDE, RESET, Value, settled

Path = tuple[str, ...]
_LIMIT = 500_000  # values that one merge may handle; files of a megabyte have far fewer


class Merger:
    """Merges values; ValueError, by way of `error`, where two cannot be one.

    error: makes the error for a value and a reason.
    """

    def __init__(self, error: Callable[[Value, str], Exception]) -> None:
        self._error = error
        self._handled = 0

    def merged(self, base: Value, over: Value, path: Path = ()) -> Value:
        """`base` with what `over` says about the same place of the document."""
        if over.tag == OVERRIDE:
            return over
        rule = _RULES.get(_pattern(path))
        if rule is _replaced:
            return over
        if over.data is None:
            return base
        if base.data is None:
            return over
        if rule is not None:
            base, over = self._shaped(base, rule), self._shaped(over, rule)
            if rule is _logging and _drivers_differ(base, over):
                return over
        if isinstance(base.data, dict) and isinstance(over.data, dict):
            return self._mappings(base, over, path)
        if isinstance(base.data, list) and isinstance(over.data, list):
            return self._lists(base, over, path)
        if isinstance(base.data, dict | list):
            raise self._error(over, f"{path[-1][:80]} is of another type than in an earlier file")
        return over

    def _shaped(self, value: Value, rule: Callable[[Value], object]) -> Value:
        self._count(value)
        return replace(value, data=rule(value))

    def _mappings(self, base: Value, over: Value, path: Path) -> Value:
        self._count(base)
        self._count(over)
        found = dict(base.data)
        for key, value in over.data.items():
            if value.tag == RESET:
                found.pop(key, None)
            elif key in found:
                found[key] = self.merged(found[key], value, (*path, key))
            else:
                found[key] = value
        return replace(base, data=found)

    def _lists(self, base: Value, over: Value, path: Path) -> Value:
        self._count(base)
        self._count(over)
        rows = [*base.data, *over.data]
        index = UNIQUE.get(_pattern(path))
        return replace(base, data=rows if index is None else unique(rows, index))

    def _count(self, value: Value) -> None:
        self._handled += len(value.data) if isinstance(value.data, dict | list) else 1
        if self._handled > _LIMIT:
            raise self._error(value, "the files become too large when they are merged")


def unique(rows: list[Value], index: Callable[[Value], object]) -> list[Value]:
    """Of those with the same index the last, where the first stood."""
    found: dict[object, Value] = {}
    for number, row in enumerate(rows):
        key = index(row)
        # What has no index is an error of whoever reads it: until then it is not lost.
        found[number if key is None else key] = row
    return list(found.values())


def _pattern(path: Path) -> Path:
    """The place with * for the names that the file chooses."""
    if len(path) > 3 and path[2] in ("networks", "ulimits"):
        return (path[0], "*", path[2], "*", *path[4:])
    return (path[0], "*", *path[2:]) if len(path) > 1 else path


# ------------------------------------------------------------ forms that mean the same


def _replaced(value: Value) -> object:
    return value.data


def _pairs(value: Value) -> object:
    """A list of KEY=VALUE as a mapping."""
    if not isinstance(value.data, list):
        return value.data
    found: dict[str, Value] = {}
    for each in value.data:
        if not isinstance(each.data, str):
            return value.data
        key, equals, text = each.data.partition("=")
        found[key] = replace(each, data=text if equals else None)
    return found


def _names(value: Value) -> object:
    """A list of names as a mapping of them to nothing."""
    if not isinstance(value.data, list):
        return value.data
    if not all(isinstance(each.data, str) for each in value.data):
        return value.data
    return {each.data: replace(each, data=None) for each in value.data}


def _conditions(value: Value) -> object:
    """depends_on: what a name alone stands for, said."""
    names = _names(value)
    if names is value.data or not isinstance(names, dict):
        return names
    return {
        name: replace(
            each,
            data={
                "condition": replace(each, data="service_started"),
                "required": replace(each, data=True),
            },
        )
        for name, each in names.items()
    }


def _sequence(value: Value) -> object:
    """One text as a list of it."""
    return value.data if isinstance(value.data, list | dict) else [value]


def _context(value: Value) -> object:
    """A build's context alone as its mapping."""
    return value.data if isinstance(value.data, dict) else {"context": value}


def _hosts(value: Value) -> object:
    """extra_hosts as a list of NAME=ADDRESS."""
    if not isinstance(value.data, dict):
        return value.data
    rows = []
    for name, each in value.data.items():
        addresses = each.data if isinstance(each.data, list) else [each]
        rows += [replace(one, data=f"{name}={one.data or ''}") for one in addresses]
    return rows


def _logging(value: Value) -> object:
    return value.data


def _drivers_differ(base: Value, over: Value) -> bool:
    drivers = [
        settled(value.data["driver"]).data
        for value in (base, over)
        if isinstance(value.data, dict) and "driver" in value.data
    ]
    return len(drivers) == 2 and drivers[0] != drivers[1]


_S = ("services", "*")
_RULES: dict[Path, Callable[[Value], object]] = {
    ("networks", "*", "labels"): _pairs,
    ("volumes", "*", "labels"): _pairs,
    (*_S, "annotations"): _pairs,
    (*_S, "build"): _context,
    (*_S, "build", "args"): _pairs,
    (*_S, "build", "additional_contexts"): _pairs,
    (*_S, "build", "extra_hosts"): _hosts,
    (*_S, "build", "labels"): _pairs,
    (*_S, "command"): _replaced,
    (*_S, "depends_on"): _conditions,
    (*_S, "deploy", "labels"): _pairs,
    (*_S, "dns"): _sequence,
    (*_S, "dns_opt"): _sequence,
    (*_S, "dns_search"): _sequence,
    (*_S, "entrypoint"): _replaced,
    (*_S, "env_file"): _sequence,
    (*_S, "label_file"): _sequence,
    (*_S, "environment"): _pairs,
    (*_S, "extra_hosts"): _hosts,
    (*_S, "healthcheck", "test"): _replaced,
    (*_S, "labels"): _pairs,
    (*_S, "logging"): _logging,
    (*_S, "networks"): _names,
    (*_S, "sysctls"): _pairs,
    (*_S, "tmpfs"): _sequence,
    (*_S, "ulimits", "*"): _replaced,
}


# ------------------------------------------------------------ what makes two entries one


def _key(row: Value) -> object:
    return row.data.partition("=")[0] if isinstance(row.data, str) else None


def _whole(row: Value) -> object:
    return None if isinstance(row.data, dict | list) else str(row.data)


def _target(row: Value) -> object:
    if isinstance(row.data, dict):
        return row.data["target"].data if "target" in row.data else None
    if not isinstance(row.data, str):
        return None
    try:
        return values.mount(row.data)[0].target
    except ValueError:
        return None


def _device(row: Value) -> object:
    if isinstance(row.data, dict):
        return row.data["target"].data if "target" in row.data else None
    if not isinstance(row.data, str):
        return None
    parts = row.data.split(":")
    return parts[0] if len(parts) == 1 else parts[1]


def _path(row: Value) -> object:
    if isinstance(row.data, dict):
        return row.data["path"].data if "path" in row.data else None
    return _whole(row)


def _mounted(folder: str) -> Callable[[Value], object]:
    def index(row: Value) -> object:
        if not isinstance(row.data, dict):
            return f"{folder}/{row.data}"
        target, source = row.data.get("target"), row.data.get("source")
        if target is not None and target.data:
            return target.data
        return f"{folder}/{source.data}" if source is not None else None

    return index


def _port(row: Value) -> object:
    if not isinstance(row.data, dict):
        return _whole(row)
    parts = [row.data[key].data if key in row.data else "" for key in ("target", "published")]
    address = row.data["host_ip"].data if "host_ip" in row.data else "0.0.0.0"  # noqa: S104 - read
    protocol = row.data["protocol"].data if "protocol" in row.data else "tcp"
    return (*map(str, parts), address, protocol)


UNIQUE: dict[Path, Callable[[Value], object]] = {
    **{
        (*_S, name): _key
        for name in ("cap_add", "cap_drop", "dns", "dns_opt", "dns_search", "links", "profiles")
    },
    (*_S, "build", "tags"): _key,
    (*_S, "configs"): _mounted(""),
    (*_S, "devices"): _device,
    (*_S, "env_file"): _path,
    (*_S, "expose"): _whole,
    (*_S, "extra_hosts"): _whole,
    (*_S, "networks", "*", "aliases"): _key,
    (*_S, "networks", "*", "link_local_ips"): _key,
    (*_S, "ports"): _port,
    (*_S, "secrets"): _mounted("/run/secrets"),
    (*_S, "tmpfs"): _key,
    (*_S, "volumes"): _target,
}
