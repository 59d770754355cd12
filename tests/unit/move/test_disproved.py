"""What the rules miss in an image whose App runs at its source."""

from dataclasses import replace

from portkit import compat
from portkit.compat import Scope
from portkit.compat.owner import OF_THE_IMAGE
from portkit.model import App, Finding, Service, Severity
from portkit.move import prepare

APP = App("a", (Service("a"),), "container:a", running=True, seen_up=True)
MISSING = ("missing-command", "missing-loader", "missing-library", "not-executable")


def rows(severity: Severity, *rules: str) -> tuple[Finding, ...]:
    return tuple(Finding(rule, severity, "no", (), "Do it.") for rule in rules)


def test_an_app_that_runs_lacks_nothing() -> None:
    for severity in (Severity.ERROR, Severity.UNKNOWN):
        found = rows(severity, *MISSING, "symbol-version")
        assert prepare.disproved(APP, found) == rows(Severity.WARNING, *MISSING, "symbol-version")
        assert prepare.disproved(replace(APP, seen_up=False), found) == found, "it does not run"


def test_what_is_of_the_target_stays() -> None:
    for severity in Severity:
        found = rows(severity, "cpu-level", "system", "needs-unread", "architecture")
        assert prepare.disproved(APP, found) == found
    for severity in (Severity.INFO, Severity.WARNING):
        found = rows(severity, *MISSING)
        assert prepare.disproved(APP, found) == found


def test_the_rules_are_those_of_the_app_alone() -> None:
    scopes = {rule.id: rule.scope for rule in compat.RULES}
    assert {scopes[name] for name in OF_THE_IMAGE} == {Scope.APP}
