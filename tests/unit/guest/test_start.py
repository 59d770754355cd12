"""How a VM starts its kernel, as the report says it."""

import pytest

from portkit.guest.boot_partition import KERNEL_LINE, direct_line
from portkit.guest.start import direct, machine_start
from portkit.model import Artifact, Blob, Firmware, Form
from tests.factories import IMAGE


def disk(blobs: str) -> Artifact:
    return Artifact(
        Form.DISK, "disk", (IMAGE,), tuple(Blob(name, 1) for name in blobs.split()), 0, 0
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
def test_the_kernel_that_lies_beside_the_disk_is_started(
    blobs: str, firmware: Firmware, loader: str
) -> None:
    assert direct(disk(blobs), firmware) == (["kernel", "initrd"] if loader == "direct" else [])
    for kvm in (True, False):
        told = machine_start(disk(blobs), firmware, kvm=kvm)
        assert (told.loader, told.firmware) == (loader, firmware.value)
        line = direct_line(kvm) if loader == "direct" else KERNEL_LINE
        assert told.kernel_line == line, "what the domain is given"
        assert told.mitigations == ("mitigations=off" not in line)
        assert told.reasons


def test_protections_stay_on_where_the_processor_is_real() -> None:
    assert "mitigations" not in direct_line(kvm=True)
    assert "mitigations=off" in direct_line(kvm=False)
    real, emulated = (
        machine_start(disk("kernel initrd boot disk"), Firmware.BIOS, kvm=kvm)
        for kvm in (True, False)
    )
    assert "stay on" in real.reasons[-1]
    assert "emulated processor does not speculate" in emulated.reasons[-1]
