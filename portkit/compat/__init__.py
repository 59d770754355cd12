"""What an App needs held against what a host has: Findings, before a byte moves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from portkit.model import (
    Artifact,
    Blob,
    Facts,
    Finding,
    Firmware,
    Form,
    ImageConfig,
    Port,
    RunSpec,
    Severity,
    Verdict,
)

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
_VOLUMES = 24  # vdc to vdz
_ANY = {"", "0.0.0.0", "::"}  # noqa: S104 - read from the host or an App
# One file system's free bytes, read twice within a moment, are no further apart.
_APART = 64 << 20


def check(spec: RunSpec, image: ImageConfig, facts: Facts, form: Form) -> tuple[Finding, ...]:
    """Findings of an App in a Form on a host, but for `space`."""
    return (
        *_architecture(image, facts, form),
        *_engine(facts, form),
        *_memory(spec, facts, form),
        *_ports(spec, facts),
        *_privilege(spec, form),
        *(_guest(spec, facts) if form is Form.DISK else ()),
    )


def verdict(findings: Iterable[Finding], facts: Facts, form: Form) -> Verdict:
    """The one word for them."""
    if any(finding.severity is _ERROR for finding in findings):
        return Verdict.INCOMPATIBLE
    if facts.architecture not in ("amd64", "arm64"):
        return Verdict.UNKNOWN
    if form is Form.DISK and facts.accelerator != "kvm":
        return Verdict.EMULATED
    return Verdict.NATIVE


def space(
    facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]], more: int = 0
) -> tuple[Finding, ...]:
    """Whether a host has room for all that is to come at once.

    new: Artifacts with those of their blobs that the host lacks. more: bytes of the Store beside
    them, of disks that are not made yet.
    """
    store, engine = _needs(facts, new)
    store += more
    free, room = facts.store_free_bytes, facts.docker_free_bytes
    if room is None or abs(free - room) <= _APART:  # one file system
        free = free if room is None else min(free, room)
        fits = store + engine <= free
        seen = f"{free} are free on the host"
    else:
        fits = store <= free and engine <= room
        seen = f"the Store: {store} of {free} free; the Docker Engine: {engine} of {room} free"
    if fits:
        return ()
    return (
        Finding(
            "space", _ERROR, f"{store + engine} bytes of disk are needed", seen,
            "Make room there, or move less at once.",
        ),
    )  # fmt: skip


def _needs(facts: Facts, new: Iterable[tuple[Artifact, Sequence[Blob]]]) -> tuple[int, int]:
    """Bytes that the Store and the Docker Engine take at most. What two have in common is taken
    once; the Store keeps what is loaded until the connection ends."""
    sizes: dict[str, int] = {}
    layers = largest = 0
    for artifact, blobs in new:
        fresh = {blob.digest: blob.size for blob in blobs if blob.digest not in sizes}
        if artifact.form is Form.DISK:  # its holes take no room
            fresh = {digest: min(size, artifact.stored_bytes) for digest, size in fresh.items()}
        else:
            own = sum(fresh.get(digest, 0) for digest in set(artifact.config.diff_ids))
            layers, largest = layers + own, max(largest, own)
        sizes |= fresh
    # The containerd store keeps a layer as it came and unpacked; other engines unpack the whole
    # archive beside their layers while they load it (moby, image/tarexport).
    twice = layers if facts.docker_store == "containerd" else largest
    return sum(sizes.values()), layers + twice


def clashes(ports: Mapping[str, Sequence[Port]]) -> dict[str, tuple[Finding, ...]]:
    """What Apps that go to one host publish twice, told to both; ports: by the App's name."""
    found: dict[str, list[Finding]] = {name: [] for name in ports}
    for (one, first), (other, second) in combinations(ports.items(), 2):
        for mine in first:
            for theirs in second:
                if (mine.host_port, mine.protocol) != (theirs.host_port, theirs.protocol):
                    continue
                if not _meet(mine.host_ip, theirs.host_ip):
                    continue
                row = Finding(
                    "port-shared", _ERROR,
                    f"port {mine.host_port} is published by {one} and by {other}",
                    f"{mine.protocol} on {mine.host_ip or 'every address'} and on "
                    f"{theirs.host_ip or 'every address'}",
                    "Publish another port, or move one of them to another host.",
                )  # fmt: skip
                found[one].append(row)
                found[other].append(row)
    return {name: tuple(dict.fromkeys(rows)) for name, rows in found.items()}


def _meet(one: str, other: str) -> bool:
    """Whether two addresses to listen on have one in common."""
    return one == other or not _ANY.isdisjoint((one, other))


def _architecture(image: ImageConfig, facts: Facts, form: Form) -> Iterator[Finding]:
    if form is Form.DISK and image.architecture != "amd64":
        yield Finding(
            "kit", _ERROR, f"portkit makes no disks for {image.architecture}", "",
            "Move the image.",
        )  # fmt: skip
    if image.architecture != facts.architecture:
        yield Finding(
            "architecture",
            _ERROR,
            f"the image is for {image.architecture}, the host is {facts.architecture}",
            f"{facts.host}: {facts.architecture}",
            f"Build the image for {facts.architecture}.",
        )


