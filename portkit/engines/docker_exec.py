"""A command that is run in a container of somebody else's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from portkit.engines.patience import Late, within
from portkit.errors import ToolError

_TAIL = 4096  # bytes of the output that are kept: programs say at the end what went wrong


def execute(api: Any, container: str, argv: Sequence[str], within_s: float) -> None:
    """Run a command in a container, as the user that the container has. ToolError when it fails, or
    does not end in so many seconds; what it has begun goes on then, for no engine can end it.

    Source: moby, api/swagger.yaml, /containers/{id}/exec and /exec/{id}/json.
    """
    identity = api.exec_create(container, list(argv))["Id"]
    started = time.monotonic()
    said = bytearray()
    try:
        within(within_s, lambda: _read(api.exec_start(identity, stream=True), said))
    except Late:
        raise _failed(argv, f"did not end within {within_s:g} s", said) from None
    while (row := api.exec_inspect(identity))["Running"]:
        # Its output may end before it does.
        if time.monotonic() - started > within_s:
            raise _failed(argv, f"did not end within {within_s:g} s", said)
        time.sleep(0.1)
    if row["ExitCode"] != 0:
        raise _failed(argv, f"ended with code {row['ExitCode']}", said)


def _read(pieces: Iterator[bytes], said: bytearray) -> None:
    for piece in pieces:
        said += piece
        del said[:-_TAIL]


def _failed(argv: Sequence[str], how: str, said: bytearray) -> ToolError:
    shell = tuple(argv[:2]) == ("/bin/sh", "-c")
    shown = argv[2] if shell else " ".join(argv)
    tail = bytes(said).decode("utf-8", "replace").strip()
    return ToolError(
        f"a command in the container {how}",
        details=f"{shown[:500]}\n{tail}".strip(),
        resolution="Read its output above. The command is set in x-portkit.quiesce.",
    )
