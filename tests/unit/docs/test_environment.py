"""docs/environment.md: every variable of portkit that the code reads, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
_NAME = re.compile(r"\b_?PORTKIT_[A-Z][A-Z_]*\b")
_ELSEWHERE = {
    "PORTKIT_INIT_H",  # a guard of the C preprocessor
    "_PORTKIT_COMPLETE",  # read by click
}


def read_by_the_code() -> set[str]:
    paths = [
        path
        for folder in ("portkit", "cli", "tests", "bench", "scripts")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sh", ".c", ".h") and path != Path(__file__)
    ]
    return {name for path in paths for name in _NAME.findall(path.read_text())}


def test_the_page_is_what_the_code_reads() -> None:
    page = (ROOT / "docs/environment.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed - _ELSEWHERE == read_by_the_code() - _ELSEWHERE
