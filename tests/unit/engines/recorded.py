"""What engines answered about containers, recorded in fixtures/inspected, and asked again."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import docker.errors

from portkit.engines.described import look, project

FOLDER = Path(__file__).parents[3] / "fixtures/inspected"
Said = dict[str, Any]


class Recorded:
    """An engine that answers what was recorded."""

    def __init__(self, said: Said) -> None:
        self._said = {"containers": [], **said}

    def __getattr__(self, how: str) -> Any:
        def answer(*args: str, **_: object) -> Any:
            key = " ".join((how, *args))
            if key not in self._said:
                raise docker.errors.NotFound(key)
            return copy.deepcopy(self._said[key])

        return answer


def said(engine: str) -> Said:
    """engine: its version."""
    return cast(Said, json.loads((FOLDER / f"docker-{engine}.json").read_text()))


def shown(answers: Said, name: str) -> project.Project:
    """The compose file of the container of that name."""
    seen = look.container(cast(Any, Recorded(answers)), name)
    assert seen is not None
    return project.project(seen, name)
