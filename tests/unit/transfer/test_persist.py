"""Calls around a transfer: again after a cut, not after a refusal; a load is not done twice."""

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from portkit import transfer
from portkit.errors import AppError, EngineError, PortkitError, TransferError
from portkit.host import Host
from portkit.model import Artifact, Blob, Form, ImageConfig
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer.resume import Link, persist


class Broken:
    """A remote whose calls end as the script says: "cut", an error, or an answer."""

    encodings = ("zstd",)

    def __init__(self, *script: Any) -> None:
        self.lost = False
        self.script = list(script)
        self.calls: list[str] = []

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.calls.append(verb)
        step = self.script.pop(0)
        self.lost = step == "cut"
        if step == "cut":
            raise TransferError("the connection to the host broke")
        if isinstance(step, PortkitError):
            raise step
        return dict(step)


def asked(remote: Broken, pauses: tuple[float, ...], waited: list[float]) -> dict[str, Any]:
    link = Link(remote, pause=waited.append, pauses=pauses)
    return persist(lambda: remote.call("store.has", {}), link, NullObserver())


def test_again_after_cuts() -> None:
    waited: list[float] = []
    assert asked(Broken("cut", "cut", {"have": {}}), (1, 2, 3), waited) == {"have": {}}
    assert waited == [1, 2]


def test_it_ends() -> None:
    remote = Broken("cut", "cut", "cut", {"have": {}})
    with pytest.raises(TransferError):
        asked(remote, (1, 2), [])
    assert len(remote.calls) == 3


def test_a_refusal_is_final() -> None:
    remote = Broken("cut", EngineError("no"), {"have": {}})
    with pytest.raises(EngineError):
        asked(remote, (1, 2), [])
    assert len(remote.calls) == 2


MOVE = "pk-0123456789ab"


def image() -> ImageConfig:
    return ImageConfig(f"sha256:{'a' * 64}", "amd64", "linux", ())


ARTIFACT = Artifact(Form.IMAGE, image().digest, (image(),), (), 0, 0)


def loaded(monkeypatch: pytest.MonkeyPatch, *script: Any) -> list[str]:
    remote = Broken(*script)
    host = cast(Host, SimpleNamespace(remote=remote, name="there"))
    monkeypatch.setattr(transfer, "Link", partial(Link, pause=lambda _: None))
    new = (Blob("sha256:" + "b" * 64, 5),)
    transfer._load(image(), new, host, MOVE, NullObserver())
    return remote.calls


def test_a_load_whose_answer_was_lost_is_found_done(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"images": [{"tags": [transfer.held_name(image().digest, MOVE)], "diff_ids": []}]}
    gone = TransferError("layers of the image are neither in the host's Store nor in its engine")
    calls = loaded(monkeypatch, "cut", gone, held, {})
    assert calls == ["image.load", "image.load", "image.list", "store.remove"]


def test_a_load_that_is_refused_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError):
        loaded(monkeypatch, EngineError("full"))
    with pytest.raises(EngineError):
        loaded(monkeypatch, "cut", EngineError("full"), AppError("no such image"))


def test_layers_that_went_meanwhile_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Move that was rolled back took them out of the engine."""
    tries: list[Any] = [TransferError("layers are neither in the Store nor in the engine"), ()]

    def bring(*_: Any) -> Any:
        step = tries.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    monkeypatch.setattr(transfer, "_bring", bring)
    counters = SimpleNamespace(sent=1, received=2, source="local")
    remote = SimpleNamespace(lost=False)
    host = cast(Host, SimpleNamespace(remote=remote, counters=lambda: counters))
    transfer.send(ARTIFACT, cast(Store, None), host, move=MOVE)
    assert tries == []
    tries[:] = [TransferError("the connection broke")]
    remote.lost = True
    with pytest.raises(TransferError):
        transfer.send(ARTIFACT, cast(Store, None), host, move=MOVE)
