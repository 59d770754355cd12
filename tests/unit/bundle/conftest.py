"""An App, its Artifacts in a Store, and the bundle of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from portkit.bundle import write
from portkit.host import Host
from portkit.model import Artifact, Form
from portkit.store import Store
from tests.unit.bundle.samples import FACTS, packed, packed_app
from tests.unit.transfer.far import Far


@pytest.fixture
def near(tmp_path: Path) -> Store:
    return Store(tmp_path / "near")


@pytest.fixture
def artifacts(near: Store) -> dict[Form, Artifact]:
    return packed(near)


@pytest.fixture
def path(tmp_path: Path, near: Store, artifacts: dict[Form, Artifact]) -> Path:
    found = tmp_path / "shop.portkit"
    write(found, packed_app(artifacts), near, FACTS)
    return found


@pytest.fixture
def made(tmp_path: Path, near: Store, artifacts: dict[Form, Artifact]) -> Path:
    """For a host that has the lower layer."""
    lower = artifacts[Form.IMAGE].config.diff_ids[0]
    path = tmp_path / "web2.portkit"
    write(path, packed_app(artifacts), near, FACTS, have=[lower], made_for="web2")
    return path


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with ExitStack() as stack:
        yield Far(tmp_path / "far", stack)


@pytest.fixture
def host(far: Far) -> Host:
    return Host("far", None, far.remote)  # type: ignore[arg-type]
