import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit.errors import PortkitError, VerifyError
from portkit.model import Artifact, Blob, Form, Healthcheck, ImageConfig
from portkit.store import Store
from portkit.store.scratch import Scratch
from portkit.wire.sparse import copy_sparse, extents, hash_sparse


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_blob_comes_back_and_is_private(store: Store) -> None:
    before = os.umask(0)
    try:
        blob = store.put_bytes(b"hello")
    finally:
        os.umask(before)
    assert store.read_bytes(blob.digest, 10) == b"hello"
    assert store.has(blob.digest)
    assert store.size(blob.digest) == 5
    for path in [store.root, *store.root.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert list(store.scratch().iterdir()) == []


@pytest.mark.parametrize("bad", ["sha256:../x", "md5:" + "0" * 32, "sha256:" + "A" * 64, ""])
def test_malformed_digests_are_refused(store: Store, bad: str) -> None:
    with pytest.raises(VerifyError):
        store.has(bad)


def test_wrong_content_is_not_kept(store: Store) -> None:
    with pytest.raises(VerifyError), store.writer() as writer:
        writer.write(b"abc")
        writer.commit("sha256:" + "0" * 64)
    with pytest.raises(VerifyError), store.writer() as writer:
        writer.write(b"abc")
        writer.commit(size=4)
    assert [p for p in store.root.rglob("*") if p.is_file() and p.name != "oci-layout"] == []


def test_an_altered_blob_is_noticed(store: Store) -> None:
    blob = store.put_bytes(b"hello")
    store.path(blob.digest).write_bytes(b"hellO")
    with pytest.raises(VerifyError):
        store.read_bytes(blob.digest, 10)


def example(store: Store) -> Artifact:
    config = store.put_bytes(b"{}")
    image = ImageConfig(
        config.digest,
        "amd64",
        "linux",
        (config.digest,),
        env=("A=b",),
        healthcheck=Healthcheck(test=("NONE",)),
    )
    return Artifact(Form.IMAGE, config.digest, (image,), (Blob(config.digest, config.size),), 2, 2)


def test_artifacts_are_found_while_their_blobs_are_here(store: Store) -> None:
    artifact = example(store)
    store.save(artifact, "key")
    store.save(artifact, "key")
    assert store.find("key") == artifact
    assert store.find("other") is None
    assert len(json.loads((store.root / "index.json").read_text())["manifests"]) == 1
    store.path(artifact.blobs[0].digest).unlink()
    assert store.find("key") is None


def test_a_torn_index_is_told(store: Store) -> None:
    store.put_bytes(b"x")
    (store.root / "index.json").write_text("{")
    with pytest.raises(PortkitError, match="index"):
        store.find("key")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=6))
def test_sparse_copies_are_equal(tmp_path_factory: pytest.TempPathFactory, runs: object) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    path = folder / "a"
    assert isinstance(runs, list)
    with path.open("wb") as file:
        for hole, pages in runs:
            if hole:
                file.seek(pages * 4096, 1)
            else:
                file.write(b"x" * pages * 4096)
        file.truncate()
    copy_sparse(path, folder / "b")
    assert (folder / "b").read_bytes() == path.read_bytes()
    import hashlib

    assert hash_sparse(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as one, (folder / "b").open("rb") as two:
        assert list(extents(one.fileno())) == list(extents(two.fileno()))
    assert (folder / "b").stat().st_blocks <= path.stat().st_blocks


def test_a_file_taken_in(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"data")
    blob = store.add_file(path)
    assert path.exists()
    assert store.read_bytes(blob.digest, 4) == b"data"
    with pytest.raises(VerifyError):
        store.add_file(path, "sha256:" + "1" * 64)


def test_two_threads_write_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one would take the first one's place, which is then removed."""
    made: list[Scratch] = []

    class Slow(Scratch):
        def __init__(self, base: Path) -> None:
            time.sleep(0.05)
            super().__init__(base)
            made.append(self)

    monkeypatch.setattr("portkit.store.Scratch", Slow)
    store = Store(tmp_path / "store")
    with ThreadPoolExecutor() as pool:
        folders = set(pool.map(lambda _: store.scratch(), range(4)))
    assert len(made) == len(folders) == 1
