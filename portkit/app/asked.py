"""`--health`: what the user says of how an App is asked, in place of what the App itself says.

The keys and their values are those of `x-portkit.health`, and read by the same reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from portkit.app.document import Value
from portkit.app.files import Folder
from portkit.app.health import front_of, health_of
from portkit.app.reader import Reader
from portkit.errors import AppError
from portkit.model import App
from portkit.wire.labels import SETTING


class _Reader(Reader):
    """Of the user's words: an error names the key, as there is no line of a file."""

    def __init__(self, rows: Mapping[str, Value]) -> None:
        super().__init__(Path("--health"), Folder(Path()), {})
        self._asked = rows

    def error(self, value: Value | None, why: str, resolution: str = "") -> AppError:
        """An AppError that names the key of the value."""
        key = next((name for name, each in self._asked.items() if each is value), "")
        return AppError(
            "what --health says cannot be used",
            details=f"{key[:80]}: {why}" if key else why,
            resolution=resolution or "docs/compose.md lists the keys of x-portkit.health.",
        )


def with_health(app: App, health: Mapping[str, str]) -> App:
    """The App with `health`, by the keys of x-portkit.health, in place of what it says itself of
    the service that answers for it. AppError for what does not fit; a CA's file is found from the
    current folder."""
    if not health:
        return app
    # It may be read again in another folder.
    health = {key: _absolute(text) if key == "ca_file" else text for key, text in health.items()}
    rows = {key: Value(text, 1) for key, text in health.items()}
    extra = Value({"health": Value(rows, 1)}, 1)
    reader = _Reader(rows)
    front = front_of(reader, extra, [each.name for each in app.services])
    app = replace(app, front=front or app.front)
    service = app.front_service
    # A label of the same meaning would count where the App is read from its container next.
    replaced = {f"{SETTING}health.{key}" for key in health}
    asked = replace(
        service,
        health=health_of(reader, extra, top=True, default=service.health),
        labels={key: text for key, text in service.labels.items() if key not in replaced},
    )
    services = tuple(asked if each is service else each for each in app.services)
    return replace(app, services=services, reading=replace(app.reading, health=health))


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
