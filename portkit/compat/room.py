"""Memory, disk space and the number of disks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from portkit.compat.rule import Case, Found, linux_of
from portkit.model import Artifact, Blob, Facts, Form, Severity

MAX_VOLUMES = 24  # virtio disks vdc to vdz: vda is the root, vdb the configuration
_OVERCOMMIT, _ALWAYS, _STRICTLY = "vm.overcommit_memory", 1, 2
# Two readings of one file system's free bytes, taken within a moment, differ by no more than that.
_SAME_FILE_SYSTEM_BYTES = 64 << 20


@dataclass(frozen=True)
class Load:
    """Everything that comes to a host in one command.

    new: Artifacts, each with those of its blobs that the host lacks. more: further bytes for its
    Store, of disks that are not made yet.
    """

    facts: Facts
    new: tuple[tuple[Artifact, Sequence[Blob]], ...]
    more: int = 0


def guest_memory(case: Case) -> Iterator[Found]:
    """A VM cannot have more memory than the host has with its swap, and swaps where it has more
    than the host has without. A host may also promise any amount, or promise less."""
    need, facts = case.app.machine.memory_bytes, case.facts
    severity = beyond_memory(need, facts)
    if severity is not None:
        yield replace(_too_much(need, facts), severity=severity)


def beyond_memory(need: int, facts: Facts) -> Severity | None:
    """How bad it is that a VM is to have so much memory; None where it is not. Linux refuses QEMU
    what memory and swap together do not have, or nothing, or what exceeds a limit
    (vm.overcommit_memory of 0, 1 and 2; mm/util.c)."""
    has, mode = facts.memory_bytes, linux_of(facts).number(_OVERCOMMIT)
    if mode == _STRICTLY:
        limit = _promised(facts)
        if limit is None:
            return Severity.UNKNOWN
        return Severity.ERROR if need > limit else Severity.WARNING if need > has else None
    if need <= has:
        return None
    if mode == _ALWAYS:
        return Severity.WARNING
    if facts.swap_bytes is None:
        return Severity.UNKNOWN
    return Severity.WARNING if need <= has + facts.swap_bytes else Severity.ERROR


def _promised(facts: Facts) -> int | None:
    """The most that Linux promises to all programs together with vm.overcommit_memory of 2; None
    where that is not known."""
    linux, swap = linux_of(facts), facts.swap_bytes
    kbytes, ratio = linux.number("vm.overcommit_kbytes"), linux.number("vm.overcommit_ratio")
    if swap is None or not (kbytes or ratio):
        return None
    return swap + (kbytes * 1024 if kbytes else facts.memory_bytes * (ratio or 0) // 100)


def of_memory(facts: Facts) -> tuple[str, ...]:
    """What a host has of memory, and how it promises it, as evidence."""
    mode = linux_of(facts).number(_OVERCOMMIT)
    rows = [f"the host has {facts.memory_bytes} bytes, and {facts.swap_bytes or 0} of swap"]
    if mode:
        limit = f", which allows {_promised(facts)} bytes" if mode == _STRICTLY else ""
        rows.append(f"{_OVERCOMMIT} is {mode}{limit}")
    return tuple(rows)


def memory_limit(case: Case) -> Iterator[Found]:
    """A container's memory limit above the host's memory has no effect."""
    need = case.spec.mem_limit_bytes or 0
    if need > case.facts.memory_bytes:
        yield _too_much(need, case.facts)


def memory_free(case: Case) -> Iterator[Found]:
    """The host has enough memory, but others are using it at the moment."""
    guest = case.form is Form.DISK
    need = case.app.machine.memory_bytes if guest else case.spec.mem_limit_bytes or 0
    if case.facts.memory_available_bytes < need <= case.facts.memory_bytes:
        yield Found(
            f"the App asks for {need} bytes of memory, and not all of that is free on the host",
            (f"{case.facts.memory_available_bytes} bytes are available on the host",),
        )


def _too_much(need: int, facts: Facts) -> Found:
    return Found(
        f"the App asks for {need} bytes of memory, more than the host has",
        of_memory(facts),
    )


def volumes(case: Case) -> Iterator[Found]:
    """Each volume of a VM is a separate disk."""
    count = case.app.volume_count
    if count > MAX_VOLUMES:
        yield Found(f"a VM can have at most {MAX_VOLUMES} volumes", (f"the App has {count}",))


def space(load: Load) -> Iterator[Found]:
    """Whether the host has space for everything that is sent to it."""
    store, engine = needed(load)
    total = store + engine
    free, engine_free = load.facts.store_free_bytes, load.facts.docker_free_bytes
    if _one_file_system(load.facts) or engine_free is None:
        free = free if engine_free is None else min(free, engine_free)
        fits = total <= free
        evidence: tuple[str, ...] = (f"{free} bytes are free on the host",)
    else:
        fits = store <= free and engine <= engine_free
        evidence = (
            f"the Store: {store} bytes needed, {free} free",
            f"the container engine: {engine} bytes needed, {engine_free} free",
        )
    if not fits:
        yield Found(f"the host needs {total} bytes of free disk space", evidence)


def needed(load: Load) -> tuple[int, int]:
    """The most bytes that the Store and the Docker Engine take at one time."""
    need = _needs(load.facts, load.new)
    store = need.store + load.more
    if _one_file_system(load.facts):
        # The stream of a blob is removed before the engine loads the image, so that only the
        # larger of the two is needed.
        return store, need.engine + max(need.stream, need.loading)
    return store + need.stream, need.engine + need.loading


def _one_file_system(facts: Facts) -> bool:
    """Whether the Store and the engine share their free space, as far as that can be seen."""
    free, engine_free = facts.store_free_bytes, facts.docker_free_bytes
    # Two file systems with the same free bytes are taken for one: what is needed is then counted
    # once too often, which refuses a Move at worst.
    return engine_free is None or abs(free - engine_free) <= _SAME_FILE_SYSTEM_BYTES


@dataclass(frozen=True)
class _Need:
    """The most bytes of each kind.

    store, engine: what stays until the connection ends. stream: what has arrived of the blob that
    is being made. loading: what the engine needs while it loads an image.
    """

    store: int
    engine: int
    stream: int
    loading: int


def _needs(facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]]) -> _Need:
    """What two Artifacts have in common is counted once."""
    new = tuple(new)
    images = {_made_of(each): each for each, _ in new if each.form is Form.IMAGE}
    sizes: dict[str, int] = {}
    layers = largest = stream = 0
    for artifact, blobs in new:
        fresh = {blob.digest: blob.size for blob in blobs if blob.digest not in sizes}
        if artifact.form is Form.DISK:  # its holes take no room
            fresh = {digest: min(size, artifact.stored_bytes) for digest, size in fresh.items()}
        else:
            own = sum(fresh.get(digest, 0) for digest in artifact.diff_ids)
            layers, largest = layers + own, max(largest, own)
        streams = [_stream(size, artifact, images) for size in fresh.values()]
        stream = max([stream, *streams])
        sizes |= fresh
    # The containerd store keeps a layer as it came and unpacked; other engines unpack the whole
    # archive beside their layers while they load it (moby, image/tarexport).
    loading = layers if facts.docker_store == "containerd" else largest
    return _Need(sum(sizes.values()), layers, stream, loading)


def _made_of(artifact: Artifact) -> tuple[str, ...]:
    return tuple(image.digest for image in artifact.images)


def _stream(size: int, artifact: Artifact, images: Mapping[tuple[str, ...], Artifact]) -> int:
    """The most that arrives of a blob, and is kept beside it until the blob is made.

    For a disk whose image is there as well it is little. How little is known only when the two are
    compared, which takes too long for a check, so this is a cautious guess from their sizes.
    """
    image = images.get(_made_of(artifact))
    if artifact.form is Form.IMAGE or image is None:
        return size
    return min(size, max(artifact.stored_bytes - image.stored_bytes, artifact.stored_bytes // 8))
