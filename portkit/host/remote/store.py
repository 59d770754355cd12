"""The host's Store: /var/lib/portkit/store (or $PORTKIT_REMOTE_STORE), blobs by sha256."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional

from portkit.host.remote import codec
from portkit.host.remote.frames import RemoteError

ROOT = Path(os.environ.get("PORTKIT_REMOTE_STORE", "/var/lib/portkit/store"))
TEMPORARY: List[Path] = []  # removed when the connection ends
RETIRED: Dict[str, Path] = {}  # blobs that are kept as long, to make others from
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


def path_of(digest: Any) -> Path:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RemoteError("VerifyError", "a digest is malformed", repr(digest)[:100])
    return ROOT / "blobs" / "sha256" / digest[7:]


def temporary_folder() -> Path:
    """A folder of this connection on the Store's file system, 0700, gone when it ends."""
    if not TEMPORARY:
        base = ROOT / "tmp"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (ROOT, base):
            folder.chmod(0o700)
        TEMPORARY.append(Path(tempfile.mkdtemp(dir=str(base))))
    return TEMPORARY[0]


def temporary() -> Path:
    return temporary_folder() / secrets.token_hex(8)


def decoded(channel: Any, encoding: str, size: int) -> Iterator[bytes]:
    """The content of the call's data; VerifyError when it is damaged or not `size` bytes."""
    decoder = codec.Decompressor(encoding)
    done = 0
    try:
        for chunk in channel.receive():
            for data in decoder.feed(chunk):
                done += len(data)
                if done > size:
                    break
                yield data
            if done > size:
                break
        if done == size:
            decoder.finish()
    except ValueError as error:
        raise RemoteError("VerifyError", "what arrived is damaged", str(error)) from error
    if done != size:
        raise RemoteError(
            "VerifyError",
            "what arrived has not the size it was announced with",
            "%d bytes of %d" % (done, size),
        )


def find(digest: Any) -> Optional[Path]:
    """The file of a blob that is here, if only for this connection."""
    for path in (path_of(digest), RETIRED.get(digest)):
        if path is not None and path.is_file():
            return path
    return None


def retire(digests: Iterable[str]) -> None:
    """Take blobs out of the Store when the connection ends: others may be made from them."""
    for digest in digests:
        path = path_of(digest)
        if path.is_file():
            RETIRED[digest] = temporary_folder() / path.name
            path.replace(RETIRED[digest])


def has(args: Dict[str, Any], channel: Any) -> Dict[str, Any]:
    """Which of the digests are here, with their sizes."""
    found = {}
    for digest in args["digests"]:
        path = find(digest)
        if path is not None:
            found[digest] = path.stat().st_size
    return {"have": found}


def put(args: Dict[str, Any], channel: Any) -> Dict[str, Any]:
    """Receive one blob; it gets its name only when its sha256 is right."""
    target = path_of(args["digest"])
    path = receive_file(args, channel)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.replace(target)
    sync_folder(target.parent)
    return {"size": args["size"]}


def sync_folder(path: Path) -> None:
    folder = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def receive_file(args: Dict[str, Any], channel: Any) -> Path:
    """The call's data as a verified temporary file; blocks of zeros become holes."""
    size = int(args["size"])
    path = temporary()
    descriptor = os.open(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    total = hashlib.sha256()
    position = 0
    try:
        os.ftruncate(descriptor, size)
        for data in decoded(channel, args["encoding"], size):
            total.update(data)
            _write_sparse(descriptor, data, position)
            position += len(data)
        digest = "sha256:" + total.hexdigest()
        if digest != args["digest"]:
            raise RemoteError(
                "VerifyError",
                "what arrived does not match its digest",
                "is %s, should be %s" % (digest, args["digest"]),
                "Try again; nothing was started.",
            )
        os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
    return path


def _write_sparse(descriptor: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    start = 0
    while start < len(view):
        # Cut at block bounds of the file, so that whole blocks of zeros stay holes.
        length = min(_BLOCK - (position + start) % _BLOCK, len(view) - start)
        part = view[start : start + length]
        if part != _ZEROS[:length]:
            os.pwrite(descriptor, part, position + start)
        start += length


def remove(args: Dict[str, Any], channel: Any) -> Dict[str, Any]:
    for digest in args["digests"]:
        for path in (path_of(digest), RETIRED.pop(digest, None)):
            if path is not None:
                path.unlink(missing_ok=True)
    return {}
