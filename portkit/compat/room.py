"""Memory, disk space and the number of disks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from portkit.compat.rule import Case, Found
from portkit.model import Artifact, Blob, Facts, Form

MAX_VOLUMES = 24  # virtio disks vdc to vdz: vda is the root, vdb the configuration
# Two readings of one file system's free bytes, taken within a moment, differ by no more than that.
_SAME_FILE_SYSTEM_BYTES = 64 << 20


@dataclass(frozen=True)
class Load:
    """All that is to come to a host at once.

    new: Artifacts with those of their blobs that the host lacks. more: bytes of its Store beside
    them, of disks that are not made yet.
    """

    facts: Facts
    new: tuple[tuple[Artifact, Sequence[Blob]], ...]
    more: int = 0


def guest_memory(case: Case) -> Iterator[Found]:
    """A VM cannot have more memory than the host."""
    need = case.spec.machine.memory_bytes
    if need > case.facts.memory_bytes:
        yield _too_much(need, case.facts)


def memory_limit(case: Case) -> Iterator[Found]:
    """A container's limit above the host's memory is no limit."""
    need = case.spec.mem_limit_bytes or 0
    if need > case.facts.memory_bytes:
        yield _too_much(need, case.facts)


def memory_free(case: Case) -> Iterator[Found]:
    """The host has that much memory, but others use it now."""
    guest = case.form is Form.DISK
    need = case.spec.machine.memory_bytes if guest else case.spec.mem_limit_bytes or 0
    if case.facts.memory_available_bytes < need <= case.facts.memory_bytes:
        yield Found(
            f"{need} bytes of memory are asked for, and not all of it is free",
            (f"{case.facts.memory_available_bytes} bytes are available on the host",),
        )


def _too_much(need: int, facts: Facts) -> Found:
    return Found(
        f"{need} bytes of memory are asked for", (f"the host has {facts.memory_bytes} bytes",)
    )


def volumes(case: Case) -> Iterator[Found]:
    """Each volume of a VM is a disk of its own."""
    count = sum(mount.type == "volume" for mount in case.spec.mounts)
    if count > MAX_VOLUMES:
        yield Found(f"a VM takes at most {MAX_VOLUMES} volumes", (f"{count} are asked for",))


def space(load: Load) -> Iterator[Found]:
    """Whether the host has room for everything that is to come at once."""
    store, engine = needed(load)
    total = store + engine
    free, engine_free = load.facts.store_free_bytes, load.facts.docker_free_bytes
    if _one_file_system(load.facts) or engine_free is None:
        free = free if engine_free is None else min(free, engine_free)
        fits = total <= free
        evidence: tuple[str, ...] = (f"{free} are free on the host",)
    else:
        fits = store <= free and engine <= engine_free
        evidence = (
            f"the Store: {store} of {free} free",
            f"the Docker Engine: {engine} of {engine_free} free",
        )
    if not fits:
        yield Found(f"{total} bytes of disk are needed", evidence)


def needed(load: Load) -> tuple[int, int]:
    """Bytes at most that the Store and the Docker Engine take at one time."""
    need = _needs(load.facts, load.new)
    store = need.store + load.more
    if _one_file_system(load.facts):
        # A blob's stream is gone when the engine loads what was made of it.
        return store, need.engine + max(need.stream, need.loading)
    return store + need.stream, need.engine + need.loading


def _one_file_system(facts: Facts) -> bool:
    """Whether the Store and the engine share their free bytes, as far as that can be seen."""
    free, engine_free = facts.store_free_bytes, facts.docker_free_bytes
    # Two file systems with the same free bytes are taken for one: what is needed is then counted
    # once too often, which refuses a Move at worst.
    return engine_free is None or abs(free - engine_free) <= _SAME_FILE_SYSTEM_BYTES


@dataclass(frozen=True)
class _Need:
    """Bytes at most. store, engine: what stays there until the connection ends. stream: beside the
    one blob that is being made, for a time; loading: beside the engine's layers, for a time."""

    store: int
    engine: int
    stream: int
    loading: int


def _needs(facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]]) -> _Need:
    """What two Artifacts have in common is taken once."""
    new = tuple(new)
    images = {each.config.digest: each for each, _ in new if each.form is Form.IMAGE}
    sizes: dict[str, int] = {}
    layers = largest = stream = 0
    for artifact, blobs in new:
        fresh = {blob.digest: blob.size for blob in blobs if blob.digest not in sizes}
        if artifact.form is Form.DISK:  # its holes take no room
            fresh = {digest: min(size, artifact.stored_bytes) for digest, size in fresh.items()}
        else:
            own = sum(fresh.get(digest, 0) for digest in set(artifact.config.diff_ids))
            layers, largest = layers + own, max(largest, own)
        streams = [_stream(size, artifact, images) for size in fresh.values()]
        stream = max([stream, *streams])
        sizes |= fresh
    # The containerd store keeps a layer as it came and unpacked; other engines unpack the whole
    # archive beside their layers while they load it (moby, image/tarexport).
    loading = layers if facts.docker_store == "containerd" else largest
    return _Need(sum(sizes.values()), layers, stream, loading)


def _stream(size: int, artifact: Artifact, images: Mapping[str, Artifact]) -> int:
    """What arrives of a blob is stored beside it until it is made. Of a disk whose image is there
    as well that is little, but how little is known only when both are compared."""
    image = images.get(artifact.config.digest)
    if artifact.form is Form.IMAGE or image is None:
        return size
    return min(size, max(artifact.stored_bytes - image.stored_bytes, artifact.stored_bytes // 8))
