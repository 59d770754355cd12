"""What becomes of the bind mounts of a running App: each travels, is replaced, or stops the Move.

A folder of the host that may travel becomes a volume of the App; a single file goes with the
App's configuration. Pure but for `bound`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portkit.app import values
from portkit.engines.docker_file import Unfit
from portkit.engines.docker_source import DockerSource
from portkit.model import ContentFile, Finding, Severity
from portkit.wire import labels
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from portkit.engines.described.answers import Container

# The time zone and the like: whatever the source host has there may be seen by the App anyway.
_HARMLESS = ("/etc/localtime", "/etc/timezone")
# Where portkit puts the files of an App: a volume of its own.
_OWN_FILES = re.compile(r"/volumes/portkit-[0-9a-f]{12}-content/_data/\d+$")
_CARRY = (
    "To move it along, allow it with --carry {0}. If the App can do without it, remove the mount."
)
_SAME = (
    "To mount the target's own in its place, which controls that host if it is an engine's socket, "
    "allow it with --same-path {0}. Or mount a folder, or remove the mount."
)


@dataclass(frozen=True)
class Bind:
    """A bind mount of a container. file: its content, where it is a single file; None for a
    folder. unfit: what it is, where it is neither, or a file that is too large. home: the folder of
    the compose project that it belongs to; "" for none. own: whether it is one of the App's own
    files, which came with it in an earlier Move."""

    service: str
    source: str
    target: str
    read_only: bool
    file: ContentFile | None
    home: str = ""
    own: bool = False
    unfit: str = ""


@dataclass(frozen=True)
class Placed:
    """document: the compose file without bind mounts of folders. folders: of each volume that took
    the place of one, by its name in the file, the path on the source host. contents: of each file,
    by its path there."""

    document: JsonObject
    folders: Mapping[str, str]
    contents: Mapping[str, tuple[ContentFile, ...]] = field(repr=False)
    findings: tuple[Finding, ...]


def bound(
    engine: DockerSource, containers: Iterable[Container], same_paths: Collection[str]
) -> list[Bind]:
    """The bind mounts, with the content of those that are files and travel."""
    found = []
    for one in containers:
        for mount in (each for each in one.Mounts if each.Type == "bind"):
            same = mount.Source in same_paths
            file = None if same else engine.file_at(one.Id, mount.Destination)
            moved = labels.MOVE in one.Config.Labels
            found.append(
                Bind(
                    service=one.service,
                    source=mount.Source,
                    target=mount.Destination,
                    read_only=not mount.RW,
                    file=None if isinstance(file, Unfit) else file,
                    home=one.Config.Labels.get(labels.COMPOSE + "project.working_dir", ""),
                    own=moved and _OWN_FILES.search(mount.Source) is not None,
                    unfit=file.why if isinstance(file, Unfit) else "",
                )
            )
    return found


def place(
    document: JsonObject,
    binds: Sequence[Bind],
    carry: Collection[str],
    same_paths: Collection[str] = (),
) -> Placed:
    """The compose file of a running App, with what travels in place of its bind mounts.

    carry: absolute paths of the source host that may travel, with all that is below them.
    same_paths: those that are bound of the target's own, which stay what they are.
    """
    names: dict[str, str] = {}  # of a folder's path
    binds = [each for each in binds if each.source not in same_paths]
    bound = {each.source.rstrip("/") for each in binds if each.file is None and not each.unfit}
    contents: dict[str, tuple[ContentFile, ...]] = {}
    findings: list[Finding] = []
    volumes = dict(document.get("volumes", {}))
    where = {(bind.service, bind.target): bind for bind in binds}
    services = {}
    for service, row in document["services"].items():
        rows: list[Any] = []
        for each in row.get("volumes", ()):
            bind = where.get((service, target_of(each)))
            if bind is None:
                rows.append(each)
                continue
            findings.append(_overlapping(bind, bound) or judged(bind, carry))
            if findings[-1].severity is Severity.ERROR:
                continue
            if bind.file is not None:
                contents[bind.source] = (bind.file,)
                rows.append(_mount("bind", bind.source, bind))
                continue
            if bind.source not in names:
                names[bind.source] = _free(volumes)
                volumes[names[bind.source]] = {}
            rows.append(_mount("volume", names[bind.source], bind))
        services[service] = {**row, "volumes": rows} if rows else _without_volumes(row)
    placed = {**document, "services": services, **({"volumes": volumes} if volumes else {})}
    folders = {name: path for path, name in names.items()}
    return Placed(placed, folders, contents, tuple(findings))


def _overlapping(bind: Bind, folders: Collection[str]) -> Finding | None:
    """As two volumes they would be two copies of what is one folder at the source."""
    around = [each for each in folders if each != bind.source.rstrip("/")]
    outer = next((each for each in around if _below(bind.source, each)), None)
    if outer is None:
        return None
    message = f"{bind.source[:200]} is mounted, and so is {outer[:200]}, which contains it"
    return _error(bind, message, "Mount only one of them, or put the data into a volume.")


def judged(bind: Bind, carry: Collection[str]) -> Finding:
    """Whether a bind mount travels; an error where it does not."""
    what = f"{bind.source[:200]} on {bind.target[:200]}"
    if bind.unfit:
        message = f"{what} is {bind.unfit} of the source host, which does not travel"
        return _error(bind, message, _SAME.format(bind.source))
    try:
        path = values.checked_source(bind.source)
    except ValueError as error:
        return _error(bind, f"the bind mount on {bind.target[:200]} cannot be moved: {error}", "")
    kind = "a folder" if bind.file is None else "a file"
    allowed = any(_below(path, posixpath.normpath(each)) for each in carry)
    home = bind.read_only and _is_a_projects(bind.home) and _below(path, bind.home)
    if not (allowed or bind.own or home or (bind.file is not None and path in _HARMLESS)):
        message = f"{what} is {kind} of the source host, which is moved only if you allow it"
        return _error(bind, message, _CARRY.format(bind.source))
    how = "as a volume" if bind.file is None else "with the App's configuration"
    return Finding(
        "bind-carried",
        Severity.INFO,
        f"{what}, {kind} of the source host, is moved {how}",
        services=(bind.service,),
    )


def target_of(row: object) -> str:
    """Where an entry of `volumes` is mounted."""
    if isinstance(row, dict):
        return str(row.get("target", ""))
    first, colon, rest = str(row).partition(":")
    return rest.partition(":")[0] if colon else first


def _mount(kind: str, source: str, bind: Bind) -> JsonObject:
    row: JsonObject = {"type": kind, "source": source, "target": bind.target}
    return {**row, "read_only": True} if bind.read_only else row


def _without_volumes(row: JsonObject) -> JsonObject:
    return {key: value for key, value in row.items() if key != "volumes"}


def _free(volumes: Mapping[str, object]) -> str:
    number = 0
    while f"bind-{number}" in volumes:
        number += 1
    return f"bind-{number}"


def _error(bind: Bind, message: str, remedy: str) -> Finding:
    return Finding("bind-not-carried", Severity.ERROR, message, (), remedy, (bind.service,))


def _is_a_projects(folder: str) -> bool:
    """Whether a folder can be that of one project. A label says it, which anybody can write."""
    path = posixpath.normpath(folder)
    parts = path.strip("/").split("/")
    return path.startswith("/") and len(parts) > (2 if parts[0] == "home" else 1)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
