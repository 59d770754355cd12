"""From the boot to the first right answer: radicale on portkit's disk and in an ordinary VM.

The ordinary VM is bench/ordinary.py's: Debian 12 with systemd and GRUB, radicale a service. Both
have the same kernel and are started by the same QEMU command line (emulated CPU, BIOS, user-mode
network with hostfwd), each time on a fresh qcow2 overlay of a raw disk, with a full stop between.
Seconds from just before the start of QEMU to the first 200 of /.web/ on the forwarded port.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import apps, harness, vm
from bench.ordinary import PORT, ordinary_disk
from portkit.guest.kit import build_kit

NAME = "boot"
REPEAT = 5
LIMIT = 0.35


def our_disk() -> Path:
    """portkit's raw disk of fixtures/apps/radicale."""
    made = apps.disk_of(apps.image_of("radicale"), build_kit())
    return apps.store().path(made.digest)


def seconds(base: Path) -> float:
    """One boot of a fresh overlay of that disk."""
    with vm.overlay(base) as disk, vm.boot(disk, "qcow2", guest_port=PORT) as machine:
        return machine.answer("/.web/", "Radicale").seconds


def main() -> int:
    ours, peer = our_disk(), ordinary_disk()
    row = harness.compare(
        "radicale, boot to first answer",
        ours=lambda: seconds(ours),
        peer=lambda: seconds(peer),
        unit="s",
        limit=LIMIT,
        repeat=REPEAT,
    )
    return harness.finish(NAME, [row])


if __name__ == "__main__":
    sys.exit(main())
