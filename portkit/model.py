"""The words of portkit as frozen values. Imports no sibling but errors.

Environments and build arguments may hold passwords: they are left out of every repr.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from portkit.errors import VerifyError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# linux/capability.h, in the order of their numbers (Linux 5.9: 0 to 40).
_NUMBERED = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
CONFIG_LIMIT = 4 << 20  # bytes of an image configuration; the distribution spec's advice
CAPABILITIES = tuple("CAP_" + name for name in _NUMBERED.split())
# What Docker gives a container (moby, oci/caps/defaults.go).
DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)


def check_digest(text: str) -> str:
    """Return `text` if it is "sha256:" and 64 lower-case hex digits; VerifyError otherwise."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise VerifyError(
            "a digest is malformed",
            details=f"found {str(text)[:100]!r}, wanted sha256: and 64 hex digits",
            resolution="Make the artifact again; it was altered or made by another tool.",
        )
    return text


class Form(StrEnum):
    """What an App is made into."""

    IMAGE = "image"
    DISK = "disk"


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"


class Severity(StrEnum):
    """How much a Finding weighs: `error` stops a Move, `warning` and `info` do not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Verdict(StrEnum):
    """What the findings about a Form amount to. `emulated`: it runs, on an emulated processor."""

    NATIVE = "native"
    EMULATED = "emulated"
    INCOMPATIBLE = "incompatible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One compatibility statement.

    rule: stable name such as "port-free"; evidence: one string for each thing that was read;
    remedy: what to do.
    """

    rule: str
    severity: Severity
    message: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""


# ------------------------------------------------------------------ App


@dataclass(frozen=True)
class Port:
    """A published port. `host_ip` "" is every address; `published` None: the same number."""

    target: int
    published: int | None = None
    protocol: str = "tcp"
    host_ip: str = ""

    @property
    def host_port(self) -> int:
        return self.target if self.published is None else self.published


@dataclass(frozen=True)
class Mount:
    """A volume of a service, in compose's words. `source` "" is an anonymous volume."""

    type: str  # volume | bind | tmpfs
    target: str
    source: str = ""
    read_only: bool = False
    tmpfs_bytes: int | None = None
    tmpfs_mode: int | None = None  # None: of the image's folder there, else 1777


@dataclass(frozen=True)
class Healthcheck:
    """As in compose and the OCI config; `test` is ("CMD", ...), ("CMD-SHELL", text), ("NONE",)."""

    test: tuple[str, ...] = ()
    interval_s: float | None = None
    timeout_s: float | None = None
    retries: int | None = None
    start_period_s: float | None = None


@dataclass(frozen=True)
class Build:
    """How the image is built on the source host. `context` is a folder on this machine."""

    context: Path
    dockerfile: str = "Dockerfile"
    inline: str | None = None  # the Dockerfile itself, in place of the file
    args: Mapping[str, str] = field(default_factory=dict, repr=False)
    target: str | None = None
    network: str | None = None  # of RUN steps: "host", "none", ...


@dataclass(frozen=True)
class Ulimit:
    """-1 is unlimited."""

    soft: int
    hard: int


class Method(StrEnum):
    """How it is known that an App is up; the time to the first answer says which one it was."""

    PUBLISHED = "published"  # asked on a port that the host publishes
    HOST = "host"  # asked at an address that only the host can reach
    HEALTHCHECK = "healthcheck"  # the engine says that the App's own healthcheck passes
    RUNNING = "running"  # it has been running for some seconds


@dataclass(frozen=True)
class HealthProbe:
    """How to find out whether the app is up (x-portkit.health).

    scheme: http, https or tcp. port: the container's port, None = the first published TCP port.
    contains: text that the right answer holds (identity), "" = any. ca_file: PEM of an own CA.
    method: None = the best one that the App allows. running_s: how long an App that cannot be
    asked has to run until it counts as up. settle_s: how long after its first answer the App has
    to be running still, and to answer again.
    """

    scheme: str = "http"
    path: str = "/"
    port: int | None = None
    contains: str = ""
    ca_file: Path | None = None
    timeout_s: float = 60.0
    method: Method | None = None
    running_s: float = 10.0
    settle_s: float = 3.0


@dataclass(frozen=True)
class Machine:
    """What a VM needs and an image cannot say (x-portkit)."""

    memory_bytes: int = 512 * 1024**2
    cpus: int = 1
    disk_bytes: int | None = None  # None: the image, a quarter and 512 MiB more
    firmware: Firmware = Firmware.BIOS
    volume_bytes: int = 8 << 30  # of each volume's disk; sparse


