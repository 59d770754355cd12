"""How a VM starts its kernel, as the report says it."""

from dataclasses import replace

import pytest

from portkit.architecture import AMD64, ARM64
from portkit.guest.boot_partition import direct_line, disk_line
from portkit.guest.start import direct, firmware_of, machine_start
from portkit.model import Artifact, Blob, Firmware, Form
from tests.factories import IMAGE


def disk(blobs: str, architecture: str = "amd64") -> Artifact:
    image = replace(IMAGE, architecture=architecture)
    return Artifact(
        Form.DISK, "disk", (image,), tuple(Blob(name, 1) for name in blobs.split()), 0, 0
    )


@pytest.mark.parametrize(
    ("blobs", "firmware", "loader"),
    [
        ("kernel initrd boot disk", Firmware.BIOS, "direct"),
        ("kernel initrd disk", Firmware.BIOS, "direct"),
        ("kernel initrd boot disk", Firmware.UEFI, "disk"),
        ("disk", Firmware.BIOS, "disk"),
    ],
)
def test_the_kernel_that_is_stored_beside_the_disk_is_started(
    blobs: str, firmware: Firmware, loader: str
) -> None:
    assert direct(disk(blobs), firmware) == (["kernel", "initrd"] if loader == "direct" else [])
    for kvm in (True, False):
        told = machine_start(disk(blobs), firmware, kvm=kvm)
        assert (told.loader, told.firmware) == (loader, firmware.value)
        line = direct_line(AMD64, kvm=kvm) if loader == "direct" else disk_line(AMD64)
        assert told.kernel_line == line, "what the domain is given"
        assert told.mitigations == ("mitigations=off" not in line)
        assert told.reasons


def test_protections_stay_on_where_the_processor_is_real() -> None:
    assert "mitigations" not in direct_line(AMD64, kvm=True)
    assert "mitigations=off" in direct_line(AMD64, kvm=False)
    real, emulated = (
        machine_start(disk("kernel initrd boot disk"), Firmware.BIOS, kvm=kvm)
        for kvm in (True, False)
    )
    assert "stay on" in real.reasons[-1]
    assert "emulated processor does not speculate" in emulated.reasons[-1]


def test_a_disk_for_arm64_starts_without_a_bios() -> None:
    whole, bare = (disk(blobs, "arm64") for blobs in ("kernel initrd boot disk", "disk"))
    told = machine_start(whole, Firmware.BIOS, kvm=False)
    assert (told.loader, told.firmware) == ("direct", "bios")
    assert "ttyAMA0" in told.kernel_line
    assert "no_timer_check" not in told.kernel_line, "of x86 alone"
    assert "BIOS" not in told.reasons[0]
    # Nothing but UEFI could start a kernel that is in the disk alone.
    assert firmware_of(bare, Firmware.BIOS) is Firmware.UEFI
    assert machine_start(bare, Firmware.BIOS, kvm=False).firmware == "uefi"
    assert firmware_of(disk("disk"), Firmware.BIOS) is Firmware.BIOS
    assert disk_line(ARM64).startswith("console=tty0 console=ttyAMA0 ")
