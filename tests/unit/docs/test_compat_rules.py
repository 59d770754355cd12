"""docs/compat-rules.md is made from the rules, and is up to date."""

from pathlib import Path

from portkit import compat
from scripts.docs.compat_rules import page

ROOT = Path(__file__).parents[3]


def test_the_page_is_that_of_the_rules() -> None:
    made = (ROOT / "docs/compat-rules.md").read_text()
    assert made == page(), "python -m scripts.docs.compat_rules"


def test_every_rule_is_a_row() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [rule.id for rule in compat.RULES]
    assert all(row.count(" | ") == 6 for row in rows)


def test_rules_about_what_others_made_name_their_source() -> None:
    from portkit.compat.table_of_needs import NEEDS

    assert {rule.id for rule in NEEDS if not rule.source} == {"needs-unread"}
