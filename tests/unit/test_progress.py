"""Progress for programs: a line of JSON for each event."""

import io
import json

from portkit.progress import JsonObserver


def test_bytes_of_each_name_are_told_now_and_then_and_when_complete() -> None:
    """What one thread counts does not silence the other."""
    stream = io.StringIO()
    observer = JsonObserver(stream, every_s=60)
    for done in range(4):
        observer.bytes("image", done, 3)
        observer.bytes("disk", done, 3)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    counts = [(row["name"], row["done"]) for row in rows]
    assert counts == [("image", 0), ("disk", 0), ("image", 3), ("disk", 3)]
