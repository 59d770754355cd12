"""An engine that lies to the remote half: every answer is checked, none ends it."""

import json
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portkit.remote import engine, facts, images, layers
from portkit.wire.frames import RemoteError
from tests.unit.fake_engine import FakeEngine, fake_engine

ID = "sha256:" + "1" * 64
IMAGE = {"Id": ID, "RepoTags": ["x:1"], "RootFS": {"Layers": [ID]}, "Size": 5, "Architecture": "a"}


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        monkeypatch.setattr(engine, "SOCKET", str(made.socket))
        made.answers["GET /info"] = (200, {})
        made.answers["GET /images/json"] = (200, [{"Id": ID}])
        made.answers[f"GET /images/{ID}/json"] = (200, IMAGE)
        yield made


def test_a_sound_engine(lying: FakeEngine) -> None:
    row = {"id": ID, "tags": ["x:1"], "diff_ids": [ID], "size": 5, "architecture": "a"}
    assert images.listing({}, None) == {"images": [row], "containerd": False, "readable": []}


ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    "text",
    5,
    [None],
    [[]],
    [{"Id": None}],
    [{"Id": "../x"}],
    {"Id": ID, "RootFS": []},
    {"Id": ID, "RootFS": {"Layers": {}}},
    {"Id": ID, "RootFS": {"Layers": [5]}},
    {"Id": ID, "RootFS": {"Layers": ["md5:x"]}},
    {"Id": ID, "Size": -1},
    {"Id": ID, "Size": "big"},
    {"Id": ID, "RepoTags": "x"},
    {"DriverStatus": 5},
    {"DriverStatus": [[], 5, None]},
    {"DockerRootDir": ["/"]},
    {"ServerVersion": {"a": 1}, "Driver": 5},
    [{"Labels": [], "Names": [5]}],
    [{"Labels": {"portkit.app": "app"}, "Names": {}}],
    b"no json",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 10_000,
    b"\xff\xfe",
)
ASKED = ("GET /info", "GET /images/json", f"GET /images/{ID}/json", "GET /containers/json")
CALLS: tuple[Callable[[], object], ...] = (
    lambda: images.listing({}, None),
    lambda: images.containers({"reference": ID, "app": "app", "service": "s"}, None),
    lambda: facts._docker(),
    lambda: layers.gather([ID]),
)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:40])
def test_odd_answers(lying: FakeEngine, asked: str, odd: Any) -> None:
    lying.answers[asked] = (200, odd)
    for call in CALLS:
        try:
            json.dumps(call())
        except RemoteError as error:
            assert error.kind in ("EngineError", "AppError", "TransferError")


def test_an_endless_answer(lying: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_JSON_LIMIT", 1000)
    lying.answers["GET /info"] = (200, {"x": "y" * 2000})
    with pytest.raises(RemoteError, match="malformed"):
        engine.get("/info")


def _members(*rows: "tuple[bytes, int]", count: int = 1) -> bytes:
    out = bytearray()
    for kind, size in rows * count:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, size
        out += info.tobuf(tarfile.GNU_FORMAT)
    return bytes(out)


@pytest.mark.parametrize(
    "saved",
    [
        _members((b"x", 1 << 30)),
        _members((b"L", 1 << 30)),
        _members((b"S", 1 << 30)),
        _members((b"0", 0), count=10_001),
    ],
    ids=["pax", "name", "sparse", "members"],
)
def test_a_saved_image_that_would_take_much_memory(lying: FakeEngine, saved: bytes) -> None:
    """The engine says that it has the layer, and does not keep it where it could be read."""
    lying.answers[f"GET /images/{ID}/get"] = (200, saved)
    with pytest.raises(RemoteError, match="malformed"):
        layers.gather([ID])


def test_an_answer_of_few_bytes_that_would_take_much_memory(lying: FakeEngine) -> None:
    lying.answers["GET /info"] = (200, b"[" + b"{}," * 400_000 + b"0]")
    with pytest.raises(RemoteError, match="malformed") as caught:
        engine.get("/info")
    assert "more than" in caught.value.details


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_an_answer_in_crumbs(head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_GET_S", 0.5)
    monkeypatch.setattr(engine, "SOCKET", str(tmp_path / "s"))
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def drip() -> None:
            asked, _ = listener.accept()
            with asked:
                asked.sendall(head or b"H")
                while not over.is_set():
                    time.sleep(0.05)
                    try:
                        asked.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(RemoteError) as caught:
                engine.get("/info")
            assert caught.value.kind == "EngineError"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("answer", ["500 Internal Server Error", "200 OK"])
def test_an_engine_that_ends_an_upload_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """It answers before it has read everything, and closes the connection: its disk is full."""
    words = b'{"message": "write /var/lib/docker/tmp: no space left on device"}'
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "full"))
    listener.listen()

    def end() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            head = f"HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n".encode()
            connection.sendall(head + words)

    thread = threading.Thread(target=end)
    thread.start()
    monkeypatch.setattr(engine, "SOCKET", str(tmp_path / "full"))
    endless = (bytes(1 << 16) for _ in range(10_000))
    with (
        pytest.raises(RemoteError) as caught,
        engine.request("POST", "/images/load?quiet=1", body=endless),
    ):
        pass
    thread.join()
    listener.close()
    assert (caught.value.kind, "no space left" in caught.value.details) == ("SpaceError", True)
