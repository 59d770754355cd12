"""A Move that cannot end well ends before a byte goes to the target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit import move as moves
from portkit.errors import (
    ConflictError,
    EngineError,
    IncompatibleError,
    PortkitError,
    SpaceError,
)
from portkit.host import Counters
from portkit.model import (
    App,
    Artifact,
    Blob,
    Facts,
    Finding,
    Form,
    ImageConfig,
    Port,
    Service,
    Severity,
)
from portkit.source import OnHost
from portkit.store import Store
from tests.factories import FACTS
from tests.unit.fake_engine import fake_engine


class FakeHost:
    """A host with Facts and, as a source, one image; else it has nothing, and is asked nothing
    but what it has."""

    def __init__(self, name: str, facts: Facts, image: Artifact | None = None) -> None:
        self.name = name
        self._facts = facts
        self._image = image
        self.remote = self
        self.endpoint = name
        self.calls: list[str] = []
        self.docker: Path | None = None

    def docker_socket(self) -> Path:
        self.calls.append("docker")
        if self.docker is None:
            raise EngineError("the Docker Engine does not answer")
        return self.docker

    def facts(self, *, guests: bool = False, sought: object = None) -> Facts:
        return self._facts

    def counters(self) -> Counters:
        return Counters(0, 0, "local")

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.calls.append(verb)
        images = []
        if self._image is not None:
            row = {"id": self._image.digest, "diff_ids": list(self._image.config.diff_ids)}
            images = [row]
        answers: dict[str, dict[str, Any]] = {
            "image.list": {"images": images, "containerd": False},
            "image.containers": {"running": []},
            "store.has": {"have": {}},
            "instance.remains": {"remains": []},
        }
        return answers[verb]


def refused(tmp_path: Path, facts: Facts, **config: Any) -> tuple[PortkitError, list[str]]:
    """The error of a Move to a host with these facts, and the calls that the host got."""
    store = Store(tmp_path / "store")
    blob = store.put_bytes(b"{}")
    image = ImageConfig(blob.digest, config.get("architecture", "amd64"), "linux", (), cmd=("x",))
    artifact = Artifact(Form.IMAGE, blob.digest, (image,), (Blob(blob.digest, 2),), 2, 2)
    store.save(artifact, f"image {blob.digest}")
    source: Any = FakeHost("old", replace(FACTS, libvirt_version=None), artifact)
    target: Any = FakeHost("new", facts)
    target.docker = config.get("docker")
    app = App("shop", (Service("shop", image="shop:1", ports=(Port(80, 8080),)),), "compose.yaml")
    with pytest.raises(PortkitError) as caught:
        moves.move_app(app, source=OnHost(source), target=target, forms=(Form.IMAGE,), store=store)
    return caught.value, target.calls


def test_another_architecture_is_told_before_bytes_move(tmp_path: Path) -> None:
    """hostile input 22"""
    error, calls = refused(tmp_path, replace(FACTS, architecture="arm64"))
    assert isinstance(error, IncompatibleError)
    assert "amd64" in error.brief
    assert "arm64" in error.brief
    assert calls == []


def test_a_port_that_is_taken_is_told_before_bytes_move(tmp_path: Path) -> None:
    """hostile input 47"""
    error, calls = refused(tmp_path, replace(FACTS, listening=(("0.0.0.0", 8080),)))
    assert isinstance(error, ConflictError)
    assert "8080" in error.brief
    assert calls == ["docker"], "whether it is portkit's own; the port is taken all the same"
    assert "portkit rm" not in error.resolution


def test_the_instance_that_has_the_port_is_named(tmp_path: Path) -> None:
    """Only where it runs and publishes that port: another one is not to be removed."""
    rows = [
        _container("pk-000000000001", "blog", "running", 9090),
        _container("pk-000000000002", "shop", "running", 8080),
        _container("pk-000000000003", "shop", "exited", 8080),
    ]
    facts = replace(FACTS, listening=(("0.0.0.0", 8080),), libvirt_version=None)
    with fake_engine(tmp_path) as engine:
        engine.answers["GET /containers/json"] = (200, rows)
        error, calls = refused(tmp_path, facts, docker=engine.socket)
    assert isinstance(error, ConflictError)
    assert "portkit's shop publishes it: pk-000000000002 (image)" in error.details
    assert "portkit rm pk-000000000002 --on new" in error.resolution
    assert "pk-000000000001" not in str(error)
    assert "pk-000000000003" not in str(error)
    assert calls == ["docker", "instance.remains"]


def _container(identity: str, app: str, state: str, port: int) -> dict[str, Any]:
    return {
        "Id": identity.replace("pk-", "0"),
        "Labels": {"portkit.move": identity, "portkit.app": app},
        "State": state,
        "Status": "Exited (0) 1 s ago" if state == "exited" else "Up 1 s",
        "Ports": [{"PublicPort": port}],
    }


def test_too_little_room_is_told_before_bytes_move(tmp_path: Path) -> None:
    """hostile input 40"""
    error, calls = refused(tmp_path, replace(FACTS, store_free_bytes=1))
    assert isinstance(error, SpaceError)
    # Two blobs, and the stream of one that has two bytes.
    assert "4 bytes needed, 1 free" in error.details
    assert set(calls) == {"image.list", "store.has"}


def test_what_the_app_says_itself_ends_the_move_before_its_image_is_fetched(tmp_path: Path) -> None:
    class Source(OnHost):
        def images(self, *_: object) -> Any:
            raise AssertionError("the whole image was fetched in vain")

    source: Any = FakeHost("old", FACTS)
    target: Any = FakeHost("new", FACTS)
    why = Finding("bind-not-carried", Severity.ERROR, "/srv is a folder of the source host")
    app = App("shop", (Service("shop", image="shop:1"),), "compose.yaml", findings=(why,))
    store = Store(tmp_path / "store")
    with pytest.raises(PortkitError, match="/srv is a folder of the source host"):
        moves.move_app(app, source=Source(source), target=target, forms=(Form.IMAGE,), store=store)
    assert (source.calls, target.calls) == ([], [])
