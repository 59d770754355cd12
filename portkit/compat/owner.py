"""What stands in the way of one Move: the App runs on the source, or a bundle is incomplete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portkit.compat.rule import Found

_MAX_LISTED = 50  # blobs; more make an error that nobody reads


@dataclass(frozen=True)
class Running:
    """names: of the containers and domains on the source that run the App."""

    source: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Lacking:
    """blobs: digest and size of what was left out of a bundle and the target does not have."""

    made_for: str
    target: str
    blobs: Mapping[str, int]


def running(source: Running) -> Iterator[Found]:
    """Moving it as well would make two owners of its data."""
    if source.names:
        where = tuple(f"{source.source}: {name}" for name in source.names)
        yield Found("the App is running on the source", where)


def bundle_lacks(lacking: Lacking) -> Iterator[Found]:
    """A bundle that was made for a host works only where that host's content is."""
    if not lacking.blobs:
        return
    rows = [f"{digest}, {size} bytes" for digest, size in sorted(lacking.blobs.items())]
    if len(rows) > _MAX_LISTED:
        rows[_MAX_LISTED:] = [f"{len(rows) - _MAX_LISTED} more"]
    yield Found(
        f"the bundle was made for {lacking.made_for or 'another host'}, and {lacking.target} "
        "lacks what was left out of it",
        tuple(rows),
    )
