"""An image from one engine to another, in the lab: whole, held, and sent only once."""

from pathlib import Path

import pytest

from portkit import process, transfer
from portkit.errors import AppError
from portkit.host import Host, connect
from portkit.lab import Lab
from portkit.model import Artifact
from portkit.package import image
from portkit.store import Store

pytestmark = pytest.mark.lab
BASE = "debian:bookworm-slim"


def on(lab: Lab, name: str, command: str) -> str:
    return process.run(["ssh", "-F", lab.ssh_config, f"lab-{name}", command]).text


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


MOVE = "pk-0123456789ab"


@pytest.fixture(scope="module")
def app(lab: Lab, store: Store) -> tuple[Artifact, Artifact]:
    """The base image, and one built on it with a layer and a command of its own."""
    dockerfile = f'FROM {BASE}\\nRUN head -c 300000 /dev/urandom > /news\\nCMD [\\"/bin/true\\"]\\n'
    on(lab, "alpha", f'printf "{dockerfile}" | docker build -q -t transfer-test -')
    with connect("lab:alpha") as host:
        return image.fetch(host, BASE, store), image.fetch(host, "transfer-test", store)


def has(host: Host, artifact: Artifact) -> dict[str, object]:
    rows = host.remote.call("image.list", {"reference": transfer.held_name(artifact.digest, MOVE)})[
        "images"
    ]
    return dict(rows[0])


@pytest.mark.parametrize("target", ["beta", "gamma"])
def test_whole_on_every_engine_and_no_layer_twice(
    lab: Lab, store: Store, app: tuple[Artifact, Artifact], target: str
) -> None:
    base, built = app
    with connect(f"lab:{target}") as host:
        before = host.remote.call("image.list", {})["images"]
        for artifact in app:
            host.remote.call(
                "image.remove", {"reference": transfer.held_name(artifact.digest, MOVE)}
            )
        transfer.send(base, store, host, move=MOVE)
        second = transfer.send(built, store, host, move=MOVE)
        assert second.reused_bytes == base.blobs[1].size
        assert second.sent_bytes < 300_000 * 1.05 + 20_000, "the base did not travel"
        assert second.counter == "tcp_info"
        assert has(host, built)["diff_ids"] == list(built.config.diff_ids)
        again = transfer.send(built, store, host, move=MOVE)
        assert again.sent_bytes < 20_000
        assert again.reused_bytes == built.logical_bytes - built.blobs[0].size
        held = transfer.held_name(built.digest, MOVE)
        assert on(lab, target, f"docker run --rm {held} stat -c %s /news").strip() == "300000"
        left = on(lab, target, "ls /var/lib/portkit/store/blobs/sha256 /var/lib/portkit/store/tmp")
        assert not [row for row in left.split() if len(row) >= 32 and ":" not in row]
        for artifact in app:
            host.remote.call(
                "image.remove", {"reference": transfer.held_name(artifact.digest, MOVE)}
            )
        tags = {tag for row in before for tag in row["tags"] if not tag.startswith("portkit/")}
        after = host.remote.call("image.list", {})["images"]
        assert tags <= {tag for row in after for tag in row["tags"]}


def test_no_faster_than_the_limit(lab: Lab, store: Store, app: tuple[Artifact, Artifact]) -> None:
    """It can only be slower, whatever else the machine does. The engine may have the base from
    another test."""
    with connect("lab:beta") as host:
        new = transfer.missing(app[1], host)
        rate = sum(blob.size for blob in new) / 10
        host.limit(rate)
        done = transfer.send(app[1], store, host, move=MOVE)
        try:
            sent = sum(each.sent for each in done.blobs)
            assert sent > rate
            assert done.seconds >= sent / rate
        finally:
            transfer.release(
                [transfer.held_name(app[1].digest, MOVE)],
                host,
                [blob.digest for blob in new],
                move=MOVE,
            )


def test_a_tag_never_moves(lab: Lab, store: Store, app: tuple[Artifact, Artifact]) -> None:
    base = app[0]
    with connect("lab:beta") as host:
        for artifact in app:
            transfer.send(artifact, store, host, move=MOVE)
        held_base, held_built = (transfer.held_name(each.digest, MOVE) for each in app)
        try:
            assert transfer.tag(host, held_base, "transfer-test/taken:1")
            assert transfer.tag(host, held_base, "transfer-test/taken:1"), "the same image"
            assert not transfer.tag(host, held_built, "transfer-test/taken:1")
            row = host.remote.call("image.list", {"reference": "transfer-test/taken:1"})
            assert row["images"][0]["id"] == base.digest
        finally:
            for name in ("transfer-test/taken:1", held_base, held_built):
                host.remote.call("image.remove", {"reference": name})


def test_no_such_image(lab: Lab, tmp_path: Path) -> None:
    with connect("lab:alpha") as host, pytest.raises(AppError, match="not on the source host"):
        image.fetch(host, "no-such-image:1", Store(tmp_path))
