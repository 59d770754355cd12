"""The disk Form: libvirt domains, each on an overlay of the verified disk."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import replace

from portkit.boot.remains import remains
from portkit.engines.domain_xml import Domain
from portkit.engines.libvirt import Libvirt
from portkit.guest.config import encode_config, is_init_system
from portkit.host import Host
from portkit.model import Artifact, Facts, Form, Instance, Life, RunSpec

_FIRMWARE_S = 10.0  # what a guest takes to power off beyond the app's own time
_LOG_BYTES = 1 << 20
_LIFE_BYTES = 64 << 10  # of the log's end, which is read often
_FOLLOW_S = 0.3
_EXITED = re.compile(r"^portkit: app exited with code (\d+)", re.MULTILINE)
_STARTING = re.compile(r"^portkit: starting ", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")


class Domains:
    """A Runner. See `portkit.boot.Runner`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._engine = Libvirt(host.libvirt_uri(), host.name)

    def close(self) -> None:
        """Close the connection to libvirt."""
        self._engine.close()

    def create(
        self, artifact: Artifact, reference: str, spec: RunSpec, identity: str, facts: Facts
    ) -> Instance:
        """The domain, its overlay on the disk's blob, its configuration disk and its volumes."""
        # A tmpfs is made by the guest itself.
        volumes = [mount for mount in spec.mounts if mount.type == "volume"]
        made = self._host.remote.call(
            "instance.create",
            {
                "id": identity,
                "app": spec.app,
                "disk": artifact.digest,
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
        """Boot it; returns when QEMU runs, which is long before the App answers."""
        self._engine.start(identity)

    def stop(self, identity: str, grace_s: float | None = None) -> int | None:
        """Power button, the App's time and the firmware's, force; the exit code that the guest's
        init wrote."""
        self._engine.stop(identity, grace_s, _FIRMWARE_S)
        return exit_code(self._log(identity))

    def state(self, identity: str) -> tuple[str, int | None]:
        """libvirt knows whether it runs; whether and how its App ended, the serial log says."""
        if self._engine.active(identity):
            return "running", None
        return _ended(self._log(identity))

    def life(self, identity: str) -> Life:
        """The end of the serial log says whether and how often the app was started in this boot."""
        active = self._engine.active(identity)
        text, size = self._read(identity, 0, _LIFE_BYTES)
        said = plain(text)
        starts, ends = len(_STARTING.findall(said)), len(_EXITED.findall(said))
        restarts = max(starts - 1, ends)
        if not active:
            status, code = _ended(said)
            return Life(status, code, restarts=restarts)
        # Of a longer log the first start is not seen any more.
        begun = starts or size > _LIFE_BYTES
        return Life("running", started="this boot" if begun else "", restarts=restarts)

    def commit(self, identity: str, spec: RunSpec) -> None:
        """The guest reads its policy again when the app ends; libvirt keeps the rest."""
        args = {"id": identity, "config": _encoded(spec)}
        self._host.remote.call("instance.config", args)
        self._engine.commit(identity, spec.restart)

    def remove(self, identity: str) -> None:
        """The domain, its disks, and the base when no other Instance stands on it."""
        self._engine.remove(identity)
        self._host.remote.call("instance.remove", {"id": identity})

    def logs(self, identity: str, tail: int = 100) -> str:
        """The serial console of the last boot."""
        return "".join(plain(self._log(identity)).splitlines(keepends=True)[-tail:])

    def follow(self, identity: str, write: Callable[[bytes], object]) -> None:
        """Read from the serial log: libvirt's console stream cannot be interrupted."""
        _, position = self._read(identity, 0)
        while self._engine.active(identity):
            text, position = self._read(identity, position)
            write(text.encode())
            time.sleep(_FOLLOW_S)
        write(self._read(identity, position)[0].encode())

    def instances(self) -> tuple[Instance, ...]:
        """Every domain of portkit's, and what killed Moves left of disks."""
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
        """The log from `offset` on (at most its last `limit` bytes), and where it ends now."""
        args = {"id": identity, "limit": limit, "offset": offset}
        row = self._host.remote.call("instance.log", args)
        return str(row["text"]), int(row["size"])


def _encoded(spec: RunSpec) -> str:
    return base64.b64encode(encode_config(spec)).decode()


def _ended(log: str) -> tuple[str, int | None]:
    return ("exited", exit_code(log)) if log else ("created", None)


def exit_code(log: str) -> int | None:
    """What the guest's init said last of how the app ended; None when it did not get to it."""
    found = _EXITED.findall(plain(log))
    return int(found[-1]) if found else None


def plain(log: str) -> str:
    """A serial log without carriage returns and what firmware draws on terminals."""
    return _ESCAPES.sub("", log).replace("\r", "")
