"""What a container has changed of its image's files, as a layer.

The engine lists the names (`docker diff`) and gives the content (`docker export`): it knows its
storage driver, where the upper folder of overlayfs alone would not show renamed folders and opaque
ones as they are. Neither stops the app, and volumes are in neither. `upper` has what the engine
does not tell.

Source: OCI image-spec v1.1, layer.md; moby, pkg/archive/changes.go.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from typing import Dict, Iterable, Iterator, List, Optional, Set
from urllib.parse import quote

from portkit.remote import engine, tar_stream, upper
from portkit.remote.channel import Channel
from portkit.remote.tar_stream import StreamError
from portkit.remote.upper import Upper
from portkit.wire import codec
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

_ID = re.compile(r"[0-9a-f]{12,64}")
_CHANGED, _ADDED, _DELETED = range(3)
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
# What the engine puts into each container. Where these are listed, they are places of mounts.
_ENGINES = (
    ".dockerenv",
    "dev",
    "proc",
    "sys",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/mtab",
    "sbin/docker-init",
    "usr/sbin/docker-init",
)
_FEW = 60  # paths, each a request of some 10 ms; an export of a usual image takes over a second
_MOST_ROWS = 20_000_000  # members of an export; a file system of 1 TB has some millions
_MOST_PLACES = 10_000
_MOST_TOLD = 20  # names in the answer
_BUFFER = 1 << 18
_UNKNOWN = "\ufffd"
_ESCAPED = re.compile("[\udc80-\udcff]")  # how Python holds a byte that is no UTF-8


class Changes:
    """The engine's list of changes, by path without the first "/", and without what is left out.

    Go writes U+FFFD into JSON for each byte that is no UTF-8, so that paths are compared as Go
    would write them (`key`).
    """

    def __init__(self, listed: Dict[str, int], left_out: Iterable[str] = ()) -> None:
        self._left_out = {key(path.strip("/")) for path in (*_ENGINES, *left_out)}
        self.kinds = {path: kind for path, kind in listed.items() if not self.is_left_out(path)}
        self._on_the_way = {folder for path in self._left_out for folder in _above(path)}
        self.deleted: Dict[str, List[str]] = {}
        for path, kind in sorted(self.kinds.items()):
            if kind == _DELETED:
                folder, _, name = path.rpartition("/")
                self.deleted.setdefault(folder, []).append(name)
        # Everything below these is new: folders that were added, and those that hide the image's.
        self.whole: Set[str] = set()

    def is_left_out(self, path: str) -> bool:
        """Whether it is a mount's place or the engine's, or below one."""
        return path in self._left_out or any(each in self._left_out for each in _above(path))

    def is_wanted(self, path: str) -> bool:
        """Whether it is a part of the layer by itself."""
        if path in self.kinds:
            return True
        return bool(self.whole) and any(each in self.whole for each in _above(path))

    def may_be_a_mounts(self, path: str) -> bool:
        """Whether the engine may have made it on the way to a mount."""
        return path in self._on_the_way and self.kinds.get(path) == _ADDED


class _Out:
    """The layer's bytes on their way to the caller; nothing is sent before the first row."""

    def __init__(self, channel: Channel, packer: codec.Compressor) -> None:
        self._channel, self._packer = channel, packer
        self._parts: List[bytes] = []
        self._waiting = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        self.size += len(data)
        if self._waiting >= _BUFFER:
            self._flush()

    def finish(self) -> None:
        """The end of the tar, where there is one."""
        if self.size:
            self.write(bytes(2 * tarfile.BLOCKSIZE))
            self._flush()
            self._channel.send(self._packer.finish())

    def _flush(self) -> None:
        self._channel.send(self._packer.feed(b"".join(self._parts)))
        self._parts, self._waiting = [], 0


