"""Disks that portkit did not make: where they can run. Nothing of them is sent or started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from portkit import compat
from portkit.compat import Profile
from portkit.errors import AppError, HostError, TransferError
from portkit.host import Host
from portkit.model import Form
from portkit.model.disk import DiskFile, DiskMachine
from portkit.move.matrix import Basis, HostKnown, Matrix, Row, cell_of, joined, unreachable


def check_disks(
    disks: Sequence[DiskFile],
    targets: Mapping[str, AbstractContextManager[Host]] | None = None,
    profiles: Sequence[Profile] = (),
    *,
    machine: DiskMachine | None = None,
) -> Matrix:
    """Where disks can run, in a libvirt VM. Hosts are only read.

    disks: what `portkit.read_disk` returns. targets, profiles: as for `check_apps`. machine: the
    VM's firmware, QEMU's machine type, and more.
    """
    names = tuple(disk.name for disk in disks)
    if not disks or len(set(names)) != len(names):
        raise AppError(
            "no disk was named, or two have the same name",
            details=", ".join(names),
            resolution="Name each disk once, and check disks with the same name one after the "
            "other.",
        )
    machine = machine or DiskMachine()
    found = [_asked(disks, machine, name, target) for name, target in (targets or {}).items()]
    found += [_documented(disks, machine, profile) for profile in profiles]
    return joined(names, (Form.DISK,), found)


def _asked(
    disks: Sequence[DiskFile],
    machine: DiskMachine,
    name: str,
    target: AbstractContextManager[Host],
) -> Row:
    try:
        with target as host:
            facts, kept_s = host.facts(guests=True), host.kept_s
    except (HostError, TransferError) as error:
        return unreachable(name, [disk.name for disk in disks], (Form.DISK,), error)
    rows = []
    for disk in disks:
        found = compat.check_disk(disk, machine, facts)
        verdict = compat.verdict(found, facts, Form.DISK)
        rows.append(cell_of(disk.name, Form.DISK, name, facts, verdict, found))
    return HostKnown(name, Basis.ASKED, facts, kept_s), tuple(rows)


def _documented(disks: Sequence[DiskFile], machine: DiskMachine, profile: Profile) -> Row:
    rows = []
    for disk in disks:
        verdict, found = compat.documented_disk(disk, machine, profile)
        facts = profile.facts
        rows.append(cell_of(disk.name, Form.DISK, profile.name, facts, verdict, found))
    known = HostKnown(profile.name, Basis.DOCUMENTATION, profile.facts, profile=profile)
    return known, tuple(rows)
