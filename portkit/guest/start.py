"""How a VM starts its kernel: what is chosen so that it starts soon, and why. Pure."""

from __future__ import annotations

from portkit.architecture import TABLE
from portkit.guest.boot_partition import direct_line, disk_line
from portkit.model import Artifact, Firmware, MachineStart


def direct(artifact: Artifact, firmware: Firmware) -> list[str]:
    """The kernel and the initrd (digests) of its kit, which lie on the host beside the disk: QEMU
    starts them at once, where a BIOS would read them sector by sector. With UEFI that was asked
    for, the disk boots as it would anywhere."""
    digests = [blob.digest for blob in artifact.blobs]
    return digests[:2] if len(digests) > 2 and firmware is Firmware.BIOS else []


def firmware_of(artifact: Artifact, asked: Firmware) -> Firmware:
    """What the machine has: UEFI also where nothing else could start the kernel."""
    known = TABLE[artifact.config.architecture]
    return asked if known.bios or direct(artifact, asked) else Firmware.UEFI


def machine_start(artifact: Artifact, firmware: Firmware, *, kvm: bool) -> MachineStart:
    """What a Report says of the start of a VM. kvm: its processor is a real one."""
    architecture, firmware = TABLE[artifact.config.architecture], firmware_of(artifact, firmware)
    if not direct(artifact, firmware):
        asked = len(artifact.blobs) > 2 and firmware is Firmware.UEFI
        why = "UEFI was requested" if asked else "the disk came without its kit"
        return MachineStart(
            loader="disk",
            firmware=firmware.value,
            kernel_line=disk_line(architecture),
            mitigations=True,
            reasons=(f"the disk's own boot loader starts the kernel, because {why}",),
        )
    slow = "a BIOS would read it sector by sector" if architecture.bios else "UEFI takes longer"
    quick = f"QEMU loads the kernel that is stored beside the disk, because {slow}"
    guard = (
        "the kernel's CPU mitigations stay on, because the processor is a real one"
        if kvm
        else "the kernel's CPU mitigations are off, because an emulated processor does not "
        "speculate"
    )
    return MachineStart(
        loader="direct",
        firmware=firmware.value,
        kernel_line=direct_line(architecture, kvm=kvm),
        mitigations=kvm,
        reasons=(quick, guard),
    )
