"""What a Report says of how a form was started and found to be up."""

from __future__ import annotations

from portkit import health, measure
from portkit.guest.start import machine_start
from portkit.model import Form, MachineStart, virtualises
from portkit.move.ground import Cargo
from portkit.report import Boot


def booted(
    form: Form,
    cargo: Cargo,
    first: measure.Answer,
    way: health.Way,
    deadline: health.Deadline,
    healthy_s: float | None,
) -> Boot:
    """The part of a form's Report; first: its first right answer."""
    facts, libvirt = cargo.facts, form is Form.DISK
    return Boot(
        engine="libvirt" if libvirt else "podman" if facts.engine.podman else "docker",
        version=(facts.libvirt_version if libvirt else facts.docker_version) or "",
        accelerator=_accelerator(cargo) if libvirt else "none",
        url=first.url,
        status=first.status,
        method=first.method,
        reason="; ".join(way.reasons),
        vantage=first.vantage,
        poll_s=first.poll_s,
        timeout_s=deadline.seconds,
        timeout_reason=deadline.reason,
        machine=_machine(cargo) if libvirt else None,
        healthy_s=healthy_s,
    )


def _machine(cargo: Cargo) -> MachineStart:
    disk, firmware = cargo.artifacts[Form.DISK], cargo.spec.machine.firmware
    return machine_start(disk, firmware, kvm=_accelerator(cargo) == "kvm")


def _accelerator(cargo: Cargo) -> str:
    architecture = cargo.artifacts[Form.DISK].config.architecture
    return "kvm" if virtualises(cargo.facts, architecture) else "tcg"
