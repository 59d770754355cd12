"""The disk Form: libvirt domains, each on an overlay of the verified disk."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from portkit.architecture import TABLE, Architecture
from portkit.boot import console, disks
from portkit.boot.blueprint import Blueprint
from portkit.boot.patience import PATIENCE_S
from portkit.boot.remains import remains
from portkit.engines.domain_xml import Domain, Forward, Kernel
from portkit.engines.libvirt import Libvirt, Power
from portkit.errors import AppError, ConflictError
from portkit.guest import start
from portkit.guest.boot_partition import direct_line
from portkit.guest.config import encode_app, is_init_system
from portkit.guest.several import GUEST_ADDRESS, places
from portkit.health import runs_check
from portkit.host import Host
from portkit.model import AppSpec, Form, Instance, Life, RunSpec, Standing, virtualises

# An emulated guest takes some seconds to power off after the app has ended.
_FIRMWARE_S = 10.0
_LOG_BYTES = 1 << 20
_STATE_BYTES = 64 << 10  # of init's own log: it is read again and again while an App is watched
_FOLLOW_S = 0.3  # each reading is a call to the host, and nobody reads faster


class Domains:
    """The `portkit.boot.Runner` of the disk Form."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._engine = Libvirt(host.libvirt_uri(), host.name)
        self._marks: dict[str, console.About] = {}

    def close(self) -> None:
        """Close the connection to libvirt."""
        self._engine.close()

    def create(self, made_from: Blueprint) -> Instance:
        """Make its disks on the host and define the domain; autostart stays off until `commit`."""
        self._define(made_from)
        name = made_from.spec.app
        return Instance(made_from.identity, name, Form.DISK, self._host.name, "created")

    def _define(self, made_from: Blueprint, *, again: bool = False) -> None:
        identity, facts = made_from.identity, made_from.facts
        artifact, spec = made_from.artifact, made_from.spec
        volumes = [f"pkv{number}" for number in range(spec.volume_count)]
        architecture = TABLE[artifact.config.architecture]
        kvm = virtualises(facts, architecture.name)
        made = self._host.remote.call(
            "instance.create",
            {
                "id": identity,
                "app": spec.app,
                "disk": artifact.digest,
                "boot": start.direct(artifact, spec.machine.firmware),
                "kit": [b.digest for b in artifact.blobs if b.digest != artifact.digest],
                "config": _encoded(spec),
                "volumes": [{"name": name, "bytes": spec.machine.volume_bytes} for name in volumes],
                "again": again,
            },
        )
        self._engine.create(
            Domain(
                identity=identity,
                app=spec.app,
                overlay=made["overlay"],
                base=made["base"],
                config=made["config"],
                kernel=_kernel(made["boot"], architecture, kvm=kvm),
                serial=made["serial"],
                state=made["state"],
                memory_bytes=spec.machine.memory_bytes,
                cpus=spec.machine.cpus,
                ports=_published(spec),
                volumes=tuple(made["volumes"][name] for name in volumes),
                owner=f"{facts.qemu_user}:{facts.qemu_group}",
                architecture=architecture,
                kvm=kvm,
                firmware=start.firmware_of(artifact, spec.machine.firmware),
                cpu_model=spec.machine.cpu_model,
                reboots=not spec.layered and is_init_system(spec.front),
                mark=_mark(spec),
            )
        )

    def renew(self, made_from: Blueprint) -> None:
        """The domain and its disks anew; the folders that its volumes are made of stay."""
        self._refuse_running(made_from.identity)
        self._engine.remove(made_from.identity)
        self._define(made_from, again=True)

    def volume_folders(self, identity: str) -> Mapping[int, str]:
        """Folders beside its disks, which are there until the Move is over."""
        folders = self._host.remote.call("instance.stage", {"id": identity})["folders"]
        return dict(enumerate(folders))

    def volume_names(self, identity: str) -> Mapping[int, str]:
        """The files of its disks."""
        return disks.of_volumes(disks.made_with(self._host, identity))

    def content_folder(self, identity: str) -> str:
        """None: they are in its configuration."""
        return ""

    def fill(self, identity: str, numbers: Sequence[int]) -> None:
        """Make the disks of these volumes anew."""
        self._refuse_running(identity)
        self._host.remote.call("instance.fill", {"id": identity, "volumes": list(numbers)})

    def _refuse_running(self, identity: str) -> None:
        if any(each.id == identity and each.running for each in self._engine.instances()):
            raise ConflictError(
                "the disks of a running VM cannot be replaced",
                details=f"{identity} on {self._host.name}",
                resolution=f"portkit stop {identity} --on {self._host.name}",
            )

    def start(
        self,
        identity: str,
        within_s: float = PATIENCE_S,
        service: str | None = None,
        standing: Standing | None = None,
    ) -> None:
        """Start the domain; the guest's init starts the services."""
        self._refuse_one(service)
        if standing is not None and len(self._about(identity).services) > 1:
            args = {"id": identity, "resting": standing.resting, "ill": standing.ill}
            self._host.remote.call("instance.stand", args)
        self._engine.start(identity)

    def _refuse_one(self, service: str | None) -> None:
        if service is not None:
            raise AppError(
                "a VM can only be started and stopped as a whole",
                details=f"{service} is one of the services in it",
                resolution="Leave out the service name, or address the App's containers with "
                "--form image.",
            )

    def stop(
        self, identity: str, grace_s: float | None = None, service: str | None = None
    ) -> int | None:
        """Press the power button; the exit code is the one that the guest's init wrote."""
        self._refuse_one(service)
        self._engine.stop(identity, grace_s, _FIRMWARE_S)
        return console.exit_code(self._state_log(identity)[0], self._about(identity))

    def life(self, identity: str, unasked: Collection[str] = (), *, again: bool = False) -> Life:
        """Read from what the guest's init wrote since this boot. again: it does that by itself, as
        long as the VM runs."""
        power = self._engine.power(identity)
        log = self._state_log(identity)
        # A QEMU that died, or whose disk is full, may have left nothing on the guest's console.
        ran = power is Power.ENDED
        life = self._life(identity, *log, active=power.active, ran=ran, unasked=unasked)
        return replace(life, stuck=power is Power.STUCK)

    def _life(
        self,
        identity: str,
        text: str,
        size: int,
        *,
        active: bool,
        ran: bool = False,
        unasked: Collection[str] = (),
    ) -> Life:
        """text, size: of `_state_log`."""
        about = self._about(identity)
        return console.life(
            text,
            replace(about, checks=tuple(each for each in about.checks if each not in unasked)),
            active=active,
            whole=size <= _STATE_BYTES,
            booted=active or ran or bool(text) or self._booted(identity),
        )

    def commit(self, identity: str, policies: Mapping[str, str], spec: AppSpec | None) -> None:
        """Write the restart policies for the guest, and set autostart for the host.

        The guest has them already, but for one that an earlier portkit has made. It reads them anew
        whenever a service ends, so it needs no restart for this.
        """
        assert spec is not None, "whoever commits a VM knows its App"
        args = {"id": identity, "config": _encoded(spec)}
        self._host.remote.call("instance.config", args)
        asked = set(policies.values())
        # As far as the host is concerned: the strongest of them brings the VM up again.
        strongest = (policy for policy in ("always", "unless-stopped") if policy in asked)
        self._engine.commit(identity, next(strongest, spec.front.restart))

    def withdraw(self, identity: str) -> None:
        """Turn autostart off."""
        self._engine.withdraw(identity)

    def remove(self, identity: str, service: str | None = None, *, keep_data: bool = False) -> None:
        """Remove the domain, its disks, and the base disk when no other Instance needs it.

        keep_data: ConflictError where data that came with a running App is on its disks."""
        self._refuse_one(service)
        if keep_data and self._host.remote.call("instance.data", {"id": identity})["moved"]:
            raise ConflictError(
                "the disks of this VM contain the data that came with a running App",
                details=f"{identity} on {self._host.name}: its volumes are disks of the VM and "
                "would be removed with it",
                resolution="To remove that data as well, add --data.",
            )
        self._engine.remove(identity)
        self._host.remote.call("instance.remove", {"id": identity})

    def logs(self, identity: str, tail: int = 100, service: str | None = None) -> str:
        """The end of what came over the serial console since the last boot."""
        # Not splitlines(): other characters that end a line there may be an app's own.
        lines = io.StringIO(console.plain(self._read(identity, 0)[0]), newline="\n").readlines()
        if service is not None:
            self._require(identity, service)
            prefix = f"{service} | "
            lines = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        return "".join(lines[-tail:])

    def _require(self, identity: str, service: str) -> None:
        names = self._about(identity).services
        if len(names) < 2 or service not in names:
            raise AppError(
                "the App has no such service on that host",
                details=f"{service}; its services are: {', '.join(names)}",
                resolution="`portkit ps --on HOST` lists them.",
            )

    def follow(
        self, identity: str, write: Callable[[bytes], object], service: str | None = None
    ) -> None:
        """Pass on what is added to the serial log, of all services.

        libvirt's own console stream is not used because it cannot be interrupted.
        """
        _, position = self._read(identity, 0)
        while self._engine.power(identity).active:
            text, position = self._read(identity, position)
            write(text.encode())
            time.sleep(_FOLLOW_S)
        write(self._read(identity, position)[0].encode())

    def instances(self) -> tuple[Instance, ...]:
        """Domains, and what killed Moves left without one: folders with disks."""
        rows = []
        for row in self._engine.instances():
            about = self._about(row.id)
            active = row.running
            if not active or len(about.services) > 1:
                text, size = self._state_log(row.id)
                row = replace(row, services=console.states(text, about, active=active))
                if not active:
                    ran = row.status == "exited"
                    life = self._life(row.id, text, size, active=False, ran=ran)
                    row = replace(row, status=life.status, exit_code=life.exit_code)
            rows.append(row)
        domains = [row.id for row in rows]
        return (*rows, *remains(self._host, Form.DISK, domains))

    def _about(self, identity: str) -> console.About:
        """What its mark says of its services; a mark does not change while an Instance is there."""
        if identity not in self._marks:
            self._marks[identity] = _about(self._engine.about(identity))
        return self._marks[identity]

    def _booted(self, identity: str) -> bool:
        """Whether anything came over its console since the last start."""
        return self._read(identity, 0, 1)[1] > 0

    def _state_log(self, identity: str) -> tuple[str, int]:
        """The end of what init wrote of its services since the last boot, and its size."""
        text, size = self._read(identity, 0, _STATE_BYTES, "state")
        # Of a line that was cut in two, the rest may look like one of init's.
        return (text.partition("\n")[2] if size > _STATE_BYTES else text), size

    def _read(
        self, identity: str, offset: int, limit: int = _LOG_BYTES, name: str = "serial"
    ) -> tuple[str, int]:
        """A log from `offset` on, at most its last `limit` bytes, and its size now."""
        args = {"id": identity, "limit": limit, "offset": offset, "name": name}
        row = self._host.remote.call("instance.log", args)
        return str(row["text"]), int(row["size"])


