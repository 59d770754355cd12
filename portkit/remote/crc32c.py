"""CRC-32C as ext4 takes it: without the inversion at either end, so that sums can be continued.

Source: Linux, Documentation/filesystems/ext4/checksums.rst. Python's zlib has another polynomial.
"""

from __future__ import annotations

import sys
from array import array
from typing import List

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
SEED = 0xFFFFFFFF
_TABLE: List[int] = []


def _table() -> List[int]:
    """What 16 bits make of the sum: two bytes at a time take half as long as one."""
    if not _TABLE:
        small = []
        for number in range(256):
            for _ in range(8):
                number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
            small.append(number)
        for number in range(1 << 16):
            first = small[number & 255]
            _TABLE.append(small[(first ^ number >> 8) & 255] ^ first >> 8)
    return _TABLE


def extend(total: int, data: bytes) -> int:
    """The sum of what `total` is the sum of, and of the data behind it."""
    table = _table()
    words = array("H", data[: len(data) & ~1])
    if sys.byteorder == "big":
        words.byteswap()
    for word in words:
        total = table[(total ^ word) & 0xFFFF] ^ total >> 16
    if len(data) & 1:
        number = (total ^ data[-1]) & 255
        for _ in range(8):
            number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
        total = number ^ total >> 8
    return total
