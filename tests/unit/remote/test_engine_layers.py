"""A layer put together from what an engine keeps of it; anything odd is left to `docker save`."""

import base64
import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portkit.remote import engine_layers, store
from portkit.wire import beneath
from portkit.wire.content import Content, pieces

CHAIN = "1" * 64
DIGEST = "sha256:" + "2" * 64


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path / "store")
    monkeypatch.setattr(store, "TEMPORARY", [])
    monkeypatch.setattr(store, "RETIRED", {})


def engine(root: Path, data: bytes) -> Path:
    """A data root of an overlay2 engine that has the tar as a layer; as Docker would write it."""
    layer = root / "image/overlay2/layerdb/sha256" / CHAIN
    tree = root / "overlay2/cache1/diff"
    for folder in (layer, tree):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    done = 0

    def raw(end: int) -> None:
        payload = base64.b64encode(data[done:end]).decode()
        rows.append({"type": 2, "payload": payload, "position": len(rows)})

    with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
        for member in bundle:
            raw(member.offset_data)
            done = member.offset_data
            row: dict[str, Any] = {"type": 1, "payload": None, "position": len(rows)}
            name = member.name.encode("utf-8", "surrogateescape")
            try:
                row["name"] = name.decode()
            except UnicodeDecodeError:
                row["name_raw"] = base64.b64encode(name).decode()
            if member.size:
                row["size"] = member.size
                path = tree / os.fsdecode(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data[done : done + member.size])
                done += member.size
            rows.append(row)
    raw(len(data))
    (layer / "diff").write_text(DIGEST)
    (layer / "cache-id").write_text("cache1")
    with gzip.open(layer / "tar-split.json.gz", "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return tree


def layer_of(files: dict[bytes, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as bundle:
        for name, content in files.items():
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return out.getvalue()


def found(root: Path) -> Content | None:
    info = {"DockerRootDir": str(root), "Driver": "overlay2", "DriverStatus": []}
    return engine_layers.of_engine(DIGEST, engine_layers.places(info))


names = st.binary(min_size=1, max_size=8).map(lambda name: b"f" + name.hex().encode())


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=40,
)
@given(st.dictionaries(names, st.binary(max_size=2000), max_size=6), st.data())
def test_the_same_bytes_as_the_tar(
    tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, bytes], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("docker")
    tar = layer_of(files)
    engine(root, tar)
    source = found(root)
    assert source is not None
    assert source.size == len(tar)
    assert b"".join(pieces(source)) == tar
    offset = data.draw(st.integers(0, len(tar) - 1))
    part = source.pread(100, offset)
    assert part
    assert tar[offset:].startswith(part)
    assert source.pread(1, len(tar)) == b""
    source.close()


def test_names_that_are_no_text(tmp_path: Path) -> None:
    tar = layer_of({b"caf\xe9": b"x" * 600, b"a/b": b"y"})
    engine(tmp_path, tar)
    source = found(tmp_path)
    assert source is not None
    assert b"".join(pieces(source)) == tar
    source.close()


def test_a_file_that_is_gone_or_something_else(tmp_path: Path) -> None:
    tree = engine(tmp_path, layer_of({b"a": b"x" * 600}))
    source = found(tmp_path)
    assert source is not None
    (tree / "a").unlink()
    with pytest.raises(OSError):
        list(pieces(source))
    os.mkfifo(tree / "a")  # must not wait for a writer
    with pytest.raises(OSError):
        list(pieces(source))
    (tree / "a").unlink()
    (tree / "a").symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        list(pieces(source))
    (tree / "a").unlink()
    (tree / "a").write_bytes(b"x" * 10)
    with pytest.raises(OSError, match="shorter"):
        list(pieces(source))
    source.close()


def test_no_way_out_of_the_layer(tmp_path: Path) -> None:
    """A device would be used by the opening alone."""
    tree = engine(tmp_path, layer_of({b"d/secret": b"x" * 600}))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"y" * 600)
    (tree / "d/secret").unlink()
    (tree / "d").rmdir()
    (tree / "d").symlink_to(tmp_path / "outside")
    source = found(tmp_path)
    assert source is not None
    with pytest.raises(OSError):
        list(pieces(source))
    source.close()
    with pytest.raises(OSError, match="out of the folder"):
        beneath.open_file(os.fsencode(tree), b"a/../../outside/secret")


def test_flipped_bits_of_what_the_engine_keeps(tmp_path: Path) -> None:
    """They cost bytes on the way, never the remote half."""
    tar = layer_of({b"a": b"x" * 600, b"b": b"y"})
    engine(tmp_path, tar)
    split = tmp_path / "image/overlay2/layerdb/sha256" / CHAIN / "tar-split.json.gz"
    whole = split.read_bytes()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        split.write_bytes(data)
        source = found(tmp_path)
        if source is not None:
            source.close()
    for strange in (b"[1]", b'{"type": 1, "name": [], "size": 5}', b"[" * 100_000, b"7"):
        split.write_bytes(gzip.compress(strange))
        assert found(tmp_path) is None
    (split.parent / "diff").write_bytes(b"\xff\xfe")
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no json\n", mtime=0),
        gzip.compress(b'{"type": 2}\n', mtime=0),
        gzip.compress(b'{"type": 2, "payload": "*"}\n', mtime=0),
        gzip.compress(b"{}\n" * 9, mtime=0)[:-9],
    ],
)
def test_what_cannot_be_read_is_left_to_the_engine(tmp_path: Path, damage: bytes) -> None:
    engine(tmp_path, layer_of({b"a": b"x"}))
    split = tmp_path / "image/overlay2/layerdb/sha256" / CHAIN / "tar-split.json.gz"
    split.write_bytes(damage)
    source = found(tmp_path)
    assert source is None or source.size == 0


