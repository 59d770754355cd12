"""CRC-32C as ext4 takes it: without the inversion at either end, so that sums can be continued.

Source: Linux, Documentation/filesystems/ext4/checksums.rst.
"""

from __future__ import annotations

import struct

import crc32c

_ALL = 0xFFFFFFFF


def extend(seed: int, data: bytes) -> int:
    """The sum of what `seed` is the sum of, followed by `data`."""
    return crc32c.crc32c(data, seed ^ _ALL) ^ _ALL


# What all sums but the superblock's begin with ("metadata_csum_seed"). mke2fs takes the UUID; here
# it is the same for all disks: else no inode of an image's next version would be as it was.
SEED = extend(_ALL, b"portkit")


def of_inode(number: int) -> int:
    """What the sums of an inode and of its own blocks begin with. Generations are all 0."""
    return extend(SEED, struct.pack("<II", number, 0))