@dataclass(frozen=True)
class Service:
    """One service in compose's words. None means "as the image says"; a variable of the environment
    that is None is taken away from the image's."""

    name: str
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    user: str | None = None
    group_add: tuple[str, ...] = ()
    working_dir: str | None = None
    hostname: str | None = None
    ports: tuple[Port, ...] = ()
    volumes: tuple[Mount, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: str = "no"  # no | always | on-failure[:N] | unless-stopped
    stop_signal: str | None = None
    stop_grace_period_s: float = 10.0
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    init: bool = False
    cpus: float | None = None
    mem_limit_bytes: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    health: HealthProbe = field(default_factory=HealthProbe)
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class App:
    """What to run, and what was noticed while it was read."""

    name: str  # [a-z0-9][a-z0-9_-]{0,62}
    services: tuple[Service, ...]
    source: str  # as the user gave it
    findings: tuple[Finding, ...] = ()

    @property
    def service(self) -> Service:
        """The one service that portkit moves for now (the reader refuses several)."""
        return self.services[0]


# ------------------------------------------------------------------ Image


@dataclass(frozen=True)
class ImageConfig:
    """The parts of an OCI image configuration that portkit acts on.

    Source: OCI image-spec v1.1, config.md; Healthcheck is Docker's extension of it.
    diff_ids: sha256 of each uncompressed layer, bottom first.
    """

    digest: str
    architecture: str
    os: str
    diff_ids: tuple[str, ...]
    env: tuple[str, ...] = field(default=(), repr=False)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    healthcheck: Healthcheck | None = None


# ------------------------------------------------------------------ Artifacts


@dataclass(frozen=True)
class Blob:
    """Content in a Store: digest ("sha256:...") and size in bytes of the raw content."""

    digest: str
    size: int


@dataclass(frozen=True)
class Artifact:
    """One App in one Form.

    digest: of its config (image) or of the disk's raw content (disk).
    blobs: everything that has to be in the target's Store or engine, in order
    (image: config, then layers bottom first; disk: kernel and initrd of its kit, the raw disk).
    """

    form: Form
    digest: str
    config: ImageConfig
    blobs: tuple[Blob, ...]
    logical_bytes: int
    stored_bytes: int
    kit: str | None = None  # digest of the GuestKit inside a disk


# ------------------------------------------------------------------ Hosts


@dataclass(frozen=True)
class Facts:
    """What was read from a Host. Sizes in bytes; None = absent or not readable."""

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
    docker_store: str | None = None  # "overlay2", "containerd", ...
    docker_free_bytes: int | None = None
    docker_buildx: bool = False
    libvirt_version: str | None = None
    qemu_version: str | None = None
    accelerator: str = "tcg"  # "kvm" only where a guest ran under it
    accelerator_note: str = ""
    uefi: bool = False
    missing_tools: tuple[str, ...] = ()  # that a disk's Instance needs on the host
    unprivileged_port_start: int = 1024  # QEMU may publish ports from here on
    qemu_user: str | None = None
    qemu_group: str | None = None
    listening: tuple[tuple[str, int], ...] = ()  # (address, port) of TCP sockets that listen
    listening_udp: tuple[tuple[str, int], ...] = ()


# ------------------------------------------------------------------ what runs


@dataclass(frozen=True)
class RunSpec:
    """What the app's process sees, the same in both forms: a Service merged with its image.

    argv: never empty. env: in order, names once. user: "uid[:gid]" or names, "" = root, resolved
    inside the image's own /etc/passwd and /etc/group. capabilities: upper case with CAP_.
    """

    app: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    cwd: str
    user: str
    group_add: tuple[str, ...]
    hostname: str
    umask: int
    ulimits: Mapping[str, Ulimit]
    capabilities: tuple[str, ...]
    mounts: tuple[Mount, ...]
    ports: tuple[Port, ...]
    stop_signal: str
    stop_grace_period_s: float
    restart: str
    health: HealthProbe
    machine: Machine
    healthcheck: Healthcheck | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    init: bool = False
    read_only: bool = False
    cpus: float | None = None
    mem_limit_bytes: int | None = None
    privileged: bool = False


REMAINS = "remains"  # of a Move that was killed: volumes or disks, and nothing that could run


@dataclass(frozen=True)
class Instance:
    """An App started on a Host in a Form. id: "pk-" and 12 hex digits, the Move's id."""

    id: str
    app: str
    form: Form
    host: str
    status: str  # created | running | exited | remains
    exit_code: int | None = None
    url: str = ""

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def host_ports(self) -> tuple[int, ...]:
        """What it publishes on the host, as its engine says."""
        words = (word.removeprefix(":") for word in self.url.split())
        return tuple(int(word) for word in words if word.isdecimal() and len(word) <= 5)


@dataclass(frozen=True)
class Life:
    """An Instance as its engine sees it now.

    started: a text that changes with every start, "" before the app was started. restarts: how
    often the app was started again since then without being asked for. health: what the engine
    says of the App's own healthcheck (starting, healthy, unhealthy), "" where it runs none.
    address: where only the host reaches it, or "".
    """

    status: str  # created | running | exited
    exit_code: int | None = None
    started: str = ""
    restarts: int = 0
    health: str = ""
    address: str = ""
