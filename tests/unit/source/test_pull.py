"""When the source host is asked to pull an image, and when not."""

from pathlib import Path
from typing import Any, cast

import pytest

from portkit.clock import Clock
from portkit.model import App, Artifact, Blob, Build, Form, ImageConfig, Service
from portkit.progress import NullObserver
from portkit.source import OnHost, Pull
from portkit.source import host as source_host
from portkit.store import Store
from tests.factories import FACTS
from tests.unit.fake_host import FakeHost

DIGEST = "sha256:" + "1" * 64
CONFIG = ImageConfig(DIGEST, "amd64", "linux", ())
IMAGE = Artifact(Form.IMAGE, DIGEST, (CONFIG,), (Blob(DIGEST, 3),), 3, 3)
APP = App(
    "shop",
    (
        Service("web", image="shop:1"),
        Service("job", image="shop:1"),
        Service("db", image="db:2", platform="linux/arm64"),
        Service("own", build=Build(Path("/context"))),
    ),
    "shop",
)


class Asked(FakeHost):
    """Notes what it was told to pull."""

    def __init__(self) -> None:
        super().__init__("old", FACTS, {})
        self.pulled: list[dict[str, Any]] = []

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        assert verb == "image.pull"
        self.pulled.append(args)
        return {}


@pytest.mark.parametrize(
    ("when", "always"), [(Pull.NEVER, None), (Pull.MISSING, False), (Pull.ALWAYS, True)]
)
def test_each_named_image_is_pulled_once_when_that_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: Pull, always: bool | None
) -> None:
    monkeypatch.setattr(source_host.images, "fetch", lambda *_: IMAGE)
    monkeypatch.setattr(source_host, "build", lambda *_: "sha256:built")
    host = Asked()
    OnHost(cast(Any, host), when).images(APP, Store(tmp_path), Clock(NullObserver()))
    wanted = [("shop:1", ""), ("db:2", "linux/arm64")] if always is not None else []
    assert [(row["reference"], row["platform"]) for row in host.pulled] == wanted
    assert all(row["always"] is always for row in host.pulled)
