"""From the boot to the first correct answer: radicale on portkit's disk and in an ordinary VM.

The ordinary VM is that of bench/ordinary.py: Debian 12 with systemd and GRUB, and radicale as a
service. Both have the same kernel and are started with the same QEMU command line (emulated CPU,
BIOS, user-mode network with hostfwd), each time on a fresh qcow2 overlay of a raw disk, and are
fully stopped between the runs. Ours is started as portkit starts it on a host: QEMU loads the
kernel and the initrd that are stored beside the disk. The row "by its own loader" is the disk on
its own, as it boots anywhere. The seconds are from just before the start of QEMU to the first 200
for /.web/ on the forwarded port.

The breakdown comes from one more boot of each, with a kernel that logs to the console: until the
kernel's first message (QEMU, firmware), until the init runs, until the app is started, and until it
answers.

It shows what limits the first row: if QEMU and the init took no time at all, the kernel and the app
alone would take 0.14 of the ordinary VM. The larger part of that is the app's own start.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import apps, harness, vm
from bench.ordinary import FORWARDS, ordinary_disk
from portkit.architecture import AMD64
from portkit.guest import boot_partition
from portkit.guest.boot_partition import direct_line
from portkit.guest.kit import build_kit

NAME = "boot"
REPEAT = 5
LIMIT = 0.16


def our_disk() -> Path:
    """portkit's raw disk of fixtures/apps/radicale."""
    made = apps.disk_of(apps.image_of("radicale"), build_kit())
    return apps.store().path(made.digest)


def direct(base: Path, folder: Path, line: str) -> list[str]:
    """What QEMU is told to start the kernel itself. The configuration disk, on which portkit gives
    an Instance what it runs, is left out: that part of the boot partition goes with the initrd."""
    kit = build_kit()
    with base.open("rb") as file:
        file.seek(boot_partition.START)
        slot = boot_partition.slot(file.read(512))
        file.seek(boot_partition.START + slot)
        default = file.read(boot_partition.SLOT_BYTES)
    initrd = folder / "initrd"
    initrd.write_bytes(kit.initrd.read_bytes() + default)
    return ["-kernel", str(kit.kernel), "-initrd", str(initrd), "-append", line]


def seconds(base: Path, more: Sequence[str] = ()) -> float:
    """One boot of a fresh overlay of that disk."""
    with (
        vm.overlay(base) as disk,
        vm.boot(disk, "qcow2", forwards=FORWARDS, more=more) as machine,
    ):
        return machine.answer("/.web/", "Radicale").seconds


def breakdown(base: Path, folder: Path) -> list[harness.Row]:
    """Where the time of one boot goes. The kernel's talk to the serial port is part of it."""
    more = direct(base, folder, direct_line(AMD64, kvm=False).replace("quiet ", ""))
    marks = {
        "QEMU and firmware": "Linux version",
        "kernel": "Run /init",
        "init": "portkit: starting",
    }
    with (
        vm.overlay(base) as disk,
        vm.boot(disk, "qcow2", forwards=FORWARDS, more=more) as machine,
    ):
        found = machine.moments(marks)
        found["app"] = machine.answer("/.web/", "Radicale").seconds
    rows, before = [], 0.0
    for number, (name, moment) in enumerate(found.items(), 1):
        rows.append(harness.Row(f"of one boot, {number}: {name}", "s", (moment - before,)))
        before = moment
    return rows


def main() -> int:
    ours, peer = our_disk(), ordinary_disk()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        more = direct(ours, Path(name), direct_line(AMD64, kvm=False))
        found = harness.turns(
            {
                "boot, ours": lambda: seconds(ours, more),
                "boot, ours, by its own loader": lambda: seconds(ours),
                "boot, ordinary": lambda: seconds(peer),
            },
            REPEAT,
        )
        mine, alone, theirs = found.values()
        rows = [
            harness.Row("radicale, boot to first answer", "s", mine, theirs, LIMIT),
            harness.Row("radicale, by its own loader", "s", alone, theirs),
            *breakdown(ours, Path(name)),
        ]
    return harness.finish(NAME, rows)


if __name__ == "__main__":
    sys.exit(main())
