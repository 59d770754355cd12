"""The layer of a container's changes, from a real remote half with an engine of our own."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from portkit.errors import AppError, EngineError, SpaceError, VerifyError
from portkit.host import Host
from portkit.host.calls import Remote
from portkit.image_config import parse_image_config
from portkit.model import Artifact, Form
from portkit.package import tarball
from portkit.package.changes import Changed, appended, changed
from portkit.progress import NullObserver
from portkit.store import Store
from tests import remote_half
from tests.unit.exports import ID, give, row, tar
from tests.unit.fake_engine import FakeEngine, fake_engine

FILES = [row("etc/"), row("etc/conf", b"old"), row("srv/", mode=0o711, owner=5)]
CREATED = "2020-02-02T00:00:00Z"


def config(layers: Sequence[str], **more: object) -> bytes:
    document = {
        "architecture": "amd64",
        "created": CREATED,
        "os": "linux",
        "config": {"Env": ["A=image"], "Cmd": ["/app"]},
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": [{"created_by": "base"}, {"created_by": "ENV", "empty_layer": True}],
        **more,
    }
    return json.dumps(document).encode()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        made.answers[f"GET /containers/{ID}/json"] = (200, {})
        yield made


@pytest.fixture
def host(tmp_path: Path, engine: FakeEngine) -> Iterator[Host]:
    with remote_half.started({"PORTKIT_DOCKER_SOCKET": str(engine.socket)}) as child:
        # Another name than "local", so that it is compressed on the way.
        yield Host("far", None, Remote(lambda: child, NullObserver(), str))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> Artifact:
    layer = store.put_bytes(tar(FILES))
    blob = store.put_bytes(config([layer.digest]))
    own = parse_image_config(store.read_bytes(blob.digest, 1 << 20))
    total = blob.size + layer.size
    return Artifact(Form.IMAGE, own.digest, (own,), (blob, layer), total, total)


def taken(host: Host, image: Artifact, store: Store, *mounts: str) -> Changed:
    return changed(host, ID, image, store, name="shop-1", mounts=mounts)


def names(store: Store, digest: str) -> list[str]:
    return [each.name for each in tarball.members(io.BytesIO(store.read_bytes(digest, 1 << 20)))]


def test_an_image_with_one_more_layer(
    host: Host, engine: FakeEngine, image: Artifact, store: Store
) -> None:
    give(engine, "C /etc/conf\nA /etc/more\nD /etc/gone", [*FILES, row("etc/more", b"1")])
    engine.answers[f"GET /containers/{ID}/export"] = (
        200,
        tar([row("etc/"), row("etc/conf", b"new"), row("etc/more", b"1")]),
    )
    found = taken(host, image, store)
    assert names(store, found.digest) == ["etc/", "etc/conf", "etc/more", "etc/.wh.gone"]
    assert (found.paths, found.size_bytes) == (3, store.size(found.digest))
    made = found.artifact
    assert made.digest == made.config.digest != image.digest
    assert made.config.diff_ids == (*image.config.diff_ids, found.digest)
    assert [blob.digest for blob in made.blobs] == [made.digest, *made.config.diff_ids]
    assert made.logical_bytes == sum(blob.size for blob in made.blobs)
    assert (made.config.env, made.config.cmd) == (image.config.env, image.config.cmd)
    document = json.loads(store.read_bytes(made.digest, 1 << 20))
    assert document["created"] == CREATED
    assert document["history"][-1] == {
        "created_by": "portkit: changes of container shop-1",
        "created": CREATED,
    }
    assert store.find(f"image {made.digest}") == made
    assert taken(host, image, store) == found


@pytest.mark.parametrize("listed", ["", "C /dev\nA /srv/data"])
def test_no_changes_are_the_same_image(
    host: Host, engine: FakeEngine, image: Artifact, store: Store, listed: str
) -> None:
    give(engine, listed, FILES)
    assert taken(host, image, store, "/srv/data") == Changed(image, exact=False)


def test_folders_whose_time_alone_has_changed_are_no_change(
    host: Host, engine: FakeEngine, image: Artifact, store: Store
) -> None:
    """As the engine leaves the folders in which it makes a place for a mount."""
    later = [row("etc/"), row("srv/", mode=0o711, owner=5), row("srv/data/")]
    for info, _ in later:
        info.mtime += 1000
    give(engine, "C /etc\nC /srv\nA /srv/data", later)
    assert taken(host, image, store, "/srv/data") == Changed(image, exact=False)
    closed = [row("etc/"), row("srv/", mode=0o700, owner=5), row("srv/data/")]
    give(engine, "C /etc\nC /srv\nA /srv/data", closed)
    found = taken(host, image, store, "/srv/data")
    assert names(store, found.digest) == ["etc/", "srv/"]
    give(engine, "A /new", [row("new/")])
    assert taken(host, image, store).paths == 1


def test_folders_on_the_way_to_a_mount_are_no_change(
    host: Host, engine: FakeEngine, image: Artifact, store: Store
) -> None:
    """As overlayfs keeps them, which does not tell that they are new."""
    way = [row("srv/", mode=0o711, owner=5), row("srv/app/")]
    give(engine, "C /srv\nC /srv/app", way)
    assert taken(host, image, store, "/srv/app/data/") == Changed(image, exact=False)
    assert names(store, taken(host, image, store, "/srv/other/data").digest) == ["srv/", "srv/app/"]
    closed = [way[0], row("srv/app/", mode=0o700)]
    give(engine, "C /srv\nC /srv/app", closed)
    assert names(store, taken(host, image, store, "/srv/app/data").digest) == ["srv/", "srv/app/"]


def test_what_no_layer_can_have_is_named(
    host: Host, engine: FakeEngine, image: Artifact, store: Store
) -> None:
    rows = [row("run/"), row("run/.wh.x"), row("run/\x1b[31m"), row("run/ok")]
    give(engine, "A /run/sock\x1b[0m\nA /run/.wh.x\nA /run/ok", rows)
    found = taken(host, image, store)
    assert found.missing == ("run/sock[0m", "run/.wh.x")
    assert names(store, found.digest) == ["run/", "run/ok"]


def test_a_layer_without_room_is_not_taken(
    host: Host,
    engine: FakeEngine,
    image: Artifact,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portkit.package.changes._room", lambda _: 100_000)
    give(engine, "A /big", [row("big", bytes(1_000_000))])
    with pytest.raises(SpaceError, match="not have enough space"):
        taken(host, image, store)
    assert not list(store.scratch().iterdir())


def test_a_host_that_lies(image: Artifact, store: Store) -> None:
    answer = {"changed": 1, "deleted": 0, "missing": [], "odd": [], "untold": 0}
    answer["exact"] = True

    class Liar:
        encodings = ("raw",)

        def __init__(self, data: bytes, size: int) -> None:
            self.data, self.size = data, size

        def call(self, verb: str, args: object, receive: object, most: int) -> dict[str, object]:
            receive(self.data)  # type: ignore[operator]
            return {**answer, "size": self.size}

    for data, size, why in (
        (b"no tar" * 200, 1200, "malformed"),
        (tar([row("a", b"1")]), 5, "the announced size"),
        (tar([row("a", b"1")]), 0, "the announced size"),
    ):
        host = Host("far", None, Liar(data, size))  # type: ignore[arg-type]
        with pytest.raises(VerifyError, match=why):
            taken(host, image, store)


def test_an_engine_that_refuses(
    host: Host, engine: FakeEngine, image: Artifact, store: Store
) -> None:
    engine.answers[f"GET /containers/{ID}/changes"] = (500, {"message": "it is broken"})
    with pytest.raises(EngineError) as caught:
        taken(host, image, store)
    assert "it is broken" in caught.value.details


def test_a_container_has_one_image(host: Host, image: Artifact, store: Store) -> None:
    other = replace(image.config, digest="sha256:" + "5" * 64)
    with pytest.raises(AppError, match="one image"):
        taken(host, replace(image, images=(image.config, other)), store)


def test_a_history_that_does_not_fit_is_left_alone() -> None:
    for history in ([], [{"created_by": "two"}] * 2, None, "text", [5]):
        made = json.loads(appended(config(["sha256:1"], history=history), "sha256:2", "x"))
        assert made["history"] == history
        assert made["rootfs"]["diff_ids"] == ["sha256:1", "sha256:2"]


def test_more_layers_than_engines_take() -> None:
    full = config([f"sha256:{number}" for number in range(125)])
    with pytest.raises(AppError, match="as many layers"):
        appended(full, "sha256:2", "x")


def test_a_name_is_printed_as_one() -> None:
    assert b"\\u001b" not in appended(config(["sha256:1"]), "sha256:2", "x\x1b[31m")


def test_everything_else_of_the_configuration_is_kept() -> None:
    before = config(["sha256:1"], config={"Env": ["A=ü"], "Unknown": [1, None, {"b": 2.5}]})
    made = json.loads(appended(before, "sha256:2", "x"))
    wanted = json.loads(before)
    made["rootfs"]["diff_ids"].pop()
    made["history"].pop()
    assert made == wanted
