"""A blob that is not what its name says is used by nothing, and does not stay."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from portkit import process
from portkit.errors import PortkitError, VerifyError
from portkit.model import Artifact, Form, ImageConfig
from portkit.package import archive
from portkit.package.save import save
from portkit.store import Store
from portkit.transfer.bases import Base, Bases
from tests.unit.package.archives import LAYERS, docker, sha, write


def flip(store: Store, digest: str) -> None:
    """One bit, and the file's times as they were."""
    path = store.path(digest)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def artifact(store: Store) -> Artifact:
    config, layer = store.put_bytes(b"{}"), store.put_bytes(b"layer" * 10_000)
    image = ImageConfig(config.digest, "amd64", "linux", (layer.digest,), env=("A=hunter2",))
    made = Artifact(Form.IMAGE, config.digest, (image,), (config, layer), 9, 9)
    store.save(made, "key")
    return made


def test_a_damaged_blob_is_not_found_and_not_kept(store: Store, artifact: Artifact) -> None:
    assert store.find("key") == artifact
    layer = artifact.blobs[1].digest
    flip(store, layer)
    assert store.find("key") is None
    assert not store.path(layer).exists()
    assert store.put_bytes(b"layer" * 10_000).digest == layer
    assert store.find("key") == artifact


def test_a_damaged_manifest_is_packed_again(store: Store, artifact: Artifact) -> None:
    (known,) = {path.name for path in store.path(artifact.digest).parent.iterdir()} - {
        blob.digest[7:] for blob in artifact.blobs
    }
    flip(store, f"sha256:{known}")
    assert store.find("key") is None
    store.save(artifact, "key")
    assert store.find("key") == artifact


USES: dict[str, Callable[[Store, Artifact], object]] = {
    "content": lambda store, artifact: store.content(artifact.blobs[1].digest),
    "saved": lambda store, artifact: save(artifact, store, store.root.parent / "a.tar", "x"),
}


@pytest.mark.parametrize("use", USES)
def test_no_use_of_it(store: Store, artifact: Artifact, use: str) -> None:
    flip(store, artifact.blobs[1].digest)
    with pytest.raises(VerifyError, match="has been removed") as caught:
        USES[use](store, artifact)
    assert "again" in caught.value.resolution
    with pytest.raises(VerifyError, match="not in the Store"):
        USES[use](store, artifact)


def test_no_base_of_it(store: Store, artifact: Artifact) -> None:
    blob = artifact.blobs[1]
    flip(store, blob.digest)
    with Bases(store, [Base(blob.digest, blob.size)]) as bases:
        assert bases.rows == []


def test_a_damaged_layer_is_taken_from_the_archive_again(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "a", docker())
    archive.read(path, store, lambda _: None)
    flip(store, f"sha256:{sha(LAYERS[0])}")
    archive.read(path, store, lambda _: None)
    assert store.path(f"sha256:{sha(LAYERS[0])}").read_bytes() == LAYERS[0]


def test_it_is_hashed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from portkit.store import soundness

    read: list[Path] = []
    whole = soundness.hash_sparse
    monkeypatch.setattr(soundness, "hash_sparse", lambda path: (read.append(path), whole(path))[1])
    blob = store.put_bytes(b"x")
    assert store.has(blob.digest)
    assert read == [], "it was hashed while it was written"
    path = store.path(blob.digest)
    path.touch()
    assert store.has(blob.digest)
    assert store.has(blob.digest)
    assert read == [path]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"manifests": {}}',
        '{"manifests": [1]}',
        '{"manifests": [{}]}',
        '{"manifests": [{"digest": "x", "annotations": null}]}',
        '{"manifests": [{"digest": "x", "annotations": [1]}]}',
        '{"manifests": [], "manifests": []}',
        '{"manifests": [NaN]}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_an_odd_index(store: Store, artifact: Artifact, text: str) -> None:
    (store.root / "index.json").write_text(text)
    for use in (lambda: store.find("key"), lambda: store.save(artifact, "key")):
        with pytest.raises(PortkitError, match="index cannot be read"):
            use()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "{}",
        '{"schema": "portkit.artifact/2"}',
        "{",
        "[" * 100_000,
        '{"schema": "portkit.artifact/2", "form": "image", "digest": "md5:1", "config": "hunter2",'
        ' "blobs": [], "logical_bytes": 1, "stored_bytes": 1}',
    ],
    ids=lambda text: text[:40],
)
def test_an_odd_manifest(store: Store, artifact: Artifact, text: str) -> None:
    from portkit.store.manifest import artifact_from

    with pytest.raises(VerifyError, match="manifest cannot be read") as caught:
        artifact_from(text.encode())
    assert "hunter2" not in str(caught.value)


def test_what_a_killed_process_wrote_goes(store: Store) -> None:
    code = (
        "import sys, time; from pathlib import Path; from portkit.store import Store\n"
        f"store = Store(Path({str(store.root)!r}))\n"
        "path = store.temporary(); path.write_bytes(b'half'); print(path, flush=True)\n"
        "time.sleep(300)"
    )
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with process.popen([sys.executable, "-c", code], env=env) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().decode().strip())
        store.temporary()
        assert left.exists(), "its owner is at work"
        other.send_signal(signal.SIGKILL)
        other.wait()
    store.notes().joinpath("x.how").touch()
    Store(store.root).temporary()
    assert not left.parent.exists()
    assert [path.name for path in store.notes().glob("*.how")] == ["x.how"]


def test_a_store_takes_its_folder_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = store.scratch()
    assert store.scratch() == folder
    del store
    assert not folder.exists()
