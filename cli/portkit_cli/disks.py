"""portkit check of disk files: which of them are named, and which machine they will start in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from portkit.app import values
from portkit.compat import Profile
from portkit.host import Host
from portkit.model.disk import Boot, Bus, DiskFormat, DiskMachine
from portkit.move import Matrix, foreign
from portkit.needs import disk
from portkit.progress import Observer
from portkit_cli.sources import given


@dataclass(frozen=True)
class DiskOptions:
    """What the command line says of disks. kind: None is what the files' names say."""

    firmware: Boot | None
    chipset: str
    kind: DiskFormat | None
    within: bool = True
    bus: Bus | None = None
    memory: int = 0

    @property
    def given(self) -> bool:
        """Whether any option for disk files was given."""
        return self != DiskOptions(None, "", None)

    @property
    def machine(self) -> DiskMachine:
        """That is to start them."""
        return DiskMachine(self.firmware, self.chipset, self.bus or Bus.VIRTIO, self.memory)


def disk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for disk files; the command gets them as `machine`."""

    @click.option(
        "--firmware",
        type=click.Choice([each.value for each in Boot]),
        help="For a disk file: the firmware that starts it.  [default: BIOS, where it exists]",
    )
    @click.option(
        "--machine",
        "chipset",
        default="",
        metavar="TYPE",
        help="For a disk file: QEMU's machine type, such as q35 or pc-i440fx-4.2.",
    )
    @click.option(
        "--bus",
        type=click.Choice([each.value for each in Bus]),
        help="For a disk file: the bus of the disk in the machine.  [default: virtio]",
    )
    @click.option(
        "--memory",
        type=values.size,
        default=0,
        metavar="SIZE",
        help="For a disk file: the memory of the machine, such as 2g.",
    )
    @click.option(
        "--disk-format",
        "kind",
        type=click.Choice([each.value for each in DiskFormat]),
        help="For a disk file: its format, if its name does not end in .qcow2, .raw or .img.",
    )
    @click.option(
        "--headers",
        is_flag=True,
        help="For a disk file: read only its headers, and do not look inside with libguestfs.",
    )
    @wraps(command)
    def with_disks(
        *args: Any,
        firmware: str | None,
        chipset: str,
        kind: str | None,
        bus: str | None,
        memory: int,
        headers: bool,
        **rest: Any,
    ) -> Any:
        told = DiskOptions(
            Boot(firmware) if firmware else None,
            chipset,
            DiskFormat(kind) if kind else None,
            not headers,
            Bus(bus) if bus else None,
            memory,
        )
        return command(*args, machine=told, **rest)

    return with_disks


_OF_APPS = (
    "source",
    "pull",
    "form",
    "files",
    "profiles",
    "name",
    "carry",
    "same_paths",
    "health",
)


def named(names: Sequence[str], told: DiskOptions, *, tried: bool) -> bool:
    """Whether all names are disk files; UsageError for some of both, and for options that do not
    go with them. tried: whether they are to be started, too."""
    found = [told.kind is not None or disk.is_disk(name) for name in names]
    if any(found) and not all(found):
        raise click.UsageError("disk files and APPs cannot be checked together: run check for each")
    if told.given and not any(found):
        raise click.UsageError(
            "--firmware, --machine, --bus, --memory, --disk-format and --headers only apply to "
            "disk files, such as NAME.qcow2"
        )
    if any(found) and (tried or any(given(each) for each in _OF_APPS)):
        raise click.UsageError(
            "a disk file is only read and not started: --prove, --isolation and the options of "
            "APPs do not apply to it"
        )
    return any(found)


def checked(
    names: Sequence[str],
    told: DiskOptions,
    ends: Mapping[str, AbstractContextManager[Host]],
    profiles: Sequence[Profile],
    listener: Observer,
) -> Matrix:
    """Where the disks can run. ends: the hosts, not connected yet."""
    found = []
    for name in names:
        if told.within:
            listener.message(f"looking into {Path(name).name} with libguestfs")
        found.append(disk.read(Path(name), told.kind, within=told.within))
    return foreign.check_disks(found, ends, profiles, machine=told.machine)