def _engine(facts: Facts, form: Form) -> Iterator[Finding]:
    if form is Form.IMAGE and facts.docker_version is None:
        yield Finding(
            "engine", _ERROR, "no Docker Engine answers on the host", facts.host,
            "Install docker.io there, or start it: systemctl start docker.",
        )  # fmt: skip
    if form is Form.DISK and (facts.libvirt_version is None or facts.qemu_version is None):
        yield Finding(
            "engine", _ERROR, "libvirt with QEMU is not on the host", facts.host,
            "Install libvirt-daemon-system and qemu-system-x86 there.",
        )  # fmt: skip
    if form is Form.DISK and facts.accelerator != "kvm":
        yield Finding(
            "accelerator", _WARNING, "the VM's processor would be emulated, some ten times slower",
            facts.accelerator_note, "Use a host with working KVM where speed matters.",
        )  # fmt: skip


def _memory(spec: RunSpec, facts: Facts, form: Form) -> Iterator[Finding]:
    need = spec.machine.memory_bytes if form is Form.DISK else spec.mem_limit_bytes or 0
    if need > facts.memory_bytes:
        severity = _ERROR if form is Form.DISK else _WARNING
        yield Finding(
            "memory", severity, f"{need} bytes of memory are asked for",
            f"the host has {facts.memory_bytes}", "Ask for less: x-portkit.memory or mem_limit.",
        )  # fmt: skip
    elif need > facts.memory_available_bytes:
        yield Finding(
            "memory", _WARNING, f"{need} bytes of memory are asked for, not all of it is free",
            f"{facts.memory_available_bytes} bytes are available on the host", "Free some there.",
        )  # fmt: skip


def _ports(spec: RunSpec, facts: Facts) -> Iterator[Finding]:
    for port in spec.ports:
        for address, number in facts.listening_udp if port.protocol == "udp" else facts.listening:
            if number == port.host_port and _meet(port.host_ip, address):
                yield Finding(
                    "port-free", _ERROR, f"port {number} is taken on the host",
                    f"something listens on {address}:{number}",
                    "Publish another port, or stop what listens there.",
                )  # fmt: skip
                break


def _guest(spec: RunSpec, facts: Facts) -> Iterator[Finding]:
    """What only a VM lacks or needs."""
    for port in spec.ports:
        if port.host_port < facts.unprivileged_port_start:
            yield Finding(
                "port-low", _ERROR,
                f"QEMU runs without rights and cannot publish port {port.host_port}",
                f"{facts.host}: ip_unprivileged_port_start is {facts.unprivileged_port_start}",
                f"Publish {facts.unprivileged_port_start} or more, or on the host: "
                f"sysctl net.ipv4.ip_unprivileged_port_start={port.host_port}",
            )  # fmt: skip
        if ":" in port.host_ip:
            yield Finding(
                "port-ipv6", _ERROR, "user-mode networking publishes on IPv4 addresses only",
                f"{port.host_ip} is asked for", "Publish on an IPv4 address, or move the image.",
            )  # fmt: skip
    volumes = sum(mount.type == "volume" for mount in spec.mounts)
    if volumes > _VOLUMES:
        yield Finding(
            "volumes", _ERROR, f"a VM takes at most {_VOLUMES} volumes", f"{volumes} are asked for",
            "Put several folders into one volume, or move the image.",
        )  # fmt: skip
    if facts.missing_tools:
        yield Finding(
            "tools", _ERROR, f"the host lacks {' and '.join(facts.missing_tools)}", facts.host,
            "Install qemu-utils and e2fsprogs there.",
        )  # fmt: skip
    if spec.machine.firmware is Firmware.UEFI and not facts.uefi:
        yield Finding(
            "firmware", _ERROR, "the host has no UEFI firmware for guests", facts.host,
            "Install ovmf there, or leave x-portkit.firmware out.",
        )  # fmt: skip
    if spec.healthcheck is not None and spec.healthcheck.test[:1] not in ((), ("NONE",)):
        yield Finding(
            "healthcheck", _INFO, "the guest does not run the healthcheck", "",
            "Watch the health URL from outside.",
        )  # fmt: skip
    if spec.init:
        yield Finding(
            "init", _INFO, "the guest runs the app itself as PID 1, without a small init", "",
            "Leave `init:` out, or put one into the image.",
        )  # fmt: skip


def _privilege(spec: RunSpec, form: Form) -> Iterator[Finding]:
    if spec.privileged and form is Form.IMAGE:
        yield Finding(
            "privileged", _WARNING, "the container has every right on the host's kernel", "",
            "Name the capabilities that it needs: cap_add.",
        )  # fmt: skip
