"""Receiving a blob as a recipe, and going on where a cut connection ended.

ROOT/parts/HEX.KEY    the compressed bytes of a recipe that came so far; KEY names how it was made

A part is read again from its start by the connection that goes on with it, so nothing but its
bytes has to be remembered. The stream ends with the sha256 of all its compressed bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Iterator, List, Sequence

from portkit.remote import layers, store
from portkit.remote.channel import Channel
from portkit.wire import claims, codec, recipe
from portkit.wire.content import Content
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

_KEY = re.compile(r"[0-9a-f]{32}")
_CHUNK = 1 << 20
_TRAILER = 32  # sha256 of the compressed bytes before it
# Seconds. A Move that goes on later than a day after it was cut sends its blob from the start.
_STALE_S = 86400.0
# More than any image has layers; each is an open file here.
_BASES = 4096


def _folder() -> Path:
    folder = store.ROOT / "parts"
    store.temporary_folder()  # makes ROOT, private
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _part(args: JsonObject) -> Path:
    digest, key = store.path_of(args["digest"]).name, args["key"]
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise RemoteError(
            "VerifyError", "the key of a partial transfer is not valid", repr(key)[:100]
        )
    return _folder() / (digest + "." + key)


def sweep(now: float) -> None:
    """Remove the parts that nobody went on with for a day, and what killed connections left."""
    for path in [*_folder().iterdir(), *(store.ROOT / "tmp").iterdir()]:
        try:
            used = max(each.stat().st_mtime for each in (path, *path.glob("*")))
        except FileNotFoundError:  # its owner is at work
            continue
        if now - used <= _STALE_S or claims.is_held(path):
            continue
        if path.is_dir():
            shutil.rmtree(str(path), ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def forget(digest: str) -> None:
    """Remove what has come of a blob whose transfer was cut."""
    for part in _folder().glob(store.path_of(digest).name + ".*"):
        part.unlink(missing_ok=True)


def offer(args: JsonObject, channel: Channel) -> JsonObject:
    """How much of a blob's recipe is here: bytes and their sha256. Takes it over, so that a
    connection that hangs cannot write to it any more.

    args: digest, key, room (bytes that blob and stream will take here). With peek the size is told
    alone (the sha256 is that of nothing), and nothing taken over.
    """
    part = _part(args)
    sweep(time.time())
    total = hashlib.sha256()
    held = part.stat().st_size if part.exists() else 0
    if args.get("peek"):
        return {"size": held, "sha256": total.hexdigest()}
    for other in part.parent.glob(part.name[:64] + ".*"):
        if other != part:  # made otherwise: it fits nothing that comes now
            other.unlink(missing_ok=True)
    _check_room(max(int(args["room"]) - held, held))  # it is copied
    # Copied and renamed over the old one: a connection that still has the old file open writes into
    # a file without a name.
    fresh = store.temporary()
    size = 0
    with fresh.open("xb") as out:
        if part.exists():
            with part.open("rb") as file:
                for data in iter(lambda: file.read(_CHUNK), b""):
                    total.update(data)
                    out.write(data)
                    size += len(data)
    if size:
        fresh.replace(part)
    else:
        fresh.unlink()
    return {"size": size, "sha256": total.hexdigest()}


def _check_room(wanted: int) -> None:
    # f_bavail: what is there for users; the last five percent of ext4 are root's, and filling them
    # stops other programs.
    found = os.statvfs(str(store.ROOT))
    free = found.f_bavail * found.f_frsize
    if wanted > free:
        raise RemoteError(
            "SpaceError",
            "the host does not have enough space for what would be sent",
            "%d bytes needed, %d free in %s" % (wanted, free, store.ROOT),
            "Free some space on the host.",
        )


def apply(args: JsonObject, channel: Channel) -> JsonObject:
    """Make a blob from its recipe; it gets its name only when its sha256 is right.

    args: digest, size, encoding, key, offset (where in the stream the call's data begins; what is
    before is in the part), bases (rows of digest and size: blobs of the Store, or layers that the
    engine has).
    """
    target, size = store.path_of(args["digest"]), int(args["size"])
    part = _part(args)
    made = store.temporary()
    descriptor = os.open(str(made), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with ExitStack() as stack:
            bases = _bases(args["bases"], stack)
            kept = stack.enter_context(part.open("a+b"))
            try:
                _make(args, channel, bases, kept, recipe.Target(descriptor, size))
            except ValueError as error:
                _forget(part, kept)
                raise RemoteError(
                    "VerifyError", "the data that arrived is damaged", str(error), "Try again."
                ) from error
            # Content, then name, then folder: after a power cut a blob is there as a whole or not
            # at all.
            os.fsync(descriptor)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.replace(target)
            store.VERIFIED.add(args["digest"])
            store.sync_folder(target.parent)
            _forget(part, kept)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return {"size": size}


def _forget(part: Path, kept: BinaryIO) -> None:
    """Remove a part, unless another connection has taken it over."""
    mine = os.fstat(kept.fileno())
    try:
        found = part.stat()
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
        part.unlink()


def _make(
    args: JsonObject,
    channel: Channel,
    bases: Sequence[Content],
    kept: BinaryIO,
    target: recipe.Target,
) -> None:
    offset = int(args["offset"])
    if not 0 <= offset <= os.fstat(kept.fileno()).st_size:
        raise ValueError("the sender goes on behind the end of what is here")
    # What the sender does not go on behind, it makes anew.
    os.ftruncate(kept.fileno(), offset)
    # What was here is decompressed again: a decoder's state cannot be stored.
    came = _arriving(kept, channel, offset)
    recipe.apply(_plain(_checked(came), args["encoding"]), bases, target)
    if target.digest() != args["digest"]:
        raise ValueError("is %s, should be %s" % (target.digest(), args["digest"]))


def _arriving(kept: BinaryIO, channel: Channel, held: int) -> Iterator[bytes]:
    """The `held` bytes that were here, then those that come; these are kept before they are used.
    What else is in the file, a connection has written that had it open before."""
    done = 0
    while done < held:
        data = os.pread(kept.fileno(), min(_CHUNK, held - done), done)
        if not data:
            raise ValueError("what is here became shorter while it was read")
        yield data
        done += len(data)
    for chunk in channel.receive():
        kept.write(chunk)
        kept.flush()
        yield chunk


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """All but the trailer, held against it at the end."""
    total = hashlib.sha256()
    tail = b""
    for chunk in chunks:
        data = tail + chunk
        # Whether 32 bytes are the trailer is known only when nothing follows them.
        data, tail = data[:-_TRAILER], data[-_TRAILER:]
        total.update(data)
        if data:
            yield data
    if tail != total.digest():
        raise ValueError("the stream is not what was sent")


def _plain(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codec.Decompressor(encoding)
    for chunk in chunks:
        yield from decoder.feed(chunk)
    decoder.finish()


def _bases(rows: List[JsonObject], stack: ExitStack) -> List[Content]:
    """What each base is read from; VerifyError when one is not what was declared."""
    if len(rows) > _BASES:
        raise RemoteError("VerifyError", "the recipe has too many bases", str(len(rows)))
    found = layers.gather([row["digest"] for row in rows])
    for source in found.values():
        stack.callback(source.close)
    for row in rows:
        if found[row["digest"]].size != row["size"]:
            why = "a base does not have the size that was declared"
            raise RemoteError("VerifyError", why, row["digest"])
    return [found[row["digest"]] for row in rows]
