"""The real remote half over pipes, with a Store of its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from portkit.store import Store
from tests.unit.transfer.far import Far


@pytest.fixture
def near(tmp_path: Path) -> Store:
    return Store(tmp_path / "near")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with ExitStack() as stack:
        yield Far(tmp_path / "far", stack)
