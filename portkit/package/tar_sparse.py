"""Where the data of a sparse file in a tar is: the formats of GNU tar, with limits.

Source: GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from typing import BinaryIO

from portkit.package.tar_fields import BLOCK, Before, TarError, decimal, number, read

MAX_HOLES = 65_536  # pieces of one sparse file

Pieces = tuple[tuple[int, int], ...]  # (offset in the file, bytes) in order


def check(name: str, pieces: Pieces, size: int, stored: int) -> None:
    """TarError where the pieces overlap, leave the file, or are not what is stored."""
    done = total = 0
    for offset, length in pieces:
        if offset < done or length < 0 or offset + length > size:
            raise TarError(f"{name[:200]!a} is a sparse file with an invalid map")
        done, total = offset + length, total + length
    if total != stored:
        raise TarError(
            f"{name[:200]!a} is a sparse file of {total} bytes, but the archive has {stored}"
        )


def _pairs(numbers: list[int]) -> Pieces:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_HOLES:
        raise TarError(f"a sparse file has an odd map, or more than {MAX_HOLES} pieces")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def in_header(file: BinaryIO, block: bytes, data: int) -> tuple[Pieces, int]:
    """The map of GNU's old format: four pieces in the header, then blocks of 21."""
    numbers: list[int] = []
    at, count, more = 386, 4, block[482]
    while True:
        for place in range(at, at + 24 * count, 24):
            if block[place] == 0:
                break
            numbers += [number(block[place : place + 12]), number(block[place + 12 : place + 24])]
        if not more:
            return _pairs(numbers), data
        if len(numbers) > 2 * MAX_HOLES:
            raise TarError(f"a sparse file has more than {MAX_HOLES} pieces")
        block = b"".join(read(file, data, BLOCK))
        at, count, more, data = 0, 21, block[504], data + BLOCK


def in_records(file: BinaryIO, before: Before, data: int, stored: int) -> tuple[Pieces, int] | None:
    """The map of a sparse file as pax records describe it, and how much of the content it takes;
    None for another file. Formats 0.0, 0.1 and 1.0 of GNU tar."""
    records = before.records
    version = (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor"))
    if version == ("1", "0"):
        return _map_in_content(file, data, stored)
    if version not in ((None, None), ("0", "0"), ("0", "1")):
        return None
    if "GNU.sparse.map" in records:
        words = records["GNU.sparse.map"].split(",") if records["GNU.sparse.map"] else []
    elif version == (None, None) and not before.pieces:
        return None
    else:
        words = before.pieces
    return _pairs([decimal(word) for word in words[: 2 * MAX_HOLES + 1]]), 0


def _map_in_content(file: BinaryIO, data: int, stored: int) -> tuple[Pieces, int]:
    """Lines of decimal numbers at the head of the content: how many pieces, then each."""
    numbers: list[int] = []
    wanted, used, rest = 1, 0, b""
    while len(numbers) < wanted:
        if used + BLOCK > stored:
            raise TarError("the map of a sparse file does not end")
        rest += b"".join(read(file, data + used, BLOCK))
        used += BLOCK
        *lines, rest = rest.split(b"\n")
        numbers += [decimal(line.decode("ascii", "replace")) for line in lines if line[:1] != b"\0"]
        if len(rest) > BLOCK or (numbers and numbers[0] > MAX_HOLES):
            raise TarError(f"a sparse file has no map, or more than {MAX_HOLES} pieces")
        wanted = 1 + 2 * numbers[0] if numbers else 1
    if len(numbers) > wanted:
        raise TarError("the map of a sparse file is longer than it says")
    return _pairs(numbers[1:]), used
