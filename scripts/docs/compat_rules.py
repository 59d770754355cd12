"""Makes docs/compat-rules.md from the table of rules: `python -m scripts.docs.compat_rules`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portkit.compat import RULES
from portkit.compat.rule import Rule
from portkit.model import Severity
from scripts.docs.site import cell

PAGE = Path(__file__).parents[2] / "docs" / "compat-rules.md"
_HEAD = """\
# Every compatibility rule, and what it is based on

`python -m scripts.docs.compat_rules` makes this page from the rules themselves; do not edit it by
hand. [Compatibility](compatibility.md) says how the rules are used, and
[troubleshooting](troubleshooting.md#by-rule) what to do about each. A name with `#` and a number is
an issue of that project, where people reported the problem. If no source is named, the rule follows
from how portkit starts an App.

| rule | severity | scope | forms | finds | source | exit code |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(f"| {' | '.join(_cells(rule))} |\n" for rule in RULES)


def _cells(rule: Rule[Any]) -> list[str]:
    return [
        rule.id,
        rule.severity.value,
        rule.scope.value,
        "both" if len(rule.forms) == 2 else next(iter(rule.forms)).value,
        cell(rule.look.__doc__ or ""),
        cell(rule.source),
        str(rule.error.exit_code) if rule.severity is Severity.ERROR else "",
    ]


if __name__ == "__main__":
    PAGE.write_text(page())
