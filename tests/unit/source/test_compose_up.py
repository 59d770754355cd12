"""What compose would do with an App that has moved."""

from types import SimpleNamespace
from typing import Any

from portkit.source.hindrances import compose_up


def seen(*rows: tuple[str, str]) -> Any:
    found = [SimpleNamespace(project=project, service=service) for project, service in rows]
    return SimpleNamespace(containers=found)


def test_what_the_next_up_does() -> None:
    assert list(compose_up(seen(("", "wiki")))) == []
    (several,) = compose_up(seen(("shop", "web"), ("shop", "db")))
    assert (several.rule, several.severity) == ("compose-up", "warning")
    assert "at its source again" in several.message
    assert "anew, without what they had changed" in several.message
    (alone,) = compose_up(seen(("shop", "web")))
    assert "a second container beside" in alone.message
