"""How small a stream becomes, from some of the content."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.transfer.price import Packing
from portkit.transfer.sampled import places, sampled

_MIB = 1 << 20


@pytest.mark.parametrize("how", [Packing("zstd", 3), Packing("zlib", 1), Packing("raw", 0)])
def test_half_of_it_shrinks(tmp_path: Path, how: Packing) -> None:
    path = tmp_path / "blob"
    with path.open("wb") as file:
        for _ in range(20):
            file.write(os.urandom(_MIB // 2) + bytes(_MIB // 2))
        file.truncate(1 << 30)
    content, made = sampled(path, how)
    assert content == pytest.approx(20 * _MIB, rel=0.1)
    share = made / content
    assert share == 1 if how.encoding == "raw" else 0.2 < share < 0.8


def test_nothing_has_no_stream(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.touch()
    assert sampled(path, Packing("zstd", 3)) == (0, 0)


@given(st.lists(st.integers(1, 1 << 40), max_size=20))
def test_places_are_few_and_within_the_content(lengths: list[int]) -> None:
    extents, at = [], 0
    for length in lengths:
        extents.append((at, length))
        at += 2 * length
    found = places(extents)
    assert len(found) <= 17
    assert bool(found) == bool(lengths)
    assert all(any(o <= place < o + length for o, length in extents) for place in found)
