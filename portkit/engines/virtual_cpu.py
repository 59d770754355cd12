"""What processor a VM of portkit's has, as `domain_xml` asks for it. Pure."""

from __future__ import annotations

import re

from portkit.engines import cpu_models


def x86_level(*, kvm: bool, host_level: int, qemu: str | None) -> int:
    """The x86-64 level inside a VM; 0 where it is not known.

    kvm: the VM has the host's own processor (host-passthrough), else all that QEMU's emulation can
    do (maximum).
    """
    if kvm:
        return host_level
    version = _version(qemu)
    return 0 if version is None else cpu_models.level(cpu_models.emulated(version))


def x86_features(
    *, kvm: bool, host: frozenset[str] | None, qemu: str | None, model: str
) -> frozenset[str] | None:
    """The flags of the processor of a VM; None where they are not known. host: those of the host's
    processor. model: of libvirt's names; "" is the most that the host can give."""
    version = _version(qemu)
    most = host if kvm else None if version is None else cpu_models.emulated(version)
    if not model:
        return most
    named = cpu_models.of_model(model)
    # Of a model of which the host has less, nothing is started: rule `cpu-model`.
    return named if most is None or named is None else most & named


def _version(qemu: str | None) -> tuple[int, int] | None:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", qemu or "")
    return (int(found[1]), int(found[2])) if found else None
