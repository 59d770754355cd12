"""What a host needed a trial to say, kept on this machine for the next check.

A file for each endpoint in a private folder of the cache. The host itself says whether what is kept
still holds: it gets the mark that it gave with it, and compares that with its own.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from portkit import files
from portkit.guest.kit import cache_root
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

_LIMIT = 64 << 10  # bytes; an entry has some 300


class Kept:
    """The folder with what hosts said."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_root() / "facts"

    def read(self, endpoint: str) -> JsonObject:
        """What the host at this endpoint said; empty where nothing is kept, or it is damaged."""
        try:
            row = strict_json.loads(files.content(self._path(endpoint), _LIMIT))
        except (OSError, ValueError):
            return {}
        right = isinstance(row, dict) and row.get("endpoint") == endpoint
        return row if right and isinstance(row.get("at"), int | float) else {}

    def write(self, endpoint: str, row: JsonObject) -> None:
        """Keep that instead of what was kept."""
        files.private_folder(self._folder, setting="PORTKIT_CACHE")
        with files.whole(self._path(endpoint)) as file:
            file.write(json.dumps({**row, "endpoint": endpoint, "at": time.time()}).encode())

    def _path(self, endpoint: str) -> Path:
        # An endpoint has slashes, and may be longer than a file's name.
        return self._folder / f"{hashlib.sha256(endpoint.encode()).hexdigest()}.json"
