"""Compose's `volumes` and `tmpfs`: each place once, and none that is the host's own."""

from __future__ import annotations

from collections.abc import Callable, Collection

from portkit.app import networks, values
from portkit.app.contents import Binds
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Content, Mount, Severity, Volume

# They matter to SELinux, to Docker on a Mac, or to what the host mounts below: not to a copy.
_ELSEWHERE = {"z", "Z", "cached", "consistent", "delegated"}
_ELSEWHERE |= {kind + how for kind in ("", "r") for how in ("private", "shared", "slave")}
_TMPFS_ALWAYS = {"rw", "noexec", "nosuid", "nodev"}  # as Docker mounts one anyway
_TYPES = ("volume", "bind", "tmpfs")
_TYPES_TEXT = "volume, bind or tmpfs"
_KNOWN_TYPES = ("image", "npipe", "cluster")  # of compose; portkit has nothing to make them of


def read(
    reader: Reader, value: Value, declared: Collection[str], binds: Binds
) -> tuple[Mount | Content, ...]:
    """The mounts of `volumes`, and the files that travel in place of bind mounts; of several at one
    place the last, as compose reads them.

    A mount of the root, of a folder of the system or of an engine's socket is an AppError.
    declared: the names of the top level's volumes.
    """
    found: dict[str, Mount | Content | None] = {}
    for each in reader.items(value, "volumes"):
        long = isinstance(each.data, dict)
        same = binds.same_paths
        mount, create = _long(reader, each, same) if long else (_short(reader, each, same), True)
        made: Mount | Content | None = mount
        if mount.type == "bind":
            made = binds.read(each, mount, create=create)
        elif mount.type == "volume" and mount.source and mount.source not in declared:
            message = f"the volume {mount.source[:80]} is not declared in the top-level `volumes`"
            reader.note("volume-undeclared", each, message, Severity.WARNING)
        found[mount.target] = made
    return tuple(each for each in found.values() if each is not None)


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


def volume(reader: Reader, key: str, value: Value, project: str) -> Volume:
    """A volume of the top level."""
    row: dict[str, Value] = {}
    if value.data is not None:
        row = reader.level(value, "volumes", f"volumes.{key[:80]}")
    name, external = networks.engine_name(reader, key, row, project, "volume")
    if external:
        message = f"'volumes.{key[:80]}.external': portkit creates a new one on the target"
        reader.note("compose-not-carried", row["external"], message, Severity.WARNING)

    def pairs(field: str) -> dict[str, str]:
        if field not in row or row[field].data is None:
            return {}
        return {name: text or "" for name, text in reader.pairs(row[field], field).items()}

    options = pairs("driver_opts")
    driver = reader.text(row["driver"], "driver") if "driver" in row else ""
    _tell(reader, key, value, driver, options)
    return Volume(
        name=key,
        engine_name=name,
        external=external,
        driver=driver,
        driver_opts=options,
        labels=pairs("labels"),
    )


def _tell(reader: Reader, key: str, value: Value, driver: str, options: dict[str, str]) -> None:
    """Findings where the volume is not simply a folder of the engine's."""
    if "bind" in options.get("o", "").split(","):
        message = f"the volume {key[:80]} is a folder of the host, which is not moved"
        remedy = "Name the folder in the service's `volumes`, or remove its driver_opts."
        reader.note("bind-not-carried", value, message, Severity.ERROR, remedy)
    elif options.get("type", "") in ("", "tmpfs") and not driver.removeprefix("local"):
        if options:
            message = f"portkit ignores 'volumes.{key[:80]}.driver_opts'"
            reader.note("compose-not-carried", value, message, Severity.WARNING)
    else:
        message = f"the volume {key[:80]} is stored on another machine or by another driver"
        reader.note("compose-not-carried", value, message, Severity.WARNING)


def _short(reader: Reader, each: Value, same_paths: Collection[str]) -> Mount:
    text = reader.text(each, "volumes")
    mount, options = reader.use(each, lambda _: values.mount(text, same_paths))
    for option in options:
        message = f"portkit ignores the volume option {option[:80]!r}"
        weight = Severity.INFO if option in _ELSEWHERE else Severity.WARNING
        reader.note("compose-not-carried", each, message, weight)
    return mount


def _long(reader: Reader, each: Value, same_paths: Collection[str]) -> tuple[Mount, bool]:
    """The mount, and whether compose makes the folder of a bind where there is none."""
    row = reader.level(each, "volumes[]", "volumes")

    def text(key: str) -> str:
        return reader.text(row[key], f"volumes.{key}") if key in row else ""

    kind = text("type")
    if kind in _KNOWN_TYPES:
        raise reader.error(
            each, f"portkit does not support mounts of type {kind}: only {_TYPES_TEXT}"
        )
    if kind not in _TYPES:
        raise reader.error(each, f"the type of a volume must be {_TYPES_TEXT}")
    create = True
    for key in ("volume", "bind", "image"):
        told = reader.level(row[key], f"volumes[].{key}", f"volumes.{key}") if key in row else {}
        if "create_host_path" in told:
            create = reader.flag(told["create_host_path"])
    options = (
        reader.level(row["tmpfs"], "volumes[].tmpfs", "volumes.tmpfs") if "tmpfs" in row else {}
    )
    if kind == "bind" and not text("source"):
        raise reader.error(each, "a bind mount needs a source")
    size, mode = _tmpfs(reader, options, _number)
    mount = Mount(
        kind,
        text("target"),
        source="" if kind == "tmpfs" else text("source"),
        read_only=reader.flag(row["read_only"]) if "read_only" in row else False,
        tmpfs_bytes=size,
        tmpfs_mode=mode,
    )
    return _checked(reader, each, mount, same_paths), create


def _tmpfs(
    reader: Reader, options: dict[str, Value], mode_of: Callable[[object], int]
) -> tuple[int | None, int | None]:
    """Bytes and mode of a tmpfs."""
    for key, value in options.items():
        if key not in ("size", "mode", *_TMPFS_ALWAYS) and not key.startswith("x-"):
            message = f"portkit ignores the tmpfs option {key[:80]!r}"
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
        raise ValueError(f"{str(value)[:40]!r} is not a folder mode: write it like 0o755")
    return value


def _checked(reader: Reader, each: Value, mount: Mount, same_paths: Collection[str] = ()) -> Mount:
    return reader.use(each, lambda _: values.checked_mount(mount, same_paths))
