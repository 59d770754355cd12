"""Every byte between the two ends: whatever becomes of one, no blob gets a name that is not its."""

import hashlib
import io
import json
import random
from pathlib import Path

import pytest

from portkit.remote import serve, store
from portkit.store import Store
from portkit.transfer.price import Packing
from portkit.transfer.stream import Stream
from portkit.wire import frames
from portkit.wire import recipe as ops

CHANCE = random.Random(11)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Store for the remote half in this process."""
    monkeypatch.setattr(store, "ROOT", tmp_path / "far")
    monkeypatch.setattr(store, "TEMPORARY", [])
    monkeypatch.setattr(store, "RETIRED", {})
    return tmp_path / "far"


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def conversation(near: Store, base: bytes) -> tuple[bytes, str]:
    """All that a sender says to have one blob made, and the digest of that blob."""
    writer = ops.Writer()
    news = CHANCE.randbytes(40) + b"news " * 20
    content = base[10:900] + bytes(5000) + news
    pieces = [writer.copy(0, 10, 890), writer.zero(5000), writer.literal(len(news)), news]
    folder = near.temporary().parent
    with Stream(iter([*pieces, writer.end()]), Packing("zstd", 3), folder) as made:
        stream = b"".join(made.read())
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    args = {"digest": digest, "key": "0" * 32}
    rows = [{"digest": "sha256:" + hashlib.sha256(base).hexdigest(), "size": len(base)}]
    apply = {**args, "size": len(content), "encoding": "zstd", "offset": 0, "bases": rows}
    told = frame(b"J", json.dumps({"verb": "store.part", "args": {**args, "room": 9}}).encode())
    told += frame(b"J", json.dumps({"verb": "store.apply", "args": apply, "data": True}).encode())
    half = len(stream) // 2
    return told + frame(b"D", stream[:half]) + frame(b"D", stream[half:]) + frame(b"E"), digest


def heard(data: bytes) -> bytes:
    """What the remote half answers before it ends."""
    sink = io.BytesIO()
    try:
        serve.serve(io.BytesIO(data), sink)
    except frames.FrameError:
        sink.write(b"out of protocol")
    return sink.getvalue()


def check(root: Path, base: bytes) -> set[str]:
    """The names of the blobs; each is of its content. Nothing half made is beside them."""
    names = set()
    for path in (root / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        names.add(path.name)
    assert hashlib.sha256(base).hexdigest() in names
    assert not [path for path in (root / "tmp").rglob("*") if path.is_file()]
    return names


def test_whatever_becomes_of_a_byte_names_stay_true(root: Path, tmp_path: Path) -> None:
    base = CHANCE.randbytes(1000)
    Store(root).put_bytes(base)
    data, digest = conversation(Store(tmp_path / "near"), base)
    blob = root / "blobs/sha256" / digest[7:]
    assert heard(data).count(b'"ok"') == 2
    assert blob.exists()
    stream_at = data.rindex(b"D", 0, data.index(b"\x28\xb5\x2f\xfd"))
    changes = [*range(len(data)), *CHANCE.choices(range(len(data)), k=300)]
    for at in changes:
        blob.unlink(missing_ok=True)
        changed = bytearray(data)
        changed[at] ^= 1 << CHANCE.randrange(8)
        said = heard(bytes(changed))
        names = check(root, base)
        if at >= stream_at:
            assert digest[7:] not in names, "a change of the stream or its frames is seen"
            assert b'"error"' in said or b"out of protocol" in said


def test_wherever_it_ends_nothing_has_a_name(root: Path, tmp_path: Path) -> None:
    base = CHANCE.randbytes(1000)
    Store(root).put_bytes(base)
    data, digest = conversation(Store(tmp_path / "near"), base)
    for length in range(len(data)):
        heard(data[:length])
        assert digest[7:] not in check(root, base)
    heard(data)
    assert digest[7:] in check(root, base)
