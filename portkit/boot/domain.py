"""The disk Form: libvirt domains, each on an overlay of the verified disk."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import replace

from portkit.boot.remains import remains
from portkit.engines.domain_xml import Domain, Kernel
from portkit.engines.libvirt import Libvirt
from portkit.guest import start
from portkit.guest.boot_partition import direct_line
from portkit.guest.config import encode_config, is_init_system
from portkit.host import Host
from portkit.model import Artifact, Facts, Form, Instance, Life, RunSpec

# An emulated guest takes some seconds to power off after the app has ended.
_FIRMWARE_S = 10.0
_LOG_BYTES = 1 << 20
_LIFE_BYTES = 64 << 10  # less than a whole log: it is read again and again while an App is watched
_FOLLOW_S = 0.3  # each reading is a call to the host, and nobody reads faster
_EXITED = re.compile(r"^portkit: app exited with code (\d+)", re.MULTILINE)
_STARTING = re.compile(r"^portkit: starting ", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")


class Domains:
    """The `portkit.boot.Runner` of the disk Form."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._engine = Libvirt(host.libvirt_uri(), host.name)

    def close(self) -> None:
        """Close the connection to libvirt."""
        self._engine.close()

    def create(
        self, artifact: Artifact, reference: str, spec: RunSpec, identity: str, facts: Facts
    ) -> Instance:
        """Make its disks on the host and define the domain; autostart stays off until `commit`."""
        # A tmpfs is made by the guest itself.
        volumes = [mount for mount in spec.mounts if mount.type == "volume"]
        made = self._host.remote.call(
            "instance.create",
            {
                "id": identity,
                "app": spec.app,
                "disk": artifact.digest,
                "boot": start.direct(artifact, spec.machine.firmware),
                "kit": [b.digest for b in artifact.blobs if b.digest != artifact.digest],
                # Inside the VM the guest's init restarts the App. Until `commit` it must not, or an
                # App that fails at once would look as if it had stayed up.
                "config": _encoded(replace(spec, restart="no")),
                "volumes": [
                    {"name": f"pkv{number}", "bytes": spec.machine.volume_bytes}
                    for number in range(len(volumes))
                ],
            },
        )
        self._engine.create(
            Domain(
                identity=identity,
                app=spec.app,
                overlay=made["overlay"],
                base=made["base"],
                config=made["config"],
                kernel=_kernel(made["boot"], facts.accelerator == "kvm"),
                serial=made["serial"],
                memory_bytes=spec.machine.memory_bytes,
                cpus=spec.machine.cpus,
                ports=spec.ports,
                volumes=tuple(made["volumes"][f"pkv{n}"] for n in range(len(volumes))),
                owner=f"{facts.qemu_user}:{facts.qemu_group}",
                kvm=facts.accelerator == "kvm",
                firmware=spec.machine.firmware,
                reboots=is_init_system(spec),
                mark={
                    "ports": " ".join(f":{port.host_port}" for port in spec.ports),
                    "grace": str(spec.stop_grace_period_s),
                },
            )
        )
        return Instance(identity, spec.app, Form.DISK, self._host.name, "created")

    def start(self, identity: str) -> None:
        """Start the domain."""
        self._engine.start(identity)

    def stop(self, identity: str, grace_s: float | None = None) -> int | None:
        """Press the power button; the exit code is the one that the guest's init wrote."""
        self._engine.stop(identity, grace_s, _FIRMWARE_S)
        return exit_code(self._log(identity))

    def state(self, identity: str) -> tuple[str, int | None]:
        """A domain that does not run has exited if it ever wrote something, else it is created."""
        if self._engine.active(identity):
            return "running", None
        return _ended(self._log(identity))

    def life(self, identity: str) -> Life:
        """Read from the end of the serial log whether and how often this boot started the app."""
        active = self._engine.active(identity)
        text, size = self._read(identity, 0, _LIFE_BYTES)
        said = plain(text)
        starts, ends = len(_STARTING.findall(said)), len(_EXITED.findall(said))
        restarts = max(starts - 1, ends)
        if not active:
            status, code = _ended(said)
            return Life(status, code, restarts=restarts)
        # The first start is not in the part that was read if the log is longer.
        begun = starts or size > _LIFE_BYTES
        return Life("running", started="this boot" if begun else "", restarts=restarts)

    def commit(self, identity: str, spec: RunSpec) -> None:
        """Write the restart policy for the guest, and set autostart for the host.

        The guest reads its policy anew whenever the app ends, so it needs no restart for this.
        """
        args = {"id": identity, "config": _encoded(spec)}
        self._host.remote.call("instance.config", args)
        self._engine.commit(identity, spec.restart)

    def remove(self, identity: str) -> None:
        """Remove the domain, its disks, and the base disk when no other Instance needs it."""
        self._engine.remove(identity)
        self._host.remote.call("instance.remove", {"id": identity})

    def logs(self, identity: str, tail: int = 100) -> str:
        """The end of what came over the serial console since the last boot."""
        return "".join(plain(self._log(identity)).splitlines(keepends=True)[-tail:])

    def follow(self, identity: str, write: Callable[[bytes], object]) -> None:
        """Pass on what is added to the serial log.

        libvirt's own console stream is not used because it cannot be interrupted.
        """
        _, position = self._read(identity, 0)
        while self._engine.active(identity):
            text, position = self._read(identity, position)
            write(text.encode())
            time.sleep(_FOLLOW_S)
        write(self._read(identity, position)[0].encode())

    def instances(self) -> tuple[Instance, ...]:
        """Domains, and what killed Moves left without one: folders with disks."""
        rows = []
        for row in self._engine.instances():
            if row.status != "running":
                status, code = _ended(self._log(row.id))
                row = replace(row, status=status, exit_code=code)
            rows.append(row)
        domains = [row.id for row in rows]
        return (*rows, *remains(self._host, Form.DISK, domains))

    def _log(self, identity: str) -> str:
        return self._read(identity, 0)[0]

    def _read(self, identity: str, offset: int, limit: int = _LOG_BYTES) -> tuple[str, int]:
        """The log from `offset` on, at most its last `limit` bytes, and its size now."""
        args = {"id": identity, "limit": limit, "offset": offset}
        row = self._host.remote.call("instance.log", args)
        return str(row["text"]), int(row["size"])


def _kernel(paths: list[str], kvm: bool) -> Kernel | None:
    """What the remote half made of these two, if it was asked to."""
    if not paths:
        return None
    image, initrd = paths
    return Kernel(image, initrd, direct_line(kvm))


def _encoded(spec: RunSpec) -> str:
    return base64.b64encode(encode_config(spec)).decode()


def _ended(log: str) -> tuple[str, int | None]:
    return ("exited", exit_code(log)) if log else ("created", None)


def exit_code(log: str) -> int | None:
    """The exit code that the guest's init wrote last; None when it wrote none."""
    found = _EXITED.findall(plain(log))
    return int(found[-1]) if found else None


def plain(log: str) -> str:
    """A serial log without carriage returns and without the firmware's escape codes."""
    return _ESCAPES.sub("", log).replace("\r", "")
