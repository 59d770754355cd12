"""docs/troubleshooting.md has every exit code and every rule; links and anchors lead somewhere."""

import re
from pathlib import Path

from portkit import compat
from scripts.docs.codes import exit_codes

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
HEADINGS = set(re.findall(r"^### (.+?) \{#[\w-]+\}$", PAGE, re.MULTILINE))


def rules_of_the_reader() -> set[str]:
    """Findings that reading an App makes, also one that runs: note("rule", ...), Finding("rule",
    ...) and _error("rule", ...)."""
    folders = (ROOT / "portkit/app", ROOT / "portkit/source")
    text = "\n".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    return set(re.findall(r'(?:\.note|Finding|\b_error)\(\s*"([a-z-]+)"', text))


def test_every_exit_code() -> None:
    codes = [heading for heading in HEADINGS if heading[0].isdigit()]
    told = {code for heading in codes for code in re.findall(r"\d+", heading)}
    assert told == {code for code, _ in exit_codes()}


def test_every_rule() -> None:
    """A new rule needs a paragraph on the page: what the user can do about it."""
    rules = {rule.id for rule in compat.RULES} | rules_of_the_reader()
    assert {heading for heading in HEADINGS if not heading[0].isdigit()} == rules


def test_the_reader_has_rules() -> None:
    assert {"compose-not-carried", "source-stopped", "live-confined"} <= rules_of_the_reader()


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == exit_codes()
