"""What an engine keeps of a layer, read in place.

An engine can be asked for a layer with `docker save` alone: all of an image is read and written
for it. So layers are read where the engine has them, where that place is known:

- overlay2 keeps a layer's files in a folder and beside it, as lines of JSON, what of the tar is no
  file's content, in order: type 2 is bytes ("payload", base64), type 1 the content of a file
  ("name", or "name_raw" in base64, and "size"). Sources: moby, layer/filestore.go; tar-split,
  tar/storage/entry.go and getter.go.
- Podman keeps the same two of each layer (containers/storage, layers.go).
- the containerd store keeps blobs as they were loaded; a layer that portkit brought is a plain tar.

Nothing of it is trusted: what is made of it is hashed before it is used.
"""

from __future__ import annotations

import base64
import gzip
import os
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import Dict, Optional

from portkit.remote import engine, store
from portkit.wire import beneath, strict_json
from portkit.wire.content import Content, Plain
from portkit.wire.json_types import JsonObject

_LINE_LIMIT = strict_json.LIMIT
_SPLIT = ".tar-split.gz"  # what Podman calls the second of them, behind the layer's id
_BYTES = 2


class Split:
    """A layer's tar, put together from a folder and what is beside it. Memory: 21 bytes for each
    piece; names and headers are kept in a file."""

    def __init__(self, split: Path, tree: Path) -> None:
        """ValueError or OSError when it is malformed."""
        self._tree = os.fsencode(tree)
        self._starts = array("Q")
        self._places = array("Q")  # in the file of names and headers
        self._lengths = array("I")  # there
        self._kinds = bytearray()
        self._open: "tuple[int, int]" = (-1, -1)  # piece, descriptor
        self.size = 0
        path = store.temporary()
        self._kept = os.open(str(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        # An open file without a name: whatever becomes of this process, it is gone with it.
        path.unlink()
        try:
            self._read(split)
        except BaseException:
            self.close()
            raise

    def _read(self, split: Path) -> None:
        done = 0
        with os.fdopen(os.dup(self._kept), "wb") as out, gzip.open(str(split), "rb") as lines:
            for line in iter(lambda: lines.readline(_LINE_LIMIT), b""):
                row = strict_json.loads(line)
                if row["type"] == _BYTES:
                    data = base64.b64decode(row["payload"], validate=True)
                    length = len(data)
                else:
                    raw = row.get("name_raw")
                    data = base64.b64decode(raw) if raw else row["name"].encode()
                    # tar-split leaves size out where it is 0.
                    length = int(row.get("size") or 0)
                if length <= 0 or not data:
                    continue
                self._starts.append(self.size)
                self._places.append(done)
                self._lengths.append(len(data))
                self._kinds.append(row["type"])
                self.size += length
                done += len(data)
                out.write(data)

    def pread(self, length: int, offset: int) -> bytes:
        """As `Content.pread`; OSError when a file of the layer has gone."""
        if not 0 <= offset < self.size:
            return b""
        piece = bisect_right(self._starts, offset) - 1
        inside = offset - self._starts[piece]
        last = piece + 1 == len(self._starts)
        end = self.size if last else self._starts[piece + 1]
        length = min(length, end - offset)
        if self._kinds[piece] == _BYTES:
            return os.pread(self._kept, length, self._places[piece] + inside)
        return os.pread(self._file(piece), length, inside)

    def _file(self, piece: int) -> int:
        if self._open[0] != piece:
            name = os.pread(self._kept, self._lengths[piece], self._places[piece])
            # One file is open at a time: a layer is read from the start to the end, and may have
            # 100,000 of them.
            self._close_file()
            self._open = piece, beneath.open_file(self._tree, name)
        return self._open[1]

    def _close_file(self) -> None:
        if self._open[1] >= 0:
            os.close(self._open[1])
        self._open = (-1, -1)

    def close(self) -> None:
        self._close_file()
        os.close(self._kept)


def places(info: JsonObject) -> Dict[str, Path]:
    """diffID -> where the engine keeps that layer, for those that can be read there."""
    root = engine.root(info)
    if engine.containerd_store(info):
        found = {}
        # Docker's own containerd, as its packages start it where no other runs, and the system's.
        for place in (root / "containerd/daemon", Path("/var/lib/containerd")):
            blobs = place / "io.containerd.content.v1.content/blobs/sha256"
            if blobs.is_dir():
                found.update({"sha256:" + path.name: path for path in blobs.iterdir()})
        return found
    if engine.podman(info):
        return _overlay(root) if info.get("Driver") == "overlay" else {}
    return _overlay2(root) if info.get("Driver") == "overlay2" else {}


def _overlay(root: Path) -> Dict[str, Path]:
    """Podman's layers, by its own list of them."""
    folder = root / "overlay-layers"
    try:
        with (folder / "layers.json").open("rb") as file:
            rows = strict_json.loads(file.read(_LINE_LIMIT))
    except (OSError, ValueError):  # there is none yet, it is being written, or damaged
        return {}
    found = {}
    for row in rows if isinstance(rows, list) else ():
        name, digest = (row.get("id"), row.get("diff-digest")) if isinstance(row, dict) else (0, 0)
        # It becomes a part of a path that root reads from.
        if isinstance(name, str) and name.isalnum() and isinstance(digest, str):
            path = folder / (name + _SPLIT)
            if path.is_file():
                found[digest] = path
    return found


def _overlay2(root: Path) -> Dict[str, Path]:
    found = {}
    layers = root / "image/overlay2/layerdb/sha256"
    for folder in layers.iterdir() if layers.is_dir() else ():
        try:
            # layerdb/sha256/CHAINID/diff has the diffID; the folder's own name is the chainID,
            # which depends on the layers below as well.
            digest = (folder / "diff").read_text().strip()
        except (OSError, ValueError):  # it is being made or removed, or damaged
            continue
        if (folder / "tar-split.json.gz").is_file():
            found[digest] = folder
    return found


def of_engine(digest: str, known: Dict[str, Path]) -> Optional[Content]:
    """A layer where the engine keeps it; None where it cannot be read. known: of `places`."""
    path = known.get(digest)
    if path is None:
        return None
    try:
        if path.name.endswith(_SPLIT):
            tree = path.parents[1] / "overlay" / path.name[: -len(_SPLIT)] / "diff"
            return Split(path, tree)
        if not path.is_dir():
            return Plain(path)
        root = path.parents[4]
        name = (path / "cache-id").read_text().strip()
        # It becomes a part of a path that root reads from.
        if not name.isalnum():
            return None
        return Split(path / "tar-split.json.gz", root / "overlay2" / name / "diff")
    except Exception:  # noqa: BLE001 - whatever is wrong with it, `docker save` will tell
        return None
