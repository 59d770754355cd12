"""What an engine is told of a service: devices, its log, its name, when it starts it again."""

from __future__ import annotations

import re

from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Device, Logging

_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")
_PLATFORM = re.compile(r"([a-z]+/)?[a-z0-9_]+(/v?[0-9.]+)?")
_EXPOSED = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?")
_PERMISSIONS = re.compile(r"[rwm]{1,3}")


def expose(reader: Reader, value: Value) -> tuple[str, ...]:
    """Ports that other services reach, as texts."""
    found = []
    for each in reader.items(value, "expose"):
        text = reader.text(each, "expose")
        if not _EXPOSED.fullmatch(text):
            raise reader.error(each, f"{text[:40]!r} is not a port")
        found.append(text)
    return tuple(dict.fromkeys(found))


def devices(reader: Reader, value: Value) -> tuple[Device, ...]:
    """Devices of the host."""
    return tuple(_device(reader, each) for each in reader.items(value, "devices"))


def _device(reader: Reader, value: Value) -> Device:
    if isinstance(value.data, dict):
        row = reader.level(value, "devices[]", "devices")
        keys = ("source", "target", "permissions")
        parts = [reader.text(row[key], key) if key in row else "" for key in keys]
    else:
        parts = reader.text(value, "devices").split(":")
    source, target, permissions = (*parts, "", "")[:3]
    if not source or len(parts) > 3 or not _PERMISSIONS.fullmatch(permissions or "rwm"):
        raise reader.error(value, "a device must be SOURCE[:TARGET[:rwm]]")
    return Device(source, target or source, permissions or "rwm")


def logging(reader: Reader, value: Value) -> Logging:
    """The driver of the log, and its options."""
    row = reader.level(value, "logging")
    driver = reader.text(row["driver"], "logging.driver") if "driver" in row else ""
    options: dict[str, str | None] = {}
    if "options" in row and row["options"].data is not None:
        options = reader.pairs(row["options"], "logging.options")
    return Logging(driver, {key: text or "" for key, text in options.items()})


def platform(reader: Reader, value: Value) -> str:
    """OS/ARCHITECTURE; "" where it is not told."""
    text = reader.text(value, "platform")
    if text and not _PLATFORM.fullmatch(text):
        raise reader.error(value, f"{text[:60]!r} is not OS/ARCHITECTURE, such as linux/amd64")
    return text


def container_name(reader: Reader, value: Value) -> str:
    """A name that the engine can take."""
    text = reader.text(value, "container_name")
    if text and not _CONTAINER_NAME.fullmatch(text):
        raise reader.error(value, f"{text[:80]!r} is not a valid container name")
    return text


def restart(reader: Reader, value: Value) -> str:
    """The policy by which the engine starts it again."""
    text = reader.text(value) or "no"
    kind, colon, count = text.partition(":")
    if kind == "on-failure" and (
        not colon or (count.isascii() and count.isdigit() and len(count) < 10)
    ):
        return text
    if text not in ("no", "always", "unless-stopped"):
        raise reader.error(value, f"{text[:40]!r} is not a restart policy")
    return text
