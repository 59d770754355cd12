"""Compose's `volumes` and `tmpfs`: each place once, and none that is the host's own."""

from __future__ import annotations

from collections.abc import Callable, Collection

from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Mount, Severity

_TMPFS_ALWAYS = {"rw", "noexec", "nosuid", "nodev"}  # as Docker mounts one anyway
_TYPES = ("volume", "bind", "tmpfs")
_TYPES_TEXT = "volume, bind or tmpfs"
_KNOWN_TYPES = ("image", "npipe", "cluster")  # of compose; portkit has nothing to make them of


def read(reader: Reader, value: Value, declared: Collection[str]) -> tuple[Mount, ...]:
    """The mounts of `volumes`; of several at one place the last, as compose reads them.

    A bind mount is a Finding that stops the Move; one of the root, of a folder of the system or of
    an engine's socket is an AppError. declared: the names of the top level's volumes.
    """
    found: dict[str, Mount] = {}
    for each in reader.items(value, "volumes"):
        mount = _long(reader, each) if isinstance(each.data, dict) else _short(reader, each)
        if mount.type == "bind":
            _bind(reader, each, mount)
        elif mount.type == "volume" and mount.source and mount.source not in declared:
            message = (
                f"the volume {mount.source[:80]} is not declared under the top level's volumes"
            )
            reader.note("volume-undeclared", each, message, Severity.WARNING)
        found[mount.target] = mount
    return tuple(found.values())


def tmpfs(reader: Reader, value: Value) -> tuple[Mount, ...]:
    """The mounts of `tmpfs`: PATH[:size=SIZE,mode=OCTAL]; other options are Findings."""
    found: dict[str, Mount] = {}
    for each in reader.list_of(value):
        target, _, options = reader.text(each, "tmpfs").partition(":")
        rows = dict(word.partition("=")[::2] for word in options.split(",") if word)
        told = {key: Value(text, each.line) for key, text in rows.items()}
        size, mode = _tmpfs(reader, told, _octal)
        mount = _checked(reader, each, Mount("tmpfs", target, tmpfs_bytes=size, tmpfs_mode=mode))
        if found.setdefault(mount.target, mount) != mount:
            raise reader.error(each, f"{mount.target[:80]} is mounted twice")
    return tuple(found.values())


def together(
    reader: Reader, one: tuple[Mount, ...], other: tuple[Mount, ...], value: Value
) -> tuple[Mount, ...]:
    """Both lists as one; AppError when they share a place."""
    places = {mount.target for mount in one}
    for mount in other:
        if mount.target in places:
            raise reader.error(value, f"{mount.target[:80]} is mounted twice")
    return (*one, *other)


def volumes(reader: Reader, value: Value) -> None:
    """The top level's `volumes`: portkit makes a new one wherever the App goes."""
    for name, row in reader.mapping(value).items():
        if row.data is not None:
            reader.level(row, "volumes", f"volumes.{name[:80]}")


def _short(reader: Reader, each: Value) -> Mount:
    mount, options = reader.use(each, lambda _: values.mount(reader.text(each, "volumes")))
    for option in options:
        message = f"the option {option[:80]!r} of a volume is not carried out"
        reader.note("compose-not-carried", each, message, Severity.WARNING)
    return mount


def _long(reader: Reader, each: Value) -> Mount:
    row = reader.level(each, "volumes[]", "volumes")

    def text(key: str) -> str:
        return reader.text(row[key], f"volumes.{key}") if key in row else ""

    kind = text("type")
    if kind in _KNOWN_TYPES:
        raise reader.error(each, f"portkit makes no volume of type {kind}: only {_TYPES_TEXT}")
    if kind not in _TYPES:
        raise reader.error(each, f"a volume's type is {_TYPES_TEXT} here")
    for key in ("volume", "bind", "image"):
        if key in row:
            reader.level(row[key], f"volumes[].{key}", f"volumes.{key}")
    options = (
        reader.level(row["tmpfs"], "volumes[].tmpfs", "volumes.tmpfs") if "tmpfs" in row else {}
    )
    if kind == "bind" and not text("source"):
        raise reader.error(each, "a bind mount needs a source")
    size, mode = _tmpfs(reader, options, _number)
    return _checked(
        reader,
        each,
        Mount(
            kind,
            text("target"),
            source="" if kind == "tmpfs" else text("source"),
            read_only=reader.flag(row["read_only"]) if "read_only" in row else False,
            tmpfs_bytes=size,
            tmpfs_mode=mode,
        ),
    )


def _tmpfs(
    reader: Reader, options: dict[str, Value], mode_of: Callable[[object], int]
) -> tuple[int | None, int | None]:
    """Bytes and mode of a tmpfs."""
    for key, value in options.items():
        if key not in ("size", "mode", *_TMPFS_ALWAYS) and not key.startswith("x-"):
            message = f"the option {key[:80]!r} of a tmpfs is not carried out"
            reader.note("compose-not-carried", value, message, Severity.WARNING)
    size, mode = options.get("size"), options.get("mode")
    return (
        reader.use(size, values.size) if size else None,
        reader.use(mode, mode_of) if mode else None,
    )


def _octal(value: object) -> int:
    """Permissions of an option's text, which is octal."""
    return _number(int(str(value), 8))


def _number(value: object) -> int:
    """Permissions as a number: YAML has read 0o1777 and 01777 as octal ones."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0o7777:
        raise ValueError(f"{str(value)[:40]!r} is no mode of a folder: write it like 0o755")
    return value


def _checked(reader: Reader, each: Value, mount: Mount) -> Mount:
    return reader.use(each, lambda _: values.checked_mount(mount))


def _bind(reader: Reader, each: Value, mount: Mount) -> None:
    reader.use(each, lambda _: values.checked_source(reader.files.bind(mount.source)))
    message = f"the folder {mount.source[:200]} on the host would not travel with the App"
    reader.note("bind-not-carried", each, message, Severity.ERROR)
