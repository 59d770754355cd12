"""`docker save` in its layouts, and what must not pass for one."""

import gzip
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import VerifyError
from portkit.package import archive
from portkit.store import Store
from tests.unit.package.archives import CONFIG, LAYERS, docker, oci, sha, write


@pytest.mark.parametrize(
    "members",
    [docker(), oci(), oci(gzip.compress), oci(zstandard.ZstdCompressor().compress)],
    ids=["docker", "oci", "gzip", "zstd"],
)
def test_layouts(tmp_path: Path, members: dict[str, bytes]) -> None:
    store = Store(tmp_path / "store")
    config, blob = archive.read(write(tmp_path / "a", members), store, lambda _: None)
    assert blob.digest == f"sha256:{sha(CONFIG)}"
    assert [store.path(d).read_bytes() for d in config.diff_ids] == list(LAYERS)


def test_attestations_are_counted(tmp_path: Path) -> None:
    """Those of the image that is here; and an index that has none of it says so."""
    members = oci()
    for name, data, wanted in (
        ("as it is", members, 1),
        ("of another platform", without_reference(members), 0),
        ("no index", docker(), 0),
    ):
        store = Store(tmp_path / name)
        config, _ = archive.read(write(tmp_path / "a", data), store, lambda _: None)
        assert config.attestations == wanted
        assert config == replace(config, attestations=5), "it is the same image"


def without_reference(members: dict[str, bytes]) -> dict[str, bytes]:
    """The attestation is of another image."""
    top = json.loads(members["index.json"])
    name = "blobs/sha256/" + top["manifests"][0]["digest"].removeprefix("sha256:")
    index = json.loads(members[name])
    index["manifests"][1]["annotations"]["vnd.docker.reference.digest"] = f"sha256:{'1' * 64}"
    data = json.dumps(index).encode()
    row = {**top["manifests"][0], "digest": f"sha256:{sha(data)}", "size": len(data)}
    found = {key: value for key, value in members.items() if key not in (name, "index.json")}
    found |= {f"blobs/sha256/{sha(data)}": data}
    return {**found, "index.json": json.dumps({"manifests": [row]}).encode()}


def test_a_linked_layer_of_old_engines(tmp_path: Path) -> None:
    members = docker()
    moved = {("deep/layer.tar" if n == "1/layer.tar" else n): d for n, d in members.items()}
    link = tarfile.TarInfo("1/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "../deep/layer.tar"
    store = Store(tmp_path / "store")
    config, _ = archive.read(write(tmp_path / "a", moved, link), store, lambda _: None)
    assert all(store.has(digest) for digest in config.diff_ids)


def bad() -> dict[str, dict[str, bytes]]:
    two = json.loads(docker()["manifest.json"]) * 2
    return {
        "empty": {},
        "a layer is missing": {n: d for n, d in docker().items() if n != "0/layer.tar"},
        "a layer was altered": docker((LAYERS[0][:-1] + b"!", LAYERS[1])),
        "two images": {**docker(), "manifest.json": json.dumps(two).encode()},
        "no json": {**docker(), "manifest.json": b"\xff"},
        "deep json": {**docker(), "manifest.json": b"[" * 100_000},
        "a config elsewhere": {
            **docker(),
            "manifest.json": json.dumps([{"Config": "../../etc/passwd"}]).encode(),
        },
        "a false manifest": {
            n: (d + b" " if d.startswith(b'{"config"') else d) for n, d in oci().items()
        },
        "a broken gzip": oci(lambda data: gzip.compress(data)[:-12]),
        "a broken zstd": oci(lambda data: zstandard.ZstdCompressor().compress(data)[:-4]),
    }


@pytest.mark.parametrize("name", bad())
def test_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(VerifyError):
        archive.read(write(tmp_path / "a", bad()[name]), Store(tmp_path / "s"), lambda _: None)


def test_a_name_twice(tmp_path: Path) -> None:
    again = tarfile.TarInfo("manifest.json")
    with pytest.raises(VerifyError, match="malformed"):
        archive.read(write(tmp_path / "a", docker(), again), Store(tmp_path / "s"), lambda _: None)


@given(st.integers(0, 20_000), st.integers(0, 255))
def test_flips_and_cuts(position: int, value: int) -> None:
    """Whatever one byte becomes, the layers that are kept are the ones of the configuration."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a", docker())
        data = bytearray(path.read_bytes())
        data[position % len(data)] = value
        path.write_bytes(data if value % 2 else data[: position % len(data)])
        store = Store(Path(folder) / "s")
        try:
            config, _ = archive.read(path, store, lambda _: None)
        except VerifyError:
            return
        for digest in config.diff_ids:
            assert sha(store.path(digest).read_bytes()) == digest.removeprefix("sha256:")
