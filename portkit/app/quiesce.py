"""`x-portkit.quiesce`, and what labels say instead of an `x-portkit` block.

A container that runs has labels and no compose file: `x-portkit.health.path=/ready` on it is the
same as `x-portkit: {health: {path: /ready}}` in the file. Only what asks or tells the App itself
can be said like that: a label comes from a host, and names no file of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Quiesce, Severity
from portkit.wire.labels import SETTING

_BY_LABEL = {
    "health": {
        "contains",
        "expect",
        "method",
        "path",
        "port",
        "running",
        "scheme",
        "settle",
        "timeout",
    },
    "quiesce": {"after", "before", "timeout"},
}


def quiesce_of(reader: Reader, extra: Value) -> Quiesce:
    """What the block says; nothing where it has no `quiesce`."""
    row = reader.block(extra, "quiesce", _BY_LABEL["quiesce"])
    if row is None:
        return Quiesce()
    timeout = row.get("timeout")
    return Quiesce(
        before=_command(reader, row.get("before"), "before"),
        after=_command(reader, row.get("after"), "after"),
        timeout_s=Quiesce.timeout_s if timeout is None else reader.use(timeout, values.duration),
    )


def _command(reader: Reader, value: Value | None, key: str) -> tuple[str, ...]:
    """A list as it is, a text for the container's shell."""
    if value is None:
        return ()
    if isinstance(value.data, list):
        found = tuple(reader.text(each) for each in value.data)
    else:
        text = reader.text(value, f"x-portkit.quiesce.{key}")
        found = ("/bin/sh", "-c", text) if text.strip() else ()
    if not found or not found[0]:
        raise reader.error(value, f"x-portkit.quiesce.{key} is empty")
    return found


def with_labels(reader: Reader, extra: Value, labels: Mapping[str, str]) -> Value:
    """The block, and what labels say where it is silent. A label that means nothing is a finding:
    whoever wrote it believes that it does something."""
    found: dict[str, dict[str, Value]] = {}
    for name, text in labels.items():
        if not name.startswith(SETTING):
            continue
        block, _, key = name.removeprefix(SETTING).partition(".")
        if key in _BY_LABEL.get(block, ()):
            found.setdefault(block, {})[key] = _said(extra, text)
        else:
            message = (
                f"portkit does not know the label {name[:120]!r}, or only reads that "
                "setting from a file"
            )
            reader.note("compose-not-carried", extra, message, Severity.WARNING)
    rows = dict(reader.mapping(extra))
    for block, told in found.items():
        own = rows.get(block, replace(extra, data={}))
        rows[block] = replace(own, data={**told, **reader.mapping(own)})
    return replace(extra, data=rows)


def _said(at: Value, text: str) -> Value:
    """A label's text; a JSON list of texts is one, as in a Dockerfile."""
    if text.startswith("["):
        try:
            items = json.loads(text)
        except ValueError:
            items = None
        if isinstance(items, list) and all(isinstance(each, str) for each in items):
            return replace(at, data=[replace(at, data=each) for each in items])
    return replace(at, data=text)