def test_a_cache_id_that_is_none(tmp_path: Path) -> None:
    engine(tmp_path, layer_of({b"a": b"x"}))
    (tmp_path / "image/overlay2/layerdb/sha256" / CHAIN / "cache-id").write_text("../../..")
    assert found(tmp_path) is None
    assert engine_layers.of_engine("sha256:" + "3" * 64, {}) is None


def test_other_drivers_and_the_containerd_store(tmp_path: Path) -> None:
    info: dict[str, Any] = {"DockerRootDir": str(tmp_path), "Driver": "btrfs"}
    assert engine_layers.places(info) == {}
    blobs = tmp_path / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
    blobs.mkdir(parents=True)
    (blobs / DIGEST[7:]).write_bytes(b"layer")
    info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
    source = engine_layers.of_engine(DIGEST, engine_layers.places(info))
    assert source is not None
    assert b"".join(pieces(source)) == b"layer"
    source.close()


def test_podman_keeps_a_layer_in_the_same_two_parts(tmp_path: Path) -> None:
    tar = layer_of({b"a": b"x" * 600, b"b": b"y"})
    tree = engine(tmp_path, tar)
    layers = tmp_path / "overlay-layers"
    layers.mkdir()
    next(tmp_path.rglob("tar-split.json.gz")).rename(layers / "abc.tar-split.gz")
    (tmp_path / "overlay/abc").mkdir(parents=True)
    tree.rename(tmp_path / "overlay/abc/diff")
    rows: list[object] = [{"id": "abc", "diff-digest": DIGEST}, {"id": "gone", "diff-digest": "d"}]
    rows += [{"id": "../abc", "diff-digest": "sha256:x"}, {"id": 1}, "row"]
    (layers / "layers.json").write_text(json.dumps(rows))
    info = {"DockerRootDir": str(tmp_path), "Driver": "overlay", "BuildahVersion": "1"}
    places = engine_layers.places(info)
    assert list(places) == [DIGEST]
    source = engine_layers.of_engine(DIGEST, places)
    assert source is not None
    assert b"".join(pieces(source)) == tar
    source.close()
    for text in ("{", "{}", "null"):
        (layers / "layers.json").write_text(text)
        assert engine_layers.places(info) == {}
    (layers / "layers.json").unlink()
    assert engine_layers.places(info) == {}
