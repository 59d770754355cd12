"""docs/troubleshooting.md has every exit code and every rule; links and anchors lead somewhere."""

import re
from pathlib import Path

from portkit import compat
from scripts.docs.codes import exit_codes
from tests.unit.docs.finding_codes import codes_in

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
HEADINGS = set(re.findall(r"^### (.+?) \{#[\w-]+\}$", PAGE, re.MULTILINE))


CODES = codes_in(ROOT / "portkit")


def test_every_exit_code() -> None:
    codes = [heading for heading in HEADINGS if heading[0].isdigit()]
    told = {code for heading in codes for code in re.findall(r"\d+", heading)}
    assert told == {code for code, _ in exit_codes()}


def test_every_rule() -> None:
    """A new rule needs a paragraph on the page: what the user can do about it."""
    rules = {rule.id for rule in compat.RULES} | CODES.rules
    assert {heading for heading in HEADINGS if not heading[0].isdigit()} == rules


def test_every_place_that_makes_a_finding_is_understood() -> None:
    """Elsewhere a rule is a text, or a parameter for which callers give one."""
    assert CODES.computed == {
        "bundle/document.py",  # of a Finding that was made when the bundle was packed
        "compat/profile.py",  # of the Finding that a document's answer replaces
        "compat/rule.py",  # those of compat.RULES
    }
    assert {"compose-not-carried", "volume-shared", "live-confined", "unverified"} <= CODES.rules


def test_a_rule_is_found_through_the_functions_that_pass_it_on(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "def _error(text, rule): return Finding(rule, text)\n"
        "class Reader:\n"
        "    def note(self, rule): self.found.append(_error('x', rule=rule))\n"
        "Finding('direct', 1)\n"
        "_error('x', 'through')\n"
    )
    (tmp_path / "two.py").write_text(
        "reader.note('method')\n_error('is not that', 'one')\nother.Finding(rule=words[0])\n"
    )
    found = codes_in(tmp_path)
    assert found.rules == {"direct", "through", "method"}
    assert found.computed == {"two.py"}


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == exit_codes()
