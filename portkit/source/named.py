"""How people name what runs."""

from __future__ import annotations

import os
from pathlib import Path

from portkit.app import compose
from portkit.errors import AppError


def named(what: str) -> str:
    """`project:FOLDER`, a folder of this machine with a compose file, as `project:NAME`; every
    other name as it is. AppError where there is no such file."""
    kind, _, name = what.partition(":")
    if kind != "project" or not ("/" in name or name.startswith((".", "~"))):
        return what
    try:
        # As compose, which takes the folder's own name and not that of what it links to.
        folder = Path(os.path.abspath(Path(name).expanduser()))  # noqa: PTH100
        return f"project:{compose.project_name(folder, os.environ)}"
    except (RuntimeError, ValueError) as error:  # no such user, NUL
        raise AppError("the folder was not found", details=f"{name[:200]!r}: {error}") from error
