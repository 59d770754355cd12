"""Five hundred spoilt files for each reader of an image's files: an answer or our own error, at
once."""

from pathlib import Path

import pytest

from tests.fuzz.readers import readers

TABLE = readers()
CASES = 500


@pytest.mark.parametrize("name", ["elf", "needs", "os-release", "image-config"])
def test_spoilt_files(name: str, tmp_path: Path) -> None:
    for number in range(CASES):
        data = TABLE[name].case(f"hostile {number}")
        TABLE[name].run(data, tmp_path)
