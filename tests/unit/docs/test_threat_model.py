"""docs/threat-model.md: the numbers that comments in the code refer to."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/threat-model.md").read_text()
_MENTION = re.compile(r"hostile inputs? (\d+(?:,? (?:and )?\d+)*)", re.IGNORECASE)


def mentioned(text: str) -> set[int]:
    return {int(number) for found in _MENTION.findall(text) for number in re.findall(r"\d+", found)}


def listed() -> list[int]:
    return [int(number) for number in re.findall(r'^\| <a id="n\d+"></a>(\d+) \|', PAGE, re.M)]


def test_several_numbers_are_read() -> None:
    assert mentioned("# Hostile inputs 15, 16 and 45; hostile input 3.") == {15, 16, 45, 3}


def test_the_numbers_run_from_1_to_61() -> None:
    assert listed() == list(range(1, 62))


def test_every_number_in_the_code_is_on_the_page() -> None:
    for folder in ("portkit", "cli", "tests", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            assert mentioned(path.read_text()) <= set(listed()), path


def test_every_file_that_the_page_names_exists() -> None:
    for name in re.findall(r"`((?:tests|bench)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).is_file(), name