class _Layer:
    """Chooses the rows of an export that are the layer, and writes them.

    Folders on the way to a row are written before it, with their owner and mode, as engines would
    make them 0755 of root; until such a row comes, they wait.
    """

    def __init__(self, changes: Changes, own: Optional[Upper], out: _Out) -> None:
        self._own = own
        self._changes, self._first, self._out = changes, changes, out
        self._waiting: List[tarfile.TarInfo] = []
        self._written: Set[str] = set()
        self._folders: Dict[str, str] = {"": ""}  # real names of those in which something is gone
        self._seen: Set[str] = set()
        self._links: Dict[str, int] = {}
        self._again = False
        self.changed = self.deleted = 0
        self.odd: List[str] = []

    def read(self, path: str) -> None:
        """Take one export in."""
        with engine.request("GET", path) as response:
            reader = tar_stream.Reader(response)
            for count, info in enumerate(reader):
                if count >= _MOST_ROWS:
                    raise StreamError("it has more than %d members" % _MOST_ROWS)
                self._take(info, reader)

    def ask(self, container: str, paths: Iterable[str]) -> None:
        """Take these paths in one by one, folders before what is in them."""
        for path in paths:
            place = "/containers/%s/archive?path=%s" % (container, quote("/" + path))
            try:
                with engine.request("GET", place) as response:
                    reader = tar_stream.Reader(response)
                    # Of a folder all that is in it would follow.
                    info = next(iter(reader), None)
                    if info is not None:
                        info.name = path
                        self._take(info, reader)
            except RemoteError as error:
                if ": 404 " not in error.details:  # it went away meanwhile
                    raise

    def lacks(self) -> Optional[Changes]:
        """What a second export has to bring: unchanged files of which the layer has a hard link.

        A link into another layer is not the same file to every engine, or none at all. The export
        has the file itself under the name that comes first, where nobody knows of the link yet.
        """
        self._again = True
        self._changes, links = Changes(self._links), self._links
        self._links = {}
        return self._changes if links else None

    def finish(self) -> None:
        """Write what was deleted, behind all that is there."""
        for folder, names in sorted(self._first.deleted.items()):
            real = self._folders.get(folder)
            if real is None or folder in self._first.whole:
                continue  # it is gone itself, or nothing of the image shows through
            for name in names:
                path = folder + "/" + name if folder else name
                if path in self._seen:
                    continue
                if _UNKNOWN in name:
                    self.odd.append(path)
                    continue
                self.deleted += 1
                whiteout = (real + "/" if real else "") + _WHITEOUT + name
                self._out.write(tar_stream.header(tar_stream.empty(whiteout)))
        self._out.finish()

    def missing(self) -> List[str]:
        """What was listed and did not come: sockets, and what went away meanwhile."""
        kinds = self._first.kinds
        return sorted(path for path in kinds if kinds[path] != _DELETED and path not in self._seen)

    def _take(self, info: tarfile.TarInfo, reader: tar_stream.Reader) -> None:
        name = info.name = "/".join(tar_stream.parts(info.name))
        path = key(name)
        if not name or self._changes.is_left_out(path):
            return
        linked = False
        if info.islnk():
            info.linkname = "/".join(tar_stream.parts(info.linkname))
            # All names of a file that is in the layer have to be, or it would become two.
            linked = info.linkname in self._written
        if name in self._written:
            if self._again:
                return
            raise StreamError("%a is in it twice" % name[:200])
        while self._waiting and not name.startswith(self._waiting[-1].name + "/"):
            self._waiting.pop()
        if linked or self._changes.is_wanted(path):
            self._wanted(info, path, linked, reader)
        elif info.isdir() and path in self._changes.deleted:
            self._put(info, path)
        elif info.isdir():
            self._waiting.append(info)

    def _wanted(
        self, info: tarfile.TarInfo, path: str, linked: bool, reader: tar_stream.Reader
    ) -> None:
        self._seen.add(path)
        if any(step.startswith(_WHITEOUT) for step in info.name.split("/")):
            self.odd.append(path)  # in a layer it would be a deletion
        elif info.islnk() and not linked:
            self._links.update({key(info.linkname): _CHANGED, path: _ADDED})
        elif info.isdir() and self._changes.may_be_a_mounts(path) and _is_plain(info):
            self._waiting.append(info)
            self._changes.whole.add(path)
        else:
            self._put(info, path)
            for data in reader.content():
                self._out.write(data)
            self._out.write(bytes(-info.size % tarfile.BLOCKSIZE))

    def _put(self, info: tarfile.TarInfo, path: str) -> None:
        """Write its headers, behind the folders on the way to it."""
        for folder in self._waiting:
            self._header(folder, key(folder.name))
        self._waiting = []
        self._header(info, path)

    def _header(self, info: tarfile.TarInfo, path: str) -> None:
        name = info.name
        self._written.add(name)
        kind = self._changes.kinds.get(path, _ADDED if self._changes.is_wanted(path) else None)
        if kind is not None:
            self.changed += 1
        if self._own is not None and not info.islnk():
            _complete(info, self._own)
        if not info.isdir():
            self._out.write(tar_stream.header(info))
            return
        info.name = name + "/"
        self._out.write(tar_stream.header(info))
        info.name = name
        self._folders[path] = name
        if kind in (_ADDED, _DELETED):
            self._changes.whole.add(path)
        if kind == _DELETED:
            # It was deleted and made anew, so the image's must not show through.
            self._out.write(tar_stream.header(tar_stream.empty(name + "/" + _OPAQUE)))


