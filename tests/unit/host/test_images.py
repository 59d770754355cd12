"""The remote half's verbs on images, with an engine of our own behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.errors import AppError, EngineError, PortkitError
from portkit.host.calls import Remote
from portkit.progress import NullObserver
from tests import remote_half
from tests.unit.fake_engine import FakeEngine, fake_engine

OURS, THEIRS = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        made.answers["GET /info"] = 200, {"DriverStatus": []}
        made.answers["GET /images/held:1/json"] = 200, {"Id": OURS}
        yield made


@pytest.fixture
def remote(tmp_path: Path, engine: FakeEngine) -> Iterator[Remote]:
    env = {
        "PORTKIT_REMOTE_STORE": str(tmp_path / "store"),
        "PORTKIT_DOCKER_SOCKET": str(engine.socket),
    }
    with remote_half.started(env) as child:
        yield Remote(lambda: child, NullObserver(), lambda: "")


def test_a_tag_that_is_taken_never_moves(engine: FakeEngine, remote: Remote) -> None:
    """hostile input 20"""
    engine.answers["GET /images/shop:1/json"] = 200, {"Id": THEIRS}
    assert remote.call("image.tag", {"reference": "held:1", "tag": "shop:1"})["tagged"] is False
    engine.answers["GET /images/shop:1/json"] = 200, {"Id": OURS}
    assert remote.call("image.tag", {"reference": "held:1", "tag": "shop:1"})["tagged"] is True
    engine.answers["GET /images/shop:1/json"] = 500, {"message": "cannot tell"}
    with pytest.raises(EngineError):
        remote.call("image.tag", {"reference": "held:1", "tag": "shop:1"})
    assert engine.asked("POST", "") == [], "nothing was tagged"


def test_a_free_tag_is_set_once(engine: FakeEngine, remote: Remote) -> None:  # hostile input 20
    engine.answers[f"POST /images/{OURS}/tag"] = 201, {}
    assert remote.call("image.tag", {"reference": "held:1", "tag": "h:5000/shop:1"})["tagged"]
    (path,) = [path for method, path, _ in engine.requests if method == "POST"]
    assert path.endswith("?repo=h%3A5000%2Fshop&tag=1")


# hostile inputs 25, 31
@pytest.mark.parametrize(
    "name",
    [
        "a/../../containers/c",
        "a//b",
        "",
        "-rf",
        "../x",
        "a b",
        "a\nb",
        "a?force=1",
        "a#b",
        "a%2f..",
        "n" * 600,
        5,
        None,
    ],
)
def test_names_stay_names(engine: FakeEngine, remote: Remote, name: object) -> None:
    with pytest.raises(AppError, match="not valid"):
        remote.call("image.tag", {"reference": "held:1", "tag": name})
    verbs = ["image.remove", "image.list"]
    verbs += ["image.containers"] if name is not None else []  # None: labels alone count
    for verb in verbs:
        with pytest.raises(AppError, match="not valid"):
            remote.call(verb, {"reference": name})
    assert all(method == "GET" for method, _, _ in engine.requests)


def test_the_engines_words_are_bounded(engine: FakeEngine, remote: Remote) -> None:
    """hostile input 28"""
    engine.answers["GET /images/held:1/json"] = 500, b"\x1b[31m" + b"x" * 100_000
    with pytest.raises(PortkitError) as caught:
        remote.call("image.containers", {"reference": "held:1"})
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 20_000
