"""A unit test knows of no Move but its own."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _own_journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Not what a lab test of the same process has left unfinished."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTKIT_STATE", str(tmp_path_factory.mktemp("state")))
        yield
