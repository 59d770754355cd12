"""Compose's `volumes` and `tmpfs`: each place once, and none that is the host's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portkit.app import values
from portkit.app.document import Value
from portkit.model import Mount, Severity

if TYPE_CHECKING:
    from portkit.app.compose import Reader

_TMPFS_ALWAYS = {"rw", "noexec", "nosuid", "nodev"}  # as Docker mounts one anyway


def read(reader: Reader, value: Value) -> tuple[Mount, ...]:
    """The mounts of `volumes`. A bind mount is a Finding that stops the Move; one of the root,
    of a folder of the system or of an engine's socket is an AppError."""
    found = []
    for each in reader.list_of(value):
        mount = _long(reader, each) if isinstance(each.data, dict) else _short(reader, each)
        if mount.type == "bind":
            _bind(reader, each, mount)
        found.append(mount)
    return _once(reader, value, found)


def tmpfs(reader: Reader, value: Value) -> tuple[Mount, ...]:
    """The mounts of `tmpfs`: PATH[:size=SIZE,mode=OCTAL]; other options are Findings."""
    found = []
    for each in reader.list_of(value):
        target, _, options = reader.text(each).partition(":")
        rows = dict(word.partition("=")[::2] for word in options.split(",") if word)
        told = {key: Value(text, each.line) for key, text in rows.items()}
        size, mode = _tmpfs(reader, told)
        mount = Mount("tmpfs", target, tmpfs_bytes=size, tmpfs_mode=mode)
        found.append(_checked(reader, each, mount))
    return _once(reader, value, found)


def volumes(reader: Reader, value: Value) -> None:
    """The top level's `volumes`: portkit makes a new one wherever the App goes."""
    for name, row in reader.mapping(value).items():
        reader.level(row, "volumes", f"volumes.{name[:80]}")


def _short(reader: Reader, each: Value) -> Mount:
    mount = reader.use(each, lambda data: values.mount(str(data)))
    for option in str(each.data).rpartition(":")[2].split(","):
        if option in values.MOUNT_OPTIONS - {"ro", "rw"}:
            message = f"the option {option!r} of a volume is not carried out"
            reader.note("compose-not-carried", each, message, Severity.WARNING)
    return mount


def _long(reader: Reader, each: Value) -> Mount:
    row = reader.level(each, "volumes[]", "volumes")

    def text(key: str) -> str:
        value = row.get(key)
        return "" if value is None or value.data is None else reader.text(value)

    if text("type") not in ("volume", "bind", "tmpfs"):
        raise reader.error(each, "a volume's type is volume, bind or tmpfs here")
    for key in ("volume", "bind", "image"):
        if key in row:
            reader.level(row[key], f"volumes[].{key}", f"volumes.{key}")
    options = (
        reader.level(row["tmpfs"], "volumes[].tmpfs", "volumes.tmpfs") if "tmpfs" in row else {}
    )
    mount = Mount(
        text("type"),
        text("target"),
        text("source"),
        reader.flag(row["read_only"]) if "read_only" in row else False,
        *_tmpfs(reader, options),
    )
    return _checked(reader, each, mount)


def _tmpfs(reader: Reader, options: dict[str, Value]) -> tuple[int | None, int | None]:
    """Bytes and mode of a tmpfs."""
    for key, value in options.items():
        if key not in ("size", "mode", *_TMPFS_ALWAYS) and not key.startswith("x-"):
            message = f"the option {key[:80]!r} of a tmpfs is not carried out"
            reader.note("compose-not-carried", value, message, Severity.WARNING)
    size, mode = options.get("size"), options.get("mode")
    return (
        reader.use(size, values.size) if size else None,
        reader.use(mode, _mode) if mode else None,
    )


def _mode(value: object) -> int:
    """Permissions; YAML 1.2 has read 0o1777 as a number, an option's text is octal."""
    number = int(value, 8) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 0o7777:
        raise ValueError(f"{str(value)[:40]!r} is no mode of a folder")
    return number


def _checked(reader: Reader, each: Value, mount: Mount) -> Mount:
    return reader.use(each, lambda _: values.checked_mount(mount))


def _bind(reader: Reader, each: Value, mount: Mount) -> None:
    reader.use(each, lambda _: values.checked_source(reader.files.bind(mount.source)))
    message = f"the folder {mount.source[:200]} on the host would not travel with the App"
    reader.note("bind-not-carried", each, message, Severity.ERROR)


def _once(reader: Reader, value: Value, found: list[Mount]) -> tuple[Mount, ...]:
    targets = [mount.target for mount in found]
    for target in targets:
        if targets.count(target) > 1:
            raise reader.error(value, f"{target[:80]} is mounted twice")
    return tuple(found)


def once(
    reader: Reader, one: tuple[Mount, ...], other: tuple[Mount, ...], value: Value
) -> tuple[Mount, ...]:
    """Both lists as one; AppError when they share a place."""
    return _once(reader, value, [*one, *other])
