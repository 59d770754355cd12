"""What servers check before they start."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.rule import Case, Found
from portkit.compat.versions import version
from portkit.model import Severity

# Elasticsearch's bootstrap check of file descriptors: 65536 up to 5, 65535 since, and OpenSearch.
_FILES, _FILES_OF_5 = 65535, 65536
_AFTER_5 = (6,)


def open_files(case: Case) -> Iterator[Found]:
    """A server that checks how many files it may open before it starts, as Elasticsearch does where
    other hosts can reach its node. Java raises its limit to the highest that it may have."""
    found = case.needs.software_named("many-maps") if case.needs else None
    limit = case.spec.ulimits.get("nofile")
    if found is None or limit is None or limit.hard < 0:
        return
    old = () < version(found.version) < _AFTER_5 and "elasticsearch" in found.path
    wanted = _FILES_OF_5 if old else _FILES
    if limit.hard < wanted:
        perhaps = "" if found.sure else "unless it runs as a single node, "
        yield Found(
            f"{perhaps}the app refuses to start, because it may open {limit.hard} files and it "
            f"needs {wanted}",
            (found.path, f"ulimits.nofile: {limit.hard}"),
            severity=None if found.sure else Severity.WARNING,
        )
