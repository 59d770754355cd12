"""A Store: content by its sha256 in an OCI image layout, and what is known about it.

    ROOT/oci-layout, index.json, blobs/sha256/HEX      source: OCI image-spec v1.1, image-layout.md
    ROOT/tmp/CLAIM/                                    what one process is writing
    ROOT/tmp/*.how                                     notes on transfers that were cut
    ROOT/lock                                          held while index.json is changed

Image layers are kept uncompressed, so that their digest is their diffID. A disk's blob is its raw
content; its holes stay holes. Folders are 0700 and files 0600, whatever the umask.

A blob is hashed before its first use in a process. One that has been damaged since it was written
is removed, so that what needs it makes or fetches it again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from portkit import files
from portkit.errors import PortkitError, SpaceError, VerifyError
from portkit.model import Artifact, Blob, check_digest
from portkit.store import soundness
from portkit.store.manifest import artifact_from, manifest_of
from portkit.store.scratch import Scratch
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject
from portkit.wire.sparse import copy_sparse, hash_sparse

__all__ = ["Store", "Writer", "default_root"]

# Bytes; an entry has some 300.
_INDEX_LIMIT = 16 * 1024**2
_KEY = "dev.portkit.key"


def default_root() -> Path:
    """Where the Store is unless told: $PORTKIT_STORE, else root's and the user's data folder."""
    if told := os.environ.get("PORTKIT_STORE"):
        return Path(told)
    if os.geteuid() == 0:
        return Path("/var/lib/portkit/store")
    from platformdirs import user_data_path

    return user_data_path("portkit") / "store"


class Writer:
    """Receives the bytes of one blob; `commit` checks them and gives the blob its name."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._file = files.create(path)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append; SpaceError when the disk is full."""
        self._hash.update(data)
        self.size += len(data)
        with self._store.space():
            return self._file.write(data)

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return "sha256:" + self._hash.hexdigest()

    def commit(self, expected: str | None = None, size: int | None = None) -> Blob:
        """Keep what was written. VerifyError when it is not `expected` (or not `size` bytes)."""
        digest = self.digest
        if size is not None and size != self.size:
            raise VerifyError(
                "a blob does not have the announced size",
                details=f"{self.size} bytes came, {size} were announced",
                resolution="Try again. If the error persists, the source is damaged.",
            )
        _expect(digest, expected)
        with self._store.space():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._store.adopt(self._path, digest)
        return Blob(digest, self.size)

    def close(self) -> None:
        """Forget what was not committed."""
        with contextlib.suppress(OSError):  # a full disk may speak up again here
            self._file.close()
        self._path.unlink(missing_ok=True)


def _expect(digest: str, expected: str | None) -> None:
    if expected is not None and digest != check_digest(expected):
        raise VerifyError(
            "content does not match its digest",
            details=f"is {digest}, should be {expected}",
            resolution="Try again. If the error persists, the source is damaged or was altered.",
        )


