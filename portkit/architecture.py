"""What differs between processor architectures, for all rooms, in one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One architecture. name: as images tell it (OCI image-spec, GOARCH); machine: as uname(2) and
    QEMU do.

    kernel: Debian's metapackage of a kernel for guests. emulator: Debian's package of the program
    that emulates it. init: the target for which the guest's init is compiled. chipset: QEMU's
    machine type for disks; "" where portkit makes none. loader: how a firmware finds the boot
    loader on a disk (UEFI 2.10, table 3.2). console: the machine's first serial port, as Linux
    names it. bios: there is such a firmware for it.
    """

    name: str
    machine: str
    kernel: str
    emulator: str
    init: str
    console: str
    chipset: str = ""
    loader: str = ""
    bios: bool = False

    @property
    def qemu(self) -> str:
        """The program that emulates it."""
        return f"qemu-system-{self.machine}"


AMD64 = Architecture(
    name="amd64",
    machine="x86_64",
    kernel="linux-image-cloud-amd64",
    emulator="qemu-system-x86",
    init="x86_64-linux-musl",
    console="ttyS0",
    # Without a version: QEMU's newest of the host. The other name, pc, has no PCI Express.
    chipset="q35",
    loader="BOOTX64.EFI",
    bios=True,
)
ARM64 = Architecture(
    name="arm64",
    machine="aarch64",
    kernel="linux-image-cloud-arm64",
    emulator="qemu-system-arm",
    init="aarch64-linux-musl",
    console="ttyAMA0",
    chipset="virt",
    loader="BOOTAA64.EFI",
)
TABLE = {each.name: each for each in (AMD64, ARM64)}
