"""A Move that cannot end well ends before a byte goes to the target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit import move as moves
from portkit.errors import ConflictError, IncompatibleError, PortkitError, SpaceError
from portkit.host import Counters
from portkit.model import App, Artifact, Blob, Facts, Form, ImageConfig, Port, Service
from portkit.source import OnHost
from portkit.store import Store
from tests.factories import FACTS


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

    def facts(self) -> Facts:
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
        }
        return answers[verb]


def refused(tmp_path: Path, facts: Facts, **config: Any) -> tuple[PortkitError, list[str]]:
    """The error of a Move to a host with these facts, and the calls that the host got."""
    store = Store(tmp_path / "store")
    blob = store.put_bytes(b"{}")
    image = ImageConfig(blob.digest, config.get("architecture", "amd64"), "linux", (), cmd=("x",))
    artifact = Artifact(Form.IMAGE, blob.digest, image, (Blob(blob.digest, 2),), 2, 2)
    store.save(artifact, f"image {blob.digest}")
    source: Any = FakeHost("old", replace(FACTS, libvirt_version=None), artifact)
    target: Any = FakeHost("new", facts)
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
    assert calls == []


def test_too_little_room_is_told_before_bytes_move(tmp_path: Path) -> None:
    """hostile input 40"""
    error, calls = refused(tmp_path, replace(FACTS, store_free_bytes=1))
    assert isinstance(error, SpaceError)
    assert "4 of 1 free" in error.details  # two blobs, and the stream of one that has two bytes
    assert set(calls) == {"image.list", "store.has"}
