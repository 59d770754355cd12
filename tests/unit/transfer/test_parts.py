"""A part that another connection writes to as well."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.remote import receive as parts


class Channel:
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def receive(self) -> Iterator[bytes]:
        yield from self._chunks


def test_what_another_appends_is_not_read(tmp_path: Path) -> None:
    """It has the part open since before this one went on with it."""
    path = tmp_path / "part"
    path.write_bytes(b"mine")
    with path.open("a+b") as kept:
        came = parts._arriving(kept, Channel(b" and", b" more"), 4)
        with path.open("ab") as other:
            other.write(b"foreign")
        assert b"".join(came) == b"mine and more"


def test_a_part_of_many_chunks(tmp_path: Path) -> None:
    data = os.urandom((2 << 20) + 7)
    path = tmp_path / "part"
    path.write_bytes(data)
    with path.open("a+b") as kept:
        assert b"".join(parts._arriving(kept, Channel(b"x"), len(data))) == data + b"x"
    assert path.read_bytes() == data + b"x"


def test_a_part_that_another_cuts_off(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"mine")
    with path.open("a+b") as kept, pytest.raises(ValueError, match="shorter"):
        list(parts._arriving(kept, Channel(), 5))
