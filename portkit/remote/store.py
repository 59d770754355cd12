"""The host's Store: /var/lib/portkit/store (or $PORTKIT_REMOTE_STORE), blobs by sha256."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Set

from portkit.remote.channel import Channel
from portkit.wire import claims, codec
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

ROOT = Path(os.environ.get("PORTKIT_REMOTE_STORE", "/var/lib/portkit/store"))
TEMPORARY: List[Path] = []  # removed when the connection ends
RETIRED: Dict[str, Path] = {}  # blobs that are kept as long, to make others from
VERIFIED: Set[str] = set()  # blobs that this connection has made, and hashed while it did
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def path_of(digest: object) -> Path:
    """Where a blob is or would be; VerifyError for anything that is no digest, since this becomes a
    file's name."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RemoteError("VerifyError", "a digest is not valid", repr(digest)[:100])
    return ROOT / "blobs" / "sha256" / digest[7:]


def temporary_folder() -> Path:
    """A folder of this connection on the Store's file system, 0700, gone when it ends."""
    if not TEMPORARY:
        base = ROOT / "tmp"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (ROOT, base):
            folder.chmod(0o700)
        # Locked as long as this process lives: others may remove what has no owner.
        TEMPORARY.append(claims.make(base)[0])
    return TEMPORARY[0]


def temporary() -> Path:
    """A name for a file of this connection, which nobody can predict; the caller makes the file."""
    return temporary_folder() / secrets.token_hex(8)


def decoded(channel: Channel, encoding: str, size: int) -> Iterator[bytes]:
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
        raise RemoteError("VerifyError", "the data that arrived is damaged", str(error)) from error
    if done != size:
        raise RemoteError(
            "VerifyError",
            "the data that arrived does not have the announced size",
            "%d bytes of %d" % (done, size),
        )


def find(digest: str) -> Optional[Path]:
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


def has(args: JsonObject, channel: Channel) -> JsonObject:
    """Which of the digests are here, with their sizes."""
    found = {}
    for digest in args["digests"]:
        path = find(digest)
        if path is not None:
            found[digest] = path.stat().st_size
    return {"have": found}


def sync_folder(path: Path) -> None:
    """Write a folder's entries to the disk: fsync(2) of a file says nothing about its name."""
    folder = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove(digests: Iterable[str]) -> None:
    """Remove blobs, whoever needs them: see `portkit.remote.moves.remove`."""
    for digest in digests:
        for path in (path_of(digest), RETIRED.pop(digest, None)):
            if path is not None:
                path.unlink(missing_ok=True)
