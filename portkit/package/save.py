"""Artifacts as files that people take away: a docker-archive and a qcow2."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from portkit import files, process
from portkit.errors import AppError, ConflictError, VerifyError
from portkit.model import App, Artifact, Form, layered
from portkit.store import Store
from portkit.wire import image_archive
from portkit.wire.content import Content, Plain

# A limit of address space and of time for every call of qemu-img.
_MEMORY_BYTES = 4 << 30
_DEADLINE_S = 3600.0
# 256 K: the best of 64 K, 256 K and 2 M in a trial on a disk of 316 MB.
_OPTIONS = "compat=v3,compression_type=zstd,cluster_size=256k"
_CLUSTER_BITS = 18


def check(app: App, forms: Collection[Form]) -> None:
    """AppError where a disk as a file would not start: it runs what its image says, and nothing
    tells it of several services, or of files of the App."""
    if Form.DISK in forms and layered(app.services):
        raise AppError(
            "the App's disk cannot start on its own",
            details=f"{app.source}: it has several services, files or limits, which portkit "
            "passes to a VM when it creates it",
            resolution="Pack the whole App as a bundle (-o FILE.portkit), or only the image "
            "(--form image).",
        )


def save(artifact: Artifact, store: Store, path: Path, name: str) -> None:
    """Write an Artifact of the Store to a new file: an image as a tar for `docker load` (tagged
    portkit/NAME), a disk as a compressed qcow2. What was written is compared with the Store.

    Raises ConflictError when the file is there, AppError for several images, VerifyError when it
    does not read back equal.
    """
    if artifact.form is Form.IMAGE and len(artifact.images) > 1:
        raise AppError(
            "the App has several images, and one file can hold only one",
            details=f"{name}: {len(artifact.images)} images",
            resolution="Pack the whole App as a bundle: -o FILE.portkit.",
        )
    with placed(path, store) as fresh:
        if artifact.form is Form.IMAGE:
            _docker_archive(artifact, store, fresh, name)
        else:
            qcow2(store.content(artifact.digest), fresh)


def require_absent(path: Path) -> None:
    """ConflictError when there is something of that name."""
    if path.exists():
        raise ConflictError(
            "the file already exists",
            details=str(path),
            resolution="Remove it, or choose another place with -o.",
        )


@contextmanager
def placed(path: Path, store: Store) -> Iterator[Path]:
    """A name beside `path` for a file that the block makes; it becomes `path` when the block ends.

    Raises ConflictError when `path` is there, SpaceError when the disk is full.
    """
    require_absent(path)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with store.space():
            yield fresh
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)


def tag_of(name: str, artifact: Artifact) -> str:
    """The name that an image has in an engine that loads its file."""
    return f"portkit/{name}:{artifact.digest.removeprefix('sha256:')[:12]}"


def _docker_archive(artifact: Artifact, store: Store, path: Path, name: str) -> None:
    layers = list(artifact.config.diff_ids)
    contents: dict[str, Content] = {
        digest: Plain(store.content(digest)) for digest in dict.fromkeys(layers)
    }
    config = store.content(artifact.config.digest)
    stream, _ = image_archive.docker_archive(config, layers, contents, tag_of(name, artifact))
    try:
        with files.create(path) as out:
            for data in stream:
                out.write(data)
    finally:
        for source in contents.values():
            source.close()


def qcow2(raw: Path, path: Path) -> None:
    """The compressed qcow2 of a raw disk; VerifyError or ToolError when it is not equal."""
    # Made before qemu-img opens it, so that its mode is 0600 from the start.
    files.write(path, b"")
    qemu_img(
        "convert", "-c", "-W", "-m", "4", "-f", "raw", "-O", "qcow2", "-o", _OPTIONS, raw, path
    )
    with path.open("rb") as file:
        check_header(file.read(112))
    # It exits with 1 when the contents differ; `process.run` raises then.
    qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", raw, path)


def qemu_img(*words: str | Path) -> None:
    """Run qemu-img; ToolError when it fails, or when what it compares differs."""
    process.run(["qemu-img", *words], timeout=_DEADLINE_S, memory_bytes=_MEMORY_BYTES)


def check_header(head: bytes) -> None:
    """VerifyError unless this is the header that `save` asks for: version 3, no backing file, no
    external data, zstd. Source: QEMU docs/interop/qcow2, "Header"."""
    if len(head) < 112:
        raise _strange("it is shorter than a header")
    magic, version, backing, _, bits = struct.unpack_from(">4sIQII", head)
    incompatible, _, _, _, length, compression = struct.unpack_from(">QQQIIB", head, 72)
    if magic != b"QFI\xfb" or version != 3 or length < 105:
        raise _strange(f"magic {magic!r}, version {version}, header of {length} bytes")
    if backing:
        raise _strange("it names a backing file")
    # Bit 3 says that the compression type is not the old default; the others are dirt, corruption,
    # external data and extended entries.
    if incompatible != 1 << 3 or compression != 1:
        raise _strange(f"incompatible features {incompatible:#x}, compression {compression}")
    if bits != _CLUSTER_BITS:
        raise _strange(f"clusters of 2^{bits} bytes")


def _strange(why: str) -> VerifyError:
    return VerifyError(
        "qemu-img did not write the qcow2 file as requested",
        details=why,
        resolution="Update qemu-utils (5.1 or newer writes zstd clusters).",
    )
