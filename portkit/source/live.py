"""Whether two hosts can move a VM without a stop. Pure but for `refuse`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from portkit.engines.libvirt_live import LibvirtLive
from portkit.engines.live_xml import LiveGuest, live_guest
from portkit.errors import ConflictError, IncompatibleError
from portkit.host import Host
from portkit.model import Facts, Finding, Severity, virtualises

_VERSION = re.compile(r"(\d+)\.(\d+)")
_OLDEST_LIBVIRT = (9, 0)  # older ones are not supported by portkit at all
# An older one may miss what an emulated processor writes to its memory while that is sent (QEMU's
# commit 03bfc2188f06, "physmem: Fix migration dirty bitmap coherency with TCG memory access"). The
# guest's kernel crashed on the target in 2 of 16 such moves from QEMU 7.2, on a busy machine.
_WHOLE_MEMORY = (9, 0)
WITHOUT = "Move it without --live: it is then stopped, and starts anew on the target."


@dataclass(frozen=True)
class LiveHost:
    """What one host says of itself. machines, models: what its guests can be. by_root: reached by
    ssh as root. kvm: its guests have a real processor. confined: what its kernel keeps guests to
    their own files by."""

    name: str
    libvirt: str | None
    qemu: str | None
    by_root: bool
    kvm: bool = False
    machines: Collection[str] = ()
    models: Collection[str] = ()
    confined: Collection[str] = ()


@dataclass(frozen=True)
class Obstacle:
    """Why a VM cannot move without a stop, and the way out."""

    reason: str
    resolution: str = WITHOUT


def obstacles(guest: LiveGuest, source: LiveHost, target: LiveHost) -> tuple[Obstacle, ...]:
    """What stands in the way; none where it can be tried."""
    return (*_of_hosts(source, target), *_of_guest(guest, source, target))


def _of_hosts(source: LiveHost, target: LiveHost) -> Iterator[Obstacle]:
    for host in (source, target):
        if not host.by_root:
            yield Obstacle(
                f"{host.name} is not reached by ssh as root, so QEMU's sockets cannot be forwarded",
                f"Log in there as root, or: {WITHOUT[0].lower()}{WITHOUT[1:]}",
            )
        if version(host.libvirt) < _OLDEST_LIBVIRT:
            yield Obstacle(f"libvirt {host.libvirt or '(none)'} on {host.name} is older than 9.0")
    if not version(source.qemu) or not version(target.qemu):
        yield Obstacle("the version of QEMU is unknown on one of the hosts")
    elif version(target.qemu) < version(source.qemu):
        yield Obstacle(
            f"QEMU on {target.name} ({target.qemu}) is older than on {source.name} "
            f"({source.qemu}): a guest can only move to the same version or a newer one"
        )


def untried(source: LiveHost, target: LiveHost) -> tuple[Finding, ...]:
    """What was never tried, and is no reason to refuse: where it fails, the VM goes on at its
    source."""
    rows = [each for each in (source, target) if each.confined]
    return tuple(
        Finding(
            "live-confined",
            Severity.WARNING,
            f"{host.name} confines its guests with {', '.join(host.confined)}, and whether QEMU "
            "may use portkit's sockets there was not tested. If it may not, the Move fails and "
            "the VM continues at its source",
            remedy=WITHOUT,
        )
        for host in rows
    )


def _of_guest(guest: LiveGuest, source: LiveHost, target: LiveHost) -> Iterator[Obstacle]:
    if guest.architecture != "x86_64":
        yield Obstacle(f"its architecture is {guest.architecture}; only x86_64 is supported")
    if guest.uefi:
        yield Obstacle("it was started with UEFI, whose variables cannot be moved")
    if guest.machine not in target.machines:
        yield Obstacle(f"QEMU on {target.name} has no machine type {guest.machine}")
    if guest.virtual != "kvm" and () < version(source.qemu) < _WHOLE_MEMORY:
        yield Obstacle(
            f"its processor is emulated by QEMU {source.qemu} on {source.name}, which may miss "
            "some of what the guest writes to its memory meanwhile; QEMU 9.0 and newer do not"
        )
    if guest.virtual == "kvm" and not target.kvm:
        yield Obstacle(f"it runs under KVM, which does not work on {target.name}")
    if guest.cpu_mode == "custom":
        if guest.cpu not in target.models:
            yield Obstacle(f"{target.name} cannot give it its processor, {guest.cpu}")
    elif guest.virtual == "kvm" or version(source.qemu) != version(target.qemu):
        yield Obstacle(
            f"its processor is whatever its host provides, which may differ on {target.name}",
            f"{WITHOUT} To move it live in future, set x-portkit.cpu_model in its App to a model "
            "that both hosts have, such as Nehalem.",
        )


def version(text: str | None) -> tuple[int, ...]:
    """Major and minor number; () where there is none."""
    found = _VERSION.match(text or "")
    return (int(found[1]), int(found[2])) if found else ()


def refuse(source: Host, vm: str, target: Host, *, but: str = "") -> tuple[Finding, ...]:
    """What was never tried between such hosts. Both are only read.

    IncompatibleError, with every reason, where the VM cannot move without a stop; ConflictError
    where it is on the target already, but for the Instance of that id.
    """
    with (
        closing(LibvirtLive(source.libvirt_uri(), source.name)) as here,
        closing(LibvirtLive(target.libvirt_uri(), target.name)) as there,
    ):
        guest = live_guest(here.description(vm))
        if not here.condition(vm).runs:
            raise ConflictError(
                "only a running VM can move live",
                details=f"{vm} on {source.name}",
                resolution="Start it: portkit start. Or move it without --live.",
            )
        ends = [
            replace(_told(host, host.facts(guests=True)), confined=engine.confined())
            for host, engine in ((source, here), (target, there))
        ]
        if found := obstacles(guest, *ends):
            raise IncompatibleError(
                f"the VM cannot move live to {target.name}",
                details="\n".join(each.reason for each in found),
                resolution="\n".join(dict.fromkeys(each.resolution for each in found)) or WITHOUT,
            )
        there.refuse_same(guest.uuid, but)
    return untried(*ends)


def _told(host: Host, facts: Facts) -> LiveHost:
    root = host.by_ssh and bool(host.remote.call("live.offer", {"id": ""})["root"])
    return LiveHost(
        name=host.name,
        libvirt=facts.libvirt_version,
        qemu=facts.qemu_version,
        by_root=root,
        kvm=virtualises(facts, facts.architecture),
        machines=facts.guests.machines,
        models=facts.guests.cpu_models,
    )
