"""What stands in the way of a Move as a whole: a running App, or an incomplete bundle; and what an
App that runs shows of its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from portkit.compat.rule import Found
from portkit.model import Finding, Severity

# Rules about what an image lacks for its own start, wherever that is.
OF_THE_IMAGE = frozenset(
    (
        "missing-command",
        "missing-library",
        "missing-loader",
        "missing-user",
        "not-executable",
        "permission-denied",
        "file-in-the-way",
        "symbol-version",
    )
)
_REFUSES = (Severity.ERROR, Severity.UNKNOWN)
_MAX_LISTED = 50  # blobs; nobody reads an error with more


@dataclass(frozen=True)
class Running:
    """The containers and domains on the source that run the App, by their names."""

    source: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Lacking:
    """A bundle and a target. blobs: digest and size of what neither of the two has."""

    made_for: str
    target: str
    blobs: Mapping[str, int]


def running(source: Running) -> Iterator[Found]:
    """Starting the App on the target as well would give its data two owners."""
    if source.names:
        where = tuple(f"{source.source}: {name}" for name in source.names)
        yield Found("the App is running on the source", where)


def bundle_lacks(lacking: Lacking) -> Iterator[Found]:
    """A bundle made for one host needs what that host has; another host may not have it."""
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


def disproved(found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Findings that an App is missing something are warnings where it runs at its source with the
    same image: they are mistaken, or what they are about is never started."""
    return tuple(
        replace(row, severity=Severity.WARNING)
        if row.rule in OF_THE_IMAGE and row.severity in _REFUSES
        else row
        for row in found
    )
