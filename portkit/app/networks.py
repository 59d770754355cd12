"""Compose's networks, of the top level and of a service, and the names that lead to others."""

from __future__ import annotations

import ipaddress
import re

from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.errors import AppError
from portkit.model import Attachment, Network, Severity, Subnet

DEFAULT = "default"  # the network of a service that names none
_MODES = ("none", "host", "bridge")
_SERVICE, CONTAINER = "service:", "container:"
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_NAME = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,126}[a-zA-Z0-9_])?")  # of a host, or an alias
_KEY = re.compile(r"[a-zA-Z0-9._-]{1,63}")
_ENGINE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
HOST_GATEWAY = "host-gateway"  # an address that the engine puts in: the host's own


def attachments(reader: Reader, value: Value | None) -> tuple[Attachment, ...]:
    """The networks of a service, in both forms; without any it is in the default one."""
    if value is None or not value.data:
        return (Attachment(DEFAULT),)
    if isinstance(value.data, list):
        names = [reader.text(each, "networks") for each in value.data]
        return tuple(Attachment(name) for name in dict.fromkeys(names))
    rows = reader.mapping(value).items()
    return tuple(_attachment(reader, name, row) for name, row in rows)


def _attachment(reader: Reader, name: str, value: Value) -> Attachment:
    if value.data is None:
        return Attachment(name)
    row = reader.level(value, "networks[]", f"networks.{name[:80]}")

    def text(key: str) -> str:
        return reader.text(row[key], f"networks.{key}") if key in row else ""

    mac = text("mac_address")
    if mac and not _MAC.fullmatch(mac):
        raise reader.error(row["mac_address"], f"{mac[:40]!r} is not a MAC address")
    aliases: tuple[str, ...] = ()
    if "aliases" in row:
        items = reader.items(row["aliases"], "aliases")
        aliases = tuple(dict.fromkeys(_host(reader, each) for each in items))
    return Attachment(
        name,
        aliases,
        ipv4=address(reader, row["ipv4_address"], 4) if text("ipv4_address") else "",
        ipv6=address(reader, row["ipv6_address"], 6) if text("ipv6_address") else "",
        mac=mac.lower(),
        priority=reader.use(row["priority"], _priority) if "priority" in row else 0,
    )


def _priority(data: object) -> int:
    if isinstance(data, bool) or not isinstance(data, int | float) or data != int(data):
        raise ValueError("a priority must be a whole number")
    return int(data)


def _host(reader: Reader, value: Value) -> str:
    text = reader.text(value, "a name")
    if not _NAME.fullmatch(text):
        raise reader.error(value, f"{text[:80]!r} is not a host's name")
    return text


def address(reader: Reader, value: Value, version: int | None = None) -> str:
    """An IP address, of that version where one is named."""
    text = reader.text(value, "an address")
    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise reader.error(value, f"{text[:60]!r} is not an IP address") from error
    if version is not None and found.version != version:
        raise reader.error(value, f"{text[:60]!r} is not an IPv{version} address")
    return text


def mode(reader: Reader, value: Value) -> str:
    """network_mode: "", none, host, bridge, service:NAME, or container:NAME, which `project.own`
    replaces."""
    text = reader.text(value, "network_mode")
    if text in ("", *_MODES) or (text.startswith(_SERVICE) and text != _SERVICE):
        return text
    if text == DEFAULT:
        return "bridge"  # the engine's word for it
    if text.startswith(CONTAINER) and text != CONTAINER:
        return text
    raise foreign(reader, value, text)


def foreign(reader: Reader, value: Value, text: str) -> AppError:
    """For a network mode that leads out of the App."""
    why = f"the network mode {text[:80]!r} joins something that is not part of the App"
    advice = "Name a service (service:NAME), or a network in `networks`."
    return reader.error(value, why, advice)


def namespace(reader: Reader, value: Value, key: str, words: tuple[str, ...]) -> str:
    """pid, ipc, userns_mode: one of the words, or service:NAME."""
    text = reader.text(value, key)
    if text in ("", *words) or (text.startswith(_SERVICE) and text != _SERVICE):
        return text
    raise reader.error(value, f"{key}: portkit does not know {text[:80]!r}")


def shared(text: str) -> str:
    """The service whose namespace another one has; "" for none."""
    return text.removeprefix(_SERVICE) if text.startswith(_SERVICE) else ""


def links(reader: Reader, value: Value) -> tuple[tuple[str, str], ...]:
    """(service, name under which it is known) of SERVICE[:NAME]."""
    found = []
    for each in reader.items(value, "links"):
        service, _, name = reader.text(each, "links").partition(":")
        if not service or not _NAME.fullmatch(name or service):
            raise reader.error(each, "a link must be SERVICE or SERVICE:NAME")
        found.append((service, name or service))
    return tuple(dict.fromkeys(found))


