"""A pair of folders on two hosts that are this machine."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.transfer.far import Far
from tests.unit.volumes.folders import Pair


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Far]]:
    """Two remote halves. What one keeps in memory it keeps for each folder."""
    root = tmp_path_factory.mktemp("halves")
    with ExitStack() as stack:
        yield [Far(root / name, stack) for name in ("one", "two")]


@pytest.fixture
def pair(tmp_path: Path, halves: list[Far]) -> Pair:
    for half in halves:
        half.revive()
    return Pair(tmp_path, halves)
