"""The layers that a host's engine has: what need not travel, and what blobs can be made from."""

from __future__ import annotations

from dataclasses import dataclass

from portkit.errors import EngineError
from portkit.progress import Observer
from portkit.transfer.resume import Link, ask


@dataclass(frozen=True)
class Layers:
    """diffIDs of the layers in an engine; readable: those that the host can read there without
    asking the engine for a whole image."""

    there: frozenset[str] = frozenset()
    readable: frozenset[str] = frozenset()


def layers(link: Link, observer: Observer) -> Layers:
    """Asked anew at each call, which costs the engine one request an image; EngineError where no
    engine answers."""
    listed = ask(link, "image.list", {}, observer)
    there = frozenset(digest for image in listed["images"] for digest in image["diff_ids"])
    # The host lists what it can read on its disk. Layers of which no image is left are not meant:
    # the engine may remove them at any moment.
    return Layers(there, there & frozenset(listed.get("readable", ())))


def layers_if_any(link: Link, observer: Observer) -> Layers:
    """As `layers`; none where no engine answers."""
    try:
        return layers(link, observer)
    except EngineError:
        return Layers()
