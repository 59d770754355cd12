"""What a host says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What was read from a Host. Sizes are in bytes; None means absent or not readable."""

    host: str
    endpoint: str
    os_id: str
    os_version: str
    os_name: str
    architecture: str  # Go's names: amd64, arm64
    kernel: str
    cpus: int
    memory_bytes: int
    memory_available_bytes: int
    store_free_bytes: int
    python: str
    docker_version: str | None = None
    # How the engine stores layers: "overlay2", or the containerd image store ("containerd"). They
    # want different archives on `docker load`.
    docker_store: str | None = None
    docker_free_bytes: int | None = None
    docker_buildx: bool = False
    libvirt_version: str | None = None
    qemu_version: str | None = None
    # "kvm" only where a guest really ran under it: the device may be there and still be refused, as
    # inside some VMs. "tcg" is QEMU's emulation.
    accelerator: str = "tcg"
    accelerator_note: str = ""
    # Seconds that a small loop of Python took there just now: slow processors and busy ones show.
    loop_s: float | None = None
    uefi: bool = False
    missing_tools: tuple[str, ...] = ()  # that a disk's Instance needs on the host
    # ip_unprivileged_port_start of ip(7): QEMU, which is not root, may publish ports from here on.
    unprivileged_port_start: int = 1024
    # Whom libvirt starts QEMU as; this user has to be able to read an Instance's disks.
    qemu_user: str | None = None
    qemu_group: str | None = None
    listening: tuple[tuple[str, int], ...] = ()  # (address, port) of TCP sockets that listen
    listening_udp: tuple[tuple[str, int], ...] = ()
    networks: tuple[str, ...] = ()  # the names of those of its Docker Engine
