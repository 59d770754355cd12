"""What is in the host's Store."""

from __future__ import annotations

import os
import re

from portkit.remote import store
from portkit.remote.channel import Channel
from portkit.wire.json_types import JsonObject

_HEX = re.compile(r"[0-9a-f]{64}")
_MOST = 20_000  # an answer holds no more


def listing(args: JsonObject, channel: Channel) -> JsonObject:
    """Digest and size of the blobs, the last written first where there are too many."""
    folder = store.ROOT / "blobs" / "sha256"
    rows = []
    for entry in os.scandir(str(folder)) if folder.is_dir() else ():
        try:
            found = entry.stat(follow_symlinks=False)
        # Removed by somebody else since the folder was read.
        except FileNotFoundError:
            continue
        if _HEX.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            rows.append((found.st_mtime, entry.name, found.st_size))
    rows.sort(reverse=True)
    return {"have": {"sha256:" + name: size for _, name, size in rows[:_MOST]}}
