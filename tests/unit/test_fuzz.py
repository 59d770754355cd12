"""Some hundred cases of each reader, always the same; `make fuzz` takes minutes of others."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz import mutate
from tests.fuzz.readers import Reader, readers
from tests.fuzz.run import LIMIT_BYTES, Most, attempt

TABLE = readers()
CASES = 120


@pytest.mark.parametrize("name", TABLE)
def test_only_our_errors_come_out(name: str, tmp_path: Path) -> None:
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        TABLE[name].run(TABLE[name].case(f"unit {number}"), folder)


@pytest.mark.parametrize("name", TABLE)
def test_sound_input_is_read(name: str, tmp_path: Path) -> None:
    """Else the reader refuses everything at once, and nothing is tried."""
    for seed in TABLE[name].seeds:
        TABLE[name].read(seed, tmp_path)


def test_a_case_is_the_same_each_time() -> None:
    for name, reader in readers().items():
        if not name.startswith("bundle"):  # a bundle has a date
            assert reader.case("x 1") == TABLE[name].case("x 1")


def test_what_is_not_ours_is_a_finding(tmp_path: Path) -> None:
    def broken(data: bytes, folder: Path) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        Reader("broken", broken, mutate.spoil_bytes, (b"x",)).run(b"x", tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        {"image.list": {"images": [{}] * 200_000}},
        {"image.list": {"images": [{}] * 49_000}},
        {"store.has": {"have": {f"{number}": "" for number in range(99_000)}}},
    ],
    ids=["many", "objects", "keys"],
)
def test_an_answer_that_is_wrong_everywhere(value: Any) -> None:
    """pydantic keeps a kilobyte for each thing that it finds wrong."""
    most = Most()
    attempt(TABLE["answers"], json.dumps(value).encode(), most)
    assert (most.cases, most.peak_bytes < LIMIT_BYTES) == (1, True)


@pytest.mark.parametrize("value", [None, [], {}, {"a": [1, {"b": "c"}]}, [[[]]]])
def test_mutations_of_anything(value: Any) -> None:
    for number in range(200):
        chance = Random(number)
        spoilt = mutate.spoil_json(json.dumps(value).encode(), chance)
        for spoil in (mutate.spoil_bytes, mutate.spoil_lines, mutate.spoil_tar):
            assert isinstance(spoil(spoilt, chance), bytes)
            assert isinstance(spoil(b"", chance), bytes)