def _kernel(paths: list[str], architecture: Architecture, *, kvm: bool) -> Kernel | None:
    """What the remote half made of these two, if it was asked to."""
    if not paths:
        return None
    image, initrd = paths
    return Kernel(image, initrd, direct_line(architecture, kvm=kvm))


def _encoded(spec: AppSpec) -> str:
    return base64.b64encode(encode_app(spec)).decode()


def _published(spec: AppSpec) -> tuple[Forward, ...]:
    """The published ports, each with the address of its service in the VM's network."""
    if not spec.layered:
        return tuple(Forward(port, GUEST_ADDRESS) for port in spec.ports)
    pairs = zip(spec.services, places(spec), strict=True)
    return tuple(
        Forward(port, place.address)
        for service, place in pairs
        for port in service.ports
        if place.address
    )


def _mark(spec: AppSpec) -> dict[str, str]:
    """What portkit has to know of the Instance when nothing else is at hand."""
    checked = [name for name, each in _named(spec).items() if runs_check(each.healthcheck)]
    # The guest stops its services one after the other at worst.
    grace = sum(service.stop_grace_period_s for service in spec.services)
    mark = {
        "ports": " ".join(f":{port.host_port}" for port in spec.ports),
        "grace": str(grace),
        "checks": " ".join(checked),
    }
    if spec.layered:
        mark |= {"services": " ".join(_named(spec)), "front": spec.front.service}
    return mark


def _named(spec: AppSpec) -> dict[str, RunSpec]:
    if not spec.layered:
        return {console.ONLY: spec.front}
    return {service.service: service for service in spec.services}


def _about(mark: Mapping[str, str]) -> console.About:
    services = tuple(mark.get("services", "").split()) or (console.ONLY,)
    front = mark.get("front", console.ONLY)
    return console.About(
        services=services,
        front=front if front in services else services[0],
        checks=tuple(name for name in mark.get("checks", "").split() if name in services),
    )
