"""Files that travel with an App: its configs and secrets, and what it binds of its own folder.

What a bind mount names is the host's. Files of the project's own folder belong to the App and
travel; what the App has written there, and everything outside, does so only where the user says it:
`x-portkit.carry` or --carry.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from portkit.app import carried, values
from portkit.app.document import Value
from portkit.app.files import LIMIT, Sealed
from portkit.app.reader import Reader
from portkit.files import content
from portkit.model import Content, ContentKind, Mount, Severity, content_bytes

_ENTRIES = 100_000  # files and folders of one bind mount
_HOLDS = "holds data"
_CARRY = "To move it along, name it in `x-portkit.carry`, or with --carry {0}."
# Each is left by a database or a queue that has run there: a copy of it while it runs is broken.
_DATA = re.compile(
    r"PG_VERSION|ibdata1|WiredTiger|.*\.(db|sqlite3?|mdb|ibd|rdb|aof|frm)(-wal|-shm|-journal)?"
)
_CLOCK = ("/etc/localtime", "/etc/timezone")
_RANDOM = ("/dev/random", "/dev/urandom")
_KERNEL = ("/proc", "/sys", "/lib/modules", "/usr/lib/modules", "/boot", "/usr/src")
_ZONES = "/usr/share/zoneinfo/"
_DEFAULT_SECRETS = "/run/secrets/"


# ------------------------------------------------------------ bind mounts


@dataclass(frozen=True)
class Tree:
    """What a walk through a bind's source has found. owners: of the files; odd: the first that is
    no file, folder or link; data: the first that a database has left."""

    entries: int
    size_bytes: int
    owners: frozenset[int]
    odd: str = ""
    data: str = ""


class Binds:
    """Decides what becomes of each bind mount. carry: what the user lets travel, absolute.
    same_paths: what is mounted of whatever host the App is on."""

    def __init__(
        self, reader: Reader, carry: Collection[Path], same_paths: Collection[str] = ()
    ) -> None:
        self._reader = reader
        self._carry = tuple(carry)
        self.same_paths = same_paths

    def read(self, value: Value, mount: Mount, *, create: bool) -> Content | Mount | None:
        """A Content where it travels; None where nothing is needed; the mount, with a Finding that
        stops the Move, where it cannot. AppError for what no App may have.

        create: whether compose makes the folder where it does not exist.
        """
        reader, files = self._reader, self._reader.files(value)
        if rows := files.carried(mount.source):
            return Content(
                mount.target,
                source=Path(mount.source),
                name=mount.source,
                read_only=mount.read_only,
                size_bytes=content_bytes(rows),
                files=rows,
            )
        if mount.source in self.same_paths:
            message = (
                f"{mount.source[:200]} on {mount.target[:120]} is the target's own: nothing that "
                "is there is moved"
            )
            remedy = "Make sure that the target has it, and that the App may use it there."
            reader.note("bind-same-path", value, message, Severity.WARNING, remedy)
            return mount
        source: str = reader.use(value, lambda _: files.bind(mount.source))
        path = posixpath.normpath("/" + source.lstrip("/"))
        if path in _CLOCK:
            return self._clock(value, mount, path)
        if path in _RANDOM and mount.target in _RANDOM:
            message = (
                f"{path} on {mount.target} is left out, because both are the same since Linux 5.6"
            )
            reader.note("bind-replaced", value, message, Severity.INFO)
            return None
        reader.use(value, lambda _: values.checked_source(path))
        if (path + "/").startswith("/dev/"):
            return self._refused(value, mount, f"{path[:200]} is a device of the host")
        for folder in _KERNEL:
            if (path + "/").startswith(folder + "/"):
                why = f"{path[:200]} belongs to the kernel of the host"
                return self._refused(value, mount, why)
        return self._path(value, mount, Path(path), create=create)

    def _refused(self, value: Value, mount: Mount, why: str, remedy: str = "") -> Mount:
        message = f"the bind mount on {mount.target[:120]} cannot be moved: {why}"
        remedy = remedy or "Remove this mount. The App cannot have it on another host."
        self._reader.note("bind-not-carried", value, message, Severity.ERROR, remedy)
        return mount

    def _clock(self, value: Value, mount: Mount, path: str) -> Content | None:
        """The time zone of this machine, as a file."""
        try:
            data: bytes | None = content(Path(path).resolve(), LIMIT)
        except (OSError, ValueError):
            data = None
        if data is None and path == _CLOCK[1]:
            link = os.path.realpath(_CLOCK[0])
            zone = link.removeprefix(_ZONES) if link.startswith(_ZONES) else "Etc/UTC"
            data = zone.encode() + b"\n"
        if data is None:
            message = f"{path} is left out: this machine does not have it, so its time is UTC"
            self._reader.note("bind-replaced", value, message, Severity.INFO)
            return None
        message = f"{path} of this machine, where the compose file was read, is moved with the App"
        self._reader.note("bind-replaced", value, message, Severity.INFO)
        return Content(
            mount.target, data=data, name=path, read_only=mount.read_only, size_bytes=len(data)
        )

    def _path(self, value: Value, mount: Mount, path: Path, *, create: bool) -> Content | Mount:
        told = _CARRY.format(path)
        try:
            real = path.resolve()
            there = real.exists()
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            return self._refused(value, mount, f"{str(path)[:200]}: {why}")
        allowed = any(_below(real, each) for each in self._carry)
        if not allowed and not any(_below(path, each) for each in self._homes(value)):
            why = f"{str(path)[:200]} is outside of the project's folder"
            return self._refused(value, mount, why, told)
        if not allowed and not any(_below(real, each.resolve()) for each in self._homes(value)):
            why = f"{str(path)[:200]} is a link to {str(real)[:200]}, which is outside of it"
            return self._refused(value, mount, why, _CARRY.format(real))
        if not there:
            return self._empty(value, mount, path, create=create)
        try:
            tree = survey(real)
        except OSError as error:
            why = f"{str(path)[:200]} cannot be read: {error.strerror}"
            return self._refused(value, mount, why, "Check its permissions.")
        if why := _unfit(tree, real, mount, allowed=allowed):
            remedy = told if why.startswith(_HOLDS) else "Put it into an image or a volume."
            return self._refused(value, mount, f"{str(path)[:200]} {why}", remedy)
        kind = f"{tree.entries} files and folders" if real.is_dir() else "a file"
        message = f"{str(path)[:200]} is moved with the App: {kind}, {tree.size_bytes} bytes"
        self._reader.note("content-carried", value, message, Severity.INFO)
        return Content(
            mount.target,
            source=real,
            name=mount.source,
            read_only=mount.read_only,
            size_bytes=tree.size_bytes,
        )

    def _homes(self, value: Value) -> tuple[Path, ...]:
        """The folders whose files are the App's own: the project's, and that of the file that
        names them."""
        found = (self._reader.origin.files, self._reader.files(value))
        return tuple(files.path for files in found if not isinstance(files, Sealed))

    def _empty(self, value: Value, mount: Mount, path: Path, *, create: bool) -> Content | Mount:
        if not create:
            why = f"{str(path)[:200]} does not exist, and create_host_path is false"
            raise self._reader.error(value, why)
        message = f"{str(path)[:200]} does not exist, so the App starts with an empty folder"
        self._reader.note("content-empty", value, message, Severity.INFO)
        return Content(mount.target, name=str(path), read_only=mount.read_only)


def _below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _unfit(tree: Tree, real: Path, mount: Mount, *, allowed: bool) -> str:
    """Why files do not travel; "" where they do."""
    if tree.odd:
        return f"contains {tree.odd[:120]!r}, which is not a file, folder or link"
    if tree.entries > _ENTRIES:
        return f"contains more than {_ENTRIES} files"
    if tree.size_bytes > carried.LIMIT:
        return (
            f"has {tree.size_bytes} bytes; all files of an App together may have at most "
            f"{carried.LIMIT}"
        )
    if allowed or mount.read_only:
        return ""
    if tree.data:
        return f"{_HOLDS}: {tree.data[:120]!r}"
    # What a container has written belongs to the user that it ran as.
    if others := tree.owners - {real.parent.stat().st_uid}:
        return f"{_HOLDS}: files of user {min(others)}"
    return ""


def survey(path: Path) -> Tree:
    """Count what is at a path, without following a link in it; it ends when it is too much."""
    entries = size = 0
    owners: set[int] = set()
    odd = data = ""
    for found, status in _walk(path):
        entries += 1
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            size += status.st_size
        elif kind not in (stat.S_IFDIR, stat.S_IFLNK):
            odd = odd or os.path.relpath(found, path.parent)
        if _DATA.fullmatch(found.rpartition("/")[2]):
            data = data or os.path.relpath(found, path.parent)
        owners.add(status.st_uid)
        if entries > _ENTRIES:
            break
    return Tree(entries, size, frozenset(owners), odd, data)


def _walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    status = path.lstat()
    yield str(path), status
    folders = [str(path)] if stat.S_ISDIR(status.st_mode) else []
    while folders:
        with os.scandir(folders.pop()) as rows:
            for row in rows:
                yield row.path, row.stat(follow_symlinks=False)
                if row.is_dir(follow_symlinks=False):
                    folders.append(row.path)


# ------------------------------------------------------------ configs and secrets


@dataclass(frozen=True)
class Declared:
    """A config or secret of the top level. data: None where it is a file."""

    data: bytes | None
    source: Path | None
    size_bytes: int


def declared(reader: Reader, kind: ContentKind, key: str, value: Value) -> Declared:
    """A config or secret that a service uses; AppError where its content is not to be had."""
    name = f"{kind.value}s.{key[:80]}"
    if value.data is None:
        raise reader.error(value, f"{name} is empty: it needs `file` or `environment`")
    row = reader.level(value, f"{kind.value}s", name)
    external = row.get("external")
    if external is not None and (isinstance(external.data, dict) or reader.flag(external)):
        why = f"{name} is external, which only Docker Swarm supports; docker compose refuses it too"
        raise reader.error(external, why, "Give it a `file` instead.")
    told = [each for each in ("file", "environment", "content") if each in row]
    if len(told) != 1:
        raise reader.error(value, f"{name} needs one of `file`, `environment` and `content`")
    where = row[told[0]]
    text = reader.text(where, f"{name}.{told[0]}")
    if told[0] == "file":
        return _file(reader, where, name, text)
    if told[0] == "environment":
        found = reader.origin_of(where).environ.get(text)
        if found is None:
            raise reader.error(where, f"{name}: the variable {text[:80]!r} is not set")
        text = found
    elif kind is ContentKind.SECRET:
        raise reader.error(where, f"{name}: `content` is not allowed for a secret")
    data = text.encode("utf-8", "surrogateescape")
    return Declared(data, None, len(data))


def _file(reader: Reader, value: Value, name: str, text: str) -> Declared:
    path: Path = reader.use(value, lambda _: reader.files(value).named(text))
    try:
        real = path.resolve(strict=True)
        reader.use(value, lambda _: values.checked_source(str(real)))
        tree = survey(real)
    except FileNotFoundError:
        raise reader.error(value, f"{name}: {str(path)[:200]} does not exist") from None
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise reader.error(value, f"{name}: {str(path)[:200]}: {why}") from None
    if tree.odd or tree.entries > _ENTRIES or str(real).startswith("/dev/"):
        raise reader.error(
            value, f"{name}: {str(path)[:200]} is not a file or folder that can be moved"
        )
    return Declared(None, real, tree.size_bytes)


class Mounted:
    """The `configs` or `secrets` of services, and what the top level says of them."""

    def __init__(self, reader: Reader, kind: ContentKind, top: Value | None) -> None:
        self._reader = reader
        self._kind = kind
        self._rows = {} if top is None else reader.mapping(top)
        self._found: dict[str, Declared] = {}

    def read(self, value: Value) -> tuple[Content, ...]:
        """The Contents of one service's key."""
        rows = self._reader.items(value, f"{self._kind.value}s")
        return tuple(self._one(each) for each in rows)

    def _one(self, value: Value) -> Content:
        reader = self._reader
        row = {"source": value}
        if isinstance(value.data, dict):
            row = reader.level(value, "mounted[]", f"{self._kind.value}s")
        if "source" not in row:
            raise reader.error(value, f"a {self._kind.value} needs a source")
        source = reader.text(row["source"], "source")
        if source not in self._rows:
            raise reader.error(value, f"there is no {self._kind.value} {source[:80]!r}")
        if source not in self._found:
            top = self._rows[source]
            self._found[source] = declared(reader, self._kind, source, top)
        what = self._found[source]
        target = reader.text(row["target"], "target") if "target" in row else ""
        own = {key: row[key] for key in ("uid", "gid", "mode") if key in row}
        if own and what.data is None:
            message = "uid, gid and mode are ignored, as in docker compose: the file keeps its own"
            reader.note("compose-not-carried", value, message, Severity.INFO)
            own = {}
        return Content(
            self._target(value, target or source),
            source=what.source,
            data=what.data,
            kind=self._kind,
            name=source,
            # As compose 2.40 does it: a file is bound, read-only; what has no file becomes one in
            # the container's own root.
            read_only=what.data is None,
            uid=self._number(own.get("uid")),
            gid=self._number(own.get("gid")),
            mode=reader.use(own["mode"], _mode) if "mode" in own else None,
            size_bytes=what.size_bytes,
        )

    def _target(self, value: Value, text: str) -> str:
        if not text.startswith("/"):
            folder = _DEFAULT_SECRETS if self._kind is ContentKind.SECRET else "/"
            text = folder + text
        mount = Mount("bind", text)
        return self._reader.use(value, lambda _: values.checked_mount(mount)).target

    def _number(self, value: Value | None) -> int | None:
        if value is None or value.data == "":
            return None
        return self._reader.use(value, values.count)


def _mode(data: object) -> int:
    """Permissions: a number that YAML has read as octal, or octal text."""
    number = int(data, 8) if isinstance(data, str) and data.isascii() else data
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 0o7777:
        raise ValueError(f"{str(data)[:40]!r} is not a file mode: write it like 0440")
    return number
