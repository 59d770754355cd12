"""The `x-portkit` block: what a VM needs and how the app's right answer is known.

x-portkit:
  memory: 512m        # of the VM; default: mem_limit, at least 96m
  cpus: 1             # default: cpus of the service, rounded up
  disk: 2g            # of the root disk; default: the image, a quarter and 512 MiB more
  firmware: bios      # bios, uefi
  cpu_model: Nehalem  # default: the host's own processor, or the most that QEMU emulates
  volume: 8g          # of the disk that each volume is in a VM
  carry: [./data]     # bind mounts that travel although they hold data
  needs: {...}        # of the host: `stated`
  quiesce: {...}      # commands in the container, before it is stopped for a Move: `quiesce`
  health:
    service: web      # who answers for the App (at the top level)
    scheme: http      # http, https, tcp
    path: /           # of the health URL
    port: 80          # the container's; default: the first published TCP port
    contains: text    # that the right answer holds
    expect: "Server: shop/*"  # in a header or a line of it; * is any text
    ca_file: ca.pem   # for https with a CA of one's own
    timeout: 60s        # for the first answer; default: 60s, more on a slow or emulated host
    method: published # published, host, healthcheck, running; default: the best that is possible
    running: 10s      # how long an app that cannot be asked has to run until it counts as up
    settle: 3s        # how long after the first answer it is watched, and then asked again
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from portkit import expected
from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Firmware, HealthProbe, Machine, Method

_KEYS = {"memory", "cpus", "disk", "firmware", "cpu_model", "volume", "health", "carry", "needs"}
_KEYS |= {"quiesce"}
_CPU_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_CPUS = 256
_MAX_DISK = 1 << 40  # all of it is hashed, holes too, wherever it is used first: an hour for this
_VOLUME = range(64 << 20, (8 << 40) + 1)  # a host's ext4 takes such a file
_USUAL = HealthProbe()
_MIN_MEMORY = 96 << 20  # with 64 MiB the boot loader found no room for the kernel


def _block(reader: Reader, extra: Value, known: set[str]) -> dict[str, Value]:
    row = reader.mapping(extra)
    for key, value in row.items():
        if key not in known and not key.startswith("x-"):
            raise reader.error(value, f"x-portkit has no key {key[:80]!r}")
    return row


def limited(cpus: float | None, memory: int | None) -> Machine:
    """What the container may use at most, the VM has."""
    return Machine(
        memory_bytes=max(memory, _MIN_MEMORY) if memory else Machine.memory_bytes,
        cpus=min(math.ceil(cpus), _MAX_CPUS) if cpus else Machine.cpus,
    )


def machine_of(reader: Reader, extra: Value, default: Machine) -> Machine:
    """The VM's memory, processors and disk; `default` where x-portkit is silent."""
    row = _block(reader, extra, _KEYS)
    memory = reader.use(row["memory"], values.size) if "memory" in row else default.memory_bytes
    if memory < _MIN_MEMORY:
        raise reader.error(row["memory"], "a VM needs at least 96m of memory")
    cpus = reader.use(row["cpus"], _count) if "cpus" in row else default.cpus
    disk = reader.use(row["disk"], values.size) if "disk" in row else default.disk_bytes
    if disk is not None and disk > _MAX_DISK:
        raise reader.error(
            row["disk"], "a VM's root disk can have at most 1t; volumes may be larger"
        )
    firmware = reader.use(row["firmware"], Firmware) if "firmware" in row else default.firmware
    volume = reader.use(row["volume"], values.size) if "volume" in row else default.volume_bytes
    if volume not in _VOLUME:
        raise reader.error(row["volume"], "a volume's disk must have 64m to 8t")
    model = reader.text(row["cpu_model"]) if "cpu_model" in row else default.cpu_model
    if model and not _CPU_MODEL.fullmatch(model):
        raise reader.error(
            row["cpu_model"], "cpu_model must be a name that libvirt knows, such as Nehalem"
        )
    return Machine(memory, cpus, disk, firmware, volume, model)


def _count(value: object) -> int:
    if not 0 < values.whole(value) <= _MAX_CPUS:
        raise ValueError(f"cpus must be a number from 1 to {_MAX_CPUS}")
    return values.whole(value)


def front_of(reader: Reader, extra: Value, names: Collection[str]) -> str:
    """The service that the top level's x-portkit.health names; "" for none."""
    block = _block(reader, extra, _KEYS).get("health")
    told = None if block is None else reader.mapping(block).get("service")
    if told is None:
        return ""
    name = reader.text(told, "x-portkit.health.service")
    if name not in names:
        raise reader.error(told, f"the App has no service {name[:80]!r}")
    return name


def health_of(
    reader: Reader, extra: Value, *, top: bool = False, default: HealthProbe = _USUAL
) -> HealthProbe:
    """How the app is asked from outside; `default` where x-portkit is silent. top: x-portkit of the
    top level."""
    outer = _block(reader, extra, _KEYS)
    known = {"scheme", "path", "port", "contains", "expect", "ca_file", "timeout"}
    known |= {"method", "running", "settle"} | ({"service"} if top else set())
    block = outer.get("health", Value({}, extra.line))
    row = _block(reader, block, known)
    scheme = reader.text(row["scheme"]) if "scheme" in row else default.scheme
    if scheme not in ("http", "https", "tcp"):
        raise reader.error(row["scheme"], "scheme must be http, https or tcp")
    path = reader.text(row["path"]) if "path" in row else default.path
    if not path.startswith("/") or any(ord(c) <= 32 or ord(c) > 126 for c in path):
        raise reader.error(row["path"], "path must begin with / and contain no spaces")
    port = reader.use(row["port"], values.port) if "port" in row else default.port
    ca_file = default.ca_file
    if "ca_file" in row:
        ca_file = reader.use(row["ca_file"], reader.files(row["ca_file"]).certificate)
    timeout = row.get("timeout")
    return HealthProbe(
        scheme=scheme,
        path=path,
        port=port,
        contains=reader.text(row["contains"]) if "contains" in row else default.contains,
        expect=_expected(reader, row["expect"]) if "expect" in row else default.expect,
        ca_file=ca_file,
        timeout_s=default.timeout_s if timeout is None else reader.use(timeout, values.duration),
        method=reader.use(row["method"], Method) if "method" in row else default.method,
        running_s=_seconds(reader, row, "running", default.running_s),
        settle_s=_seconds(reader, row, "settle", default.settle_s),
    )


def _expected(reader: Reader, value: Value) -> str:
    text = reader.text(value, "x-portkit.health.expect")
    for why in expected.why_not(text):
        raise reader.error(value, f"x-portkit.health.expect: {why}")
    return text


def _seconds(reader: Reader, row: dict[str, Value], key: str, default: float) -> float:
    return reader.use(row[key], values.duration) if key in row else default