def extra_hosts(reader: Reader, value: Value) -> tuple[tuple[str, str], ...]:
    """(name, address) of NAME=ADDRESS, NAME:ADDRESS or a mapping, in the order of the file."""
    found = []
    if isinstance(value.data, dict):
        for name, each in value.data.items():
            found += [(each, name, reader.text(one)) for one in reader.list_of(each)]
    else:
        for each in reader.items(value, "extra_hosts"):
            text = reader.text(each, "extra_hosts")
            name, sign, rest = text.partition("=") if "=" in text else text.partition(":")
            if not sign:
                raise reader.error(each, f"{text[:80]!r} is not NAME=ADDRESS")
            found += [(each, name, one) for one in rest.split(",")]
    return tuple(dict.fromkeys(_entry(reader, *row) for row in found))


def _entry(reader: Reader, value: Value, name: str, text: str) -> tuple[str, str]:
    if not _NAME.fullmatch(name):
        raise reader.error(value, f"{name[:80]!r} is not a host's name")
    if len(text) > 2 and text[0] == "[" and text[-1] == "]":
        text = text[1:-1]
    if text != HOST_GATEWAY:
        try:
            ipaddress.ip_address(text)
        except ValueError as error:
            raise reader.error(value, f"{text[:60]!r} is not an IP address") from error
    return name, text


# ------------------------------------------------------------ the top level


def engine_name(
    reader: Reader, key: str, row: dict[str, Value], project: str, what: str
) -> tuple[str, bool]:
    """What the engine calls a network or volume, and whether it is there already (`external`)."""
    name = reader.text(row["name"], f"{what}.name") if "name" in row else ""
    external = False
    if "external" in row:
        told = row["external"]
        if isinstance(told.data, dict):  # {name: ...}, the old form
            external = True
            name = reader.text(told.data["name"], "external.name") if "name" in told.data else name
        else:
            external = reader.flag(told)
    name = name or (key if external else f"{project}_{key}")
    if not _ENGINE_NAME.fullmatch(name):
        raise reader.error(row.get("name"), f"{name[:80]!r} is not a valid name for a {what}")
    return name, external


def network(reader: Reader, key: str, value: Value, project: str) -> Network:
    """A network of the top level."""
    if not _KEY.fullmatch(key):
        raise reader.error(value, f"{key[:80]!r} is not a valid name for a network")
    row: dict[str, Value] = {}
    if value.data is not None:
        row = reader.level(value, "networks", f"networks.{key[:80]}")
    name, external = engine_name(reader, key, row, project, "network")

    def pairs(field: str) -> dict[str, str]:
        if field not in row or row[field].data is None:
            return {}
        return {name: text or "" for name, text in reader.pairs(row[field], field).items()}

    return Network(
        name=key,
        engine_name=name,
        external=external,
        internal="internal" in row and reader.flag(row["internal"]),
        driver=reader.text(row["driver"], "driver") if "driver" in row else "",
        subnets=_subnets(reader, row["ipam"]) if "ipam" in row else (),
        enable_ipv6="enable_ipv6" in row and reader.flag(row["enable_ipv6"]),
        labels=pairs("labels"),
        driver_opts=pairs("driver_opts"),
    )


def _subnets(reader: Reader, value: Value) -> tuple[Subnet, ...]:
    if value.data is None:
        return ()
    row = reader.level(value, "ipam")
    driver = reader.text(row["driver"], "ipam.driver") if "driver" in row else ""
    if driver not in ("", "default"):
        message = f"portkit ignores the ipam driver {driver[:40]!r}"
        reader.note("compose-not-carried", row["driver"], message, Severity.WARNING)
    if "config" not in row or row["config"].data is None:
        return ()
    return tuple(_subnet(reader, each) for each in reader.items(row["config"], "ipam.config"))


def _subnet(reader: Reader, value: Value) -> Subnet:
    row = reader.level(value, "ipam.config[]", "ipam.config")

    def checked(key: str, *, whole: bool) -> str:
        if key not in row:
            return ""
        text = reader.text(row[key], f"ipam.{key}")
        try:
            if text:
                ipaddress.ip_network(text, strict=False) if whole else ipaddress.ip_address(text)
        except ValueError as error:
            raise reader.error(row[key], f"ipam.{key}: {text[:60]!r} is not valid") from error
        return text

    return Subnet(
        checked("subnet", whole=True),
        checked("gateway", whole=False),
        checked("ip_range", whole=True),
    )