def changes(args: JsonObject, channel: Channel) -> JsonObject:
    """Send what a container has changed of its image's files as a layer (a tar), compressed; no
    data where it has changed nothing.

    args: container (its id), left_out (paths in it that are mounts), encoding, level. What is
    listed and cannot be in a layer is in `missing` (sockets, and what went away meanwhile) and
    `odd` (names that a layer cannot have), the first of each. exact: whether all was looked at;
    else files that kept their size and time, and attributes but capabilities, may lack.
    """
    container = args["container"]
    if not isinstance(container, str) or not _ID.fullmatch(container):
        raise RemoteError("AppError", "a container id is not valid", repr(container)[:200])
    own = upper.find(engine.get_object("/containers/%s/json" % container))
    places = _places(args.get("left_out", []))
    found = _of_upper(own, places)
    few = None if found is None else _few(found)
    if found is None:
        listed = _listed(container)
        for path in own.written() if own is not None else ():
            listed.setdefault(key(path), _CHANGED)
        found = Changes(listed, places)
    out = _Out(channel, codec.Compressor(args["encoding"], args.get("level", 3)))
    layer = _Layer(found, own, out)
    if found.kinds:
        _read(container, layer, few)
    told = {"missing": layer.missing(), "odd": sorted(set(layer.odd))}
    return {
        "changed": layer.changed,
        "deleted": layer.deleted,
        "exact": own is not None,
        "size": out.size,
        "missing": [path[:1000] for path in told["missing"][:_MOST_TOLD]],
        "odd": [path[:1000] for path in told["odd"][:_MOST_TOLD]],
        "untold": sum(max(len(paths) - _MOST_TOLD, 0) for paths in told.values()),
    }


def _of_upper(own: Optional[Upper], places: List[str]) -> Optional[Changes]:
    """The changes as overlayfs keeps them; None where the engine has to be asked. To answer, it
    compares each file of the image (`docker diff` of an unchanged Debian took 0.3 s with Docker
    20.10), and an app that moves is stopped meanwhile.

    What was added is not told from what was changed.
    """
    listed = None if own is None else own.listed()
    if listed is None:
        return None
    return Changes(
        {key(path): _DELETED if gone else _CHANGED for path, gone in listed.items()}, places
    )


def _few(found: Changes) -> Optional[List[str]]:
    """What to ask for one by one, with the folders on the way to it: a service that has written its
    process id should not cost an export of its whole image while it is stopped. found: as overlayfs
    keeps them. None where an export is better: many paths, and a name that the engine does not
    write as it is."""
    if len(found.kinds) > _FEW or any(_UNKNOWN in path for path in found.kinds):
        return None
    there = [path for path, kind in found.kinds.items() if kind != _DELETED]
    folders = {folder for path in found.kinds for folder in _above(path)}
    return sorted({*there, *folders}, key=lambda path: path.split("/"))


def _read(container: str, layer: _Layer, few: Optional[List[str]]) -> None:
    path = "/containers/%s/export" % container
    try:
        if few is None:
            layer.read(path)
        else:
            layer.ask(container, few)
        if layer.lacks() is not None:
            layer.read(path)
            if layer.lacks() is not None:
                raise StreamError("hard links in it changed while it was read")
        layer.finish()
    except StreamError as error:
        raise RemoteError(
            "EngineError",
            "the engine's export of the container is malformed",
            str(error),
            "Try again. If the error persists, check which program answers for the engine on the "
            "host.",
        ) from None


def _listed(container: str) -> Dict[str, int]:
    """Path -> kind, as the engine lists them; EngineError for what no engine lists."""
    asked = "/containers/%s/changes" % container
    found = {}
    for row in engine.get_rows(asked):
        path, kind = engine.text(row, "Path"), row.get("Kind")
        if kind not in (_CHANGED, _ADDED, _DELETED) or isinstance(kind, bool):
            raise engine.malformed(asked, "a kind of change is %s" % repr(kind)[:40])
        try:
            steps = tar_stream.parts(path[1:])
        except StreamError as error:
            raise engine.malformed(asked, str(error)) from None
        if not path.startswith("/"):
            raise engine.malformed(asked, "%a is no path" % path[:200])
        if steps:
            found["/".join(steps)] = kind
    return found


def _places(given: object) -> List[str]:
    if not isinstance(given, list) or len(given) > _MOST_PLACES:
        raise RemoteError("AppError", "the mount points are not valid")
    if not all(isinstance(place, str) and place.startswith("/") for place in given):
        raise RemoteError("AppError", "the mount points are not valid")
    return [posixpath.normpath(place) for place in given]


def key(name: str) -> str:
    """A name as Go writes it into JSON: U+FFFD for each byte that is no UTF-8."""
    return _ESCAPED.sub(_UNKNOWN, name)


def _above(path: str) -> Iterator[str]:
    """The folders on the way to it."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _complete(info: tarfile.TarInfo, own: Upper) -> None:
    """What an export leaves out: extended attributes, and parts of a second."""
    more = {tar_stream.XATTR + name: text for name, text in own.attributes(info.name).items()}
    time_ns = own.time_ns(info.name)
    if time_ns is not None and time_ns >= 0 and time_ns // 10**9 == info.mtime and time_ns % 10**9:
        more["mtime"] = "%d.%09d" % divmod(time_ns, 10**9)
    info.pax_headers = {**info.pax_headers, **more}


def _is_plain(info: tarfile.TarInfo) -> bool:
    """As an engine makes a folder on the way to a mount."""
    return (info.mode & 0o7777, info.uid, info.gid) == (0o755, 0, 0)