class Store:
    """A folder of blobs. It is created on first use; several processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._scratch: Scratch | None = None
        self._making = threading.Lock()

    def _prepare(self) -> Path:
        blobs = self.root / "blobs" / "sha256"
        for folder in (self.root, self.root / "blobs", blobs, self.root / "tmp"):
            with self.space():
                files.private_folder(folder, setting="PORTKIT_STORE")
        layout = self.root / "oci-layout"
        if not layout.exists():
            self._write_small(layout, b'{"imageLayoutVersion":"1.0.0"}\n')
        return blobs

    @contextmanager
    def space(self) -> Iterator[None]:
        """A full or read-only disk becomes a SpaceError."""
        try:
            yield
        except OSError as error:
            # A full disk, a full quota, a disk that was mounted read-only after an error.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            raise SpaceError(
                f"the Store cannot be written: {error.strerror}",
                details=str(self.root),
                resolution="Free some space there, or set PORTKIT_STORE to a folder with more "
                "space.",
            ) from error

    def free(self) -> int:
        """Bytes of room on its file system."""
        return shutil.disk_usage(self._prepare()).free

    def require(self, need: int, brief: str) -> None:
        """SpaceError with that brief when so many bytes more plainly do not fit."""
        free = self.free()
        if need > free:
            raise SpaceError(
                brief,
                details=f"{need} bytes needed, {free} free in {self.root}",
                resolution="Free some space there, or set PORTKIT_STORE to a folder with more "
                "space.",
            )

    # ---------------------------------------------------------------- blobs

    def path(self, digest: str) -> Path:
        """Where the blob is or would be. VerifyError when `digest` is malformed."""
        return self.root / "blobs" / "sha256" / check_digest(digest).removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        """Whether the blob is here and undamaged. It is hashed before its first use in a process;
        a damaged one is removed."""
        with self.space():
            return soundness.is_sound(self.path(digest))

    def content(self, digest: str) -> Path:
        """The file of a blob, to be read; VerifyError when it is not here or is damaged."""
        path = self.path(digest)
        if not path.exists():
            raise self._missing(digest)
        if not self.has(digest):
            raise VerifyError(
                "a blob in the Store was damaged and has been removed",
                details=str(path),
                resolution="Run the same command again, which creates or fetches what is "
                "missing. If it happens again, check this machine's disk and memory.",
            )
        return path

    def size(self, digest: str) -> int:
        """Bytes of the raw content; VerifyError when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise self._missing(digest) from error

    def _missing(self, digest: str) -> VerifyError:
        return VerifyError(
            "a blob is not in the Store",
            details=f"{digest} in {self.root}",
            resolution="Pack the App again.",
        )

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """A blob to be written; gone again when the block is left without `commit`."""
        writer = Writer(self, self.temporary())
        try:
            yield writer
        finally:
            writer.close()

    def scratch(self) -> Path:
        """The folder of this Store object for what is not finished, on the Store's file system. It
        is removed with the object, or by the next process after a kill."""
        # A second one would take the place of the first, which is removed with all that another
        # thread is writing in it.
        with self._making:
            # Somebody may have cleared the Store's tmp while this process was running.
            if self._scratch is None or not self._scratch.path.is_dir():
                self._prepare()
                with self.space():
                    self._scratch = Scratch(self.root / "tmp")
            return self._scratch.path

    def notes(self) -> Path:
        """The folder for small files that outlive their process; see `transfer.deliver.Note`."""
        self._prepare()
        return self.root / "tmp"

    def temporary(self, suffix: str = "") -> Path:
        """A name inside the Store that nobody can predict; the caller makes and removes it."""
        return self.scratch() / (secrets.token_hex(16) + suffix)

    def put_bytes(self, data: bytes) -> Blob:
        """Keep a small blob; SpaceError when there is no room."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def read_bytes(self, digest: str, limit: int) -> bytes:
        """The content of a small blob; VerifyError when it is over `limit` or altered."""
        if self.size(digest) > limit:
            raise VerifyError(
                "a blob is larger than allowed",
                details=f"{digest}: {self.size(digest)} bytes, at most {limit}",
                resolution="It was not made by portkit; pack the App again.",
            )
        data = self.path(digest).read_bytes()
        # Small and read as a whole: hashed each time, whatever was seen of the file before.
        _expect("sha256:" + hashlib.sha256(data).hexdigest(), digest)
        return data

    def add_file(self, path: Path, expected: str | None = None, *, move: bool = False) -> Blob:
        """Take a file in as a blob; holes stay holes. `move`: the file itself, same file system."""
        target = path
        if not move:
            target = self.temporary()
            with self.space():
                copy_sparse(path, target)
        try:
            digest = "sha256:" + hash_sparse(target)
            _expect(digest, expected)
            size = target.stat().st_size
            self._prepare()
            with self.space(), target.open("rb") as file:
                os.fsync(file.fileno())
            self.adopt(target, digest)
        finally:
            if not move:
                target.unlink(missing_ok=True)
        return Blob(digest, size)

    def adopt(self, path: Path, digest: str) -> None:
        """Give a finished file of this file system, already hashed and synced, its final name."""
        self._prepare()
        path.chmod(0o600)
        # rename(2) replaces a blob of that name, which has the same content.
        path.replace(self.path(digest))
        _sync_folder(self.root / "blobs" / "sha256")
        soundness.trust(self.path(digest))

    def discard(self, digests: Iterable[str]) -> None:
        """Remove blobs that were made here and that nobody is going to need."""
        for digest in digests:
            self.path(digest).unlink(missing_ok=True)

    def newest(self, limit: int, least: int = 0) -> list[Blob]:
        """At most `limit` blobs of at least so many bytes, the last written first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.root / "blobs" / "sha256"):
                with contextlib.suppress(FileNotFoundError):
                    row = entry.stat()
                    if len(entry.name) == 64 and row.st_size >= least:
                        found.append((row.st_mtime, "sha256:" + entry.name, row.st_size))
        return [Blob(digest, size) for _, digest, size in sorted(found, reverse=True)[:limit]]

    # ---------------------------------------------------------------- what is known

    def save(self, artifact: Artifact, key: str) -> None:
        """Remember an Artifact under `key`; what had that key before is forgotten."""
        manifest = self.put_bytes(json.dumps(manifest_of(artifact), sort_keys=True).encode())
        with self._locked():
            rows = [row for row in self._index() if _key(row) != key]
            rows.append(
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": manifest.digest,
                    "size": manifest.size,
                    "annotations": {_KEY: key},
                }
            )
            index = {"schemaVersion": 2, "manifests": rows}
            self._write_small(self.root / "index.json", json.dumps(index, indent=1).encode())

    def find(self, key: str) -> Artifact | None:
        """The Artifact of that key, if it is known and all its blobs are here, undamaged."""
        for row in self._index():
            if _key(row) != key:
                continue
            if not self.has(row["digest"]):
                return None
            artifact = artifact_from(self.read_bytes(row["digest"], _INDEX_LIMIT))
            # All or nothing: an Artifact that lacks a blob is made again, which adds only that one.
            here = all(self.has(b.digest) and self.size(b.digest) == b.size for b in artifact.blobs)
            return artifact if here else None
        return None

    def _index(self) -> list[JsonObject]:
        path = self.root / "index.json"
        try:
            with path.open("rb") as file:
                return _rows(file.read(_INDEX_LIMIT + 1))
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise PortkitError(
                "the Store's index cannot be read",
                details=f"{path}: {error}",
                resolution=f"Move {path} away; portkit then packs artifacts again.",
            ) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._prepare()
        # "a" creates the file and does not empty it; nothing is ever written to it.
        with (self.root / "lock").open("a") as file:
            os.fchmod(file.fileno(), 0o600)
            # Several processes may add to the index at once; each reads it, changes it and writes
            # it whole.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_small(self, path: Path, data: bytes) -> None:
        with self.space():
            with files.whole(path) as file:
                file.write(data)
            _sync_folder(path.parent)


def _rows(data: bytes) -> list[JsonObject]:
    """The entries of an index; ValueError when it is none."""
    if len(data) > _INDEX_LIMIT:
        raise ValueError(f"it has more than {_INDEX_LIMIT} bytes")
    index = strict_json.loads(data)
    rows = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(rows, list):
        raise ValueError("it has no list of manifests")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("digest"), str):
            raise ValueError("an entry has no digest")
        if not isinstance(row.get("annotations", {}), dict):
            raise ValueError("the annotations of an entry are no object")
    return rows


def _key(row: JsonObject) -> object:
    return row.get("annotations", {}).get(_KEY)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
