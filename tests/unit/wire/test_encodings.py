"""Both ends use what both have; zstd where it is missing is a typed error."""

import gzip
import hashlib
import io
import os
from pathlib import Path

import pytest

from portkit.host import program
from portkit.host.calls import Remote
from portkit.progress import NullObserver
from portkit.remote import layers, store
from portkit.wire import codec
from portkit.wire import recipe as ops
from portkit.wire.frames import RemoteError
from tests import remote_half

WITHOUT = "from portkit.wire import codec\ncodec._LIB = None\n"


@pytest.mark.parametrize(
    ("here", "there", "wanted"),
    [
        (True, True, ("zstd", "zlib", "raw")),
        (False, True, ("zlib", "raw")),
        (True, False, ("zlib", "raw")),
        (False, False, ("zlib", "raw")),
    ],
)
def test_encodings_are_what_both_ends_have(
    here: bool,
    there: bool,
    wanted: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not there:
        monkeypatch.setattr(program, "_MAIN", WITHOUT + program._MAIN)
    if not here:
        monkeypatch.setattr(codec, "_LIB", None)
    with remote_half.started({"PORTKIT_REMOTE_STORE": str(tmp_path / "store")}) as child:
        remote = Remote(lambda: child, NullObserver(), lambda: "")
        assert remote.encodings == wanted
        _send(remote, remote.encodings[0])


def _send(remote: Remote, encoding: str) -> None:
    data = os.urandom(100_000)
    writer = ops.Writer()
    packer = codec.Compressor(encoding)
    packed = packer.feed(writer.literal(len(data)) + data + writer.end()) + packer.finish()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    args = {"digest": digest, "size": len(data), "encoding": encoding}
    stream = packed + hashlib.sha256(packed).digest()
    remote.call("store.apply", {**args, "key": "0" * 32, "offset": 0, "bases": []}, send=[stream])
    assert remote.call("store.has", {"digests": [digest]}) == {"have": {digest: len(data)}}


def test_zstd_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packed = codec.Compressor("zstd")
    data = packed.feed(b"x") + packed.finish()
    monkeypatch.setattr(codec, "_LIB", None)
    monkeypatch.setattr(store, "ROOT", tmp_path)
    with pytest.raises(codec.Missing):
        codec.Decompressor("zstd")
    with pytest.raises(RemoteError, match="libzstd"):
        layers._unpack(io.BytesIO(data), tmp_path / "out")
    layers._unpack(io.BytesIO(gzip.compress(b"x")), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"x"
