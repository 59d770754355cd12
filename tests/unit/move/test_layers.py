"""What containers change in their images is brought while a Move waits."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import transfer
from portkit.clock import Clock
from portkit.model import Artifact, Blob, Form
from portkit.move import layers
from portkit.move.layers import Layers
from portkit.source.images import Images
from portkit.store import Store
from tests.factories import IMAGE, Heard, plan


class Waiting:
    """A Move that waits; the images of its App are `now`, and a look or a bringing takes a second
    or ten."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
        self.clock_s, self.did = 1000.0, list[Any]()
        self.store = Store(folder)
        self.first = self.now = self.made(0)
        source = SimpleNamespace(again=self.again)
        cargo = SimpleNamespace(app=None, store=self.store, source=source, image=self.first)
        made = {"phases": [{"seconds": 40.0}]}
        self.ground: Any = SimpleNamespace(
            clock=Clock(Heard()),
            plan=plan(holds={self.first.digest: "planned"}),
            target="target",
            loaded=cargo,
            results=SimpleNamespace(result=lambda name: made),
        )
        self.layers = Layers(self.ground, form)
        monkeypatch.setattr(layers.time, "monotonic", lambda: self.clock_s)
        monkeypatch.setattr(transfer, "send", self.send)
        monkeypatch.setattr(transfer, "release", lambda names, *_, **__: self.did.append(names))

    def made(self, number: int) -> Artifact:
        layer = self.store.put_bytes(b"layer %d" % number)
        config = Blob("sha256:" + str(number).ljust(64, "0"), 1)
        image = replace(IMAGE, digest=config.digest)
        return Artifact(Form.IMAGE, config.digest, (image,), (config, layer), 1, 1)

    def again(self, *_: object) -> Images:
        self.clock_s += 1.0
        return Images(self.now, {})

    def send(self, artifact: Artifact, *_: object, **__: object) -> None:
        self.clock_s += 10.0
        self.did.append(artifact.digest)

    def name(self, artifact: Artifact) -> str:
        return transfer.held_name(artifact.digest, self.ground.plan.move)


def test_what_is_new_is_brought_and_what_it_replaces_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Waiting(tmp_path, monkeypatch, Form.IMAGE)
    assert waiting.layers.foreseen() is None
    waiting.layers.keep_up()
    assert waiting.did == []
    part = waiting.layers.foreseen()
    assert part is not None
    assert part.value == 1.0
    one = waiting.now = waiting.made(1)
    waiting.layers.keep_up()
    assert waiting.did == [], "not yet"
    waiting.clock_s += 30.0
    waiting.layers.keep_up()
    assert waiting.did == [one.digest]
    assert waiting.layers.held == [waiting.name(one)]
    part = waiting.layers.foreseen()
    assert part is not None
    assert (part.value, "sending" in part.why) == (11.0, True)
    two = waiting.now = waiting.made(2)
    waiting.clock_s += 30.0
    waiting.layers.keep_up()
    assert len(waiting.did) == 1, "ten times as long as it took"
    waiting.clock_s += 80.0
    waiting.layers.keep_up()
    assert waiting.did[1:] == [two.digest, [waiting.name(one)]]
    there = [waiting.store.has(each.blobs[1].digest) for each in (waiting.first, one, two)]
    assert there == [True, False, True]
    waiting.clock_s += 200.0
    waiting.layers.keep_up()
    part = waiting.layers.foreseen()
    assert part is not None
    assert part.value == 1.0, "nothing has changed since"


def test_a_disk_is_not_made_again_while_the_move_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = Waiting(tmp_path, monkeypatch, Form.DISK)
    waiting.now = waiting.made(1)
    for _ in range(2):
        waiting.layers.keep_up()
        waiting.clock_s += 30.0
        part = waiting.layers.foreseen()
        assert part is not None
        assert part.value == 41.0
    assert waiting.did == []
