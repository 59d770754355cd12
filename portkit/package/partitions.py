"""The partition table of a disk: a boot partition, and behind it the root.

Source: UEFI specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from portkit import process
from portkit.errors import AppError
from portkit.guest import boot_partition

_MIB = 1 << 20
_SECTOR = 512
_ROOT_START = boot_partition.START + boot_partition.BYTES
_LAST = _MIB  # GPT's second copy is in the last MiB
_SPARE_BYTES = 512 * _MIB  # what the app may write beside its image; holes cost nothing
# A root grows in whole groups of ext4: then its tables stay where they were.
_STEP = 128 * _MIB
_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"  # table 5.7
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # Linux filesystem data
_LEGACY_BOOTABLE = "LegacyBIOSBootable"  # table 5.8; what gptmbr.bin looks for


@dataclass(frozen=True)
class Layout:
    """Bytes of the whole disk, and where its root is; the boot partition lies before that."""

    size: int
    root_start: int
    root_bytes: int


def layout(content_bytes: int, wanted_bytes: int | None = None) -> Layout:
    """Where the partitions are. content_bytes: what the root has to hold.

    AppError when `wanted_bytes` (of the whole disk) is too small for it.
    """
    least = content_bytes + content_bytes // 16 + _ROOT_START + 33 * _MIB
    root = -(-(content_bytes + content_bytes // 4 + _SPARE_BYTES) // _STEP) * _STEP
    size = wanted_bytes or root + _ROOT_START + _LAST
    size = -(-max(size, _ROOT_START + _LAST) // _MIB) * _MIB
    if size < least:
        raise AppError(
            "the requested disk is too small for the image",
            details=f"{size} bytes requested, at least {least} needed",
            resolution="Raise x-portkit.disk, or remove it.",
        )
    return Layout(size, _ROOT_START, size - _ROOT_START - _LAST)


def write(disk: Path, bounds: Layout, *, whole: UUID, boot: UUID, root: UUID) -> None:
    """Write the table into a file that has the disk's size. Raises ToolError."""
    first = boot_partition.START // _SECTOR
    rows = [
        f"label: gpt\nlabel-id: {whole}\nunit: sectors\nfirst-lba: 34\n",
        f"start={first}, size={boot_partition.BYTES // _SECTOR}, type={_ESP}, uuid={boot}, "
        f'name="portkit-boot", attrs="{_LEGACY_BOOTABLE}"\n',
        f"start={bounds.root_start // _SECTOR}, size={bounds.root_bytes // _SECTOR}, "
        f'type={_LINUX}, uuid={root}, name="portkit-root"\n',
    ]
    argv: list[str | Path] = [
        "sfdisk",
        "--quiet",
        "--no-reread",
        "--no-tell-kernel",
        "--wipe=never",
        disk,
    ]
    process.run(argv, input="".join(rows).encode(), timeout=60)
