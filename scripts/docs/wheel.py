"""Put the man pages into the wheel's data when `make man` has made them."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling calls `initialize` before it builds a wheel (pyproject.toml)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable" and (Path(self.root) / "build/man").is_dir():
            build_data["shared_data"]["build/man"] = "share/man/man1"
