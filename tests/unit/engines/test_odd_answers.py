"""An engine that lies to the near end: odd, deep, endless or missing answers are typed errors."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit.engines import docker as room
from portkit.engines import docker_client, libvirt, patience
from portkit.engines.docker import Docker
from portkit.errors import EngineError
from portkit.model import App, ImageConfig, Service
from tests.unit.fake_engine import FakeEngine, fake_engine

ID = "pk-0123456789ab"
IMAGE = ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), cmd=("x",))
SPEC = apps.resolve_all(App("a", (Service("a"),), "x"), [IMAGE])
MARKED = {"portkit.move": ID, "portkit.app": "a"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with sound(tmp_path) as made:
        yield made


@contextmanager
def sound(folder: Path) -> Iterator[FakeEngine]:
    with fake_engine(folder) as made:
        made.answers["GET /containers/json"] = 200, [{"Id": "c1", "Labels": MARKED}]
        made.answers["GET /containers/c1/json"] = 200, {"State": {"Status": "running"}}
        made.answers["POST /containers/create"] = 201, {"Id": "c1"}
        # Without these, `remove` ends before it asks for volumes and networks.
        made.answers["DELETE /containers/c1"] = 204, b""
        made.answers["GET /networks"] = 200, []
        made.answers["GET /volumes"] = 200, {"Volumes": []}
        yield made


CALLS: tuple[Callable[[Docker], object], ...] = (
    lambda d: d.create({SPEC.front.image: "x"}, SPEC, ID),
    lambda d: d.start(ID, 1.0),
    lambda d: d.stop(ID),
    lambda d: d.life(ID),
    lambda d: d.logs(ID, 5),
    lambda d: d.restart_policies(ID, {"": "always"}),
    lambda d: d.remove(ID),
    lambda d: d.instances(),
)
ASKED = (
    "GET /containers/json",
    "GET /containers/c1/json",
    "GET /containers/c1/logs",
    "GET /volumes",
    "GET /networks",
    "POST /containers/create",
)
ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    5,
    "text",
    [None],
    [[]],
    [{}],
    [{"Id": 5}],
    [{"Id": "../../images/x"}],
    [{"Id": "c1", "Labels": []}],
    [{"Id": "c1", "Labels": {"portkit.move": 5}}],
    [{"Id": "c1", "Labels": MARKED, "Ports": [{"PublicPort": "x"}]}],
    [{"Id": "c1", "Labels": MARKED, "Ports": {}}],
    {"Volumes": [{"Name": "../x"}]},
    {"Volumes": {}},
    {"State": []},
    {"State": {"Status": "running"}, "Config": {"Tty": 5, "StopTimeout": -1}},
    {"State": {"Status": "exited", "ExitCode": []}, "Config": []},
    b"no json",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 10_000,
    b"\xff\xfe",
)


@pytest.fixture(scope="module")
def askers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Callable[[Docker], object]]]:
    """Of each question, the calls that ask it."""
    found: dict[str, list[Callable[[Docker], object]]] = {asked: [] for asked in ASKED}
    with sound(tmp_path_factory.mktemp("sound")) as engine:
        docker = Docker(engine.socket, "web1")
        for call in CALLS:
            engine.requests.clear()
            with suppress(EngineError):
                call(docker)
            asked = {
                f"{how} {path.removeprefix('/v1.41').partition('?')[0]}"
                for how, path, _ in engine.requests
            }
            for each in asked & set(found):
                found[each].append(call)
        docker.close()
    return found


@pytest.mark.parametrize("asked", ASKED)
def test_odd_answers(
    engine: FakeEngine, askers: dict[str, list[Callable[[Docker], object]]], asked: str
) -> None:
    assert askers[asked], "somebody asks it"
    for odd in ODD:
        docker = Docker(engine.socket, "web1")
        engine.answers[asked] = (200, odd)
        for call in askers[asked]:
            with suppress(EngineError):
                call(docker)
        docker.close()


@pytest.mark.parametrize("odd", [None, [], {}, {"ApiVersion": 5}, {"ApiVersion": "x"}, b"[" * 9999])
def test_an_odd_version(engine: FakeEngine, odd: Any) -> None:
    engine.answers["GET /version"] = (200, odd)
    with pytest.raises(EngineError):
        Docker(engine.socket, "web1")


def test_an_endless_answer(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = Docker(engine.socket, "web1")
    monkeypatch.setattr(docker_client, "_BODY_LIMIT", 1000)
    engine.answers["GET /containers/json"] = 200, ["x" * 2000]
    with pytest.raises(EngineError, match="malformed"):
        docker.instances()
    docker.close()


def test_a_command_that_is_said_to_print_4_gib_at_once(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(struct.pack(">BxxxL", 1, 0xFFFFFFFF) + b"the reason")
    theirs.close()
    sizes: list[int] = []

    class Slow:
        """The connection that the engine has upgraded; its bytes come one by one."""

        fileno = ours.fileno

        def recv(self, size: int) -> bytes:
            sizes.append(size)
            return ours.recv(1)

    engine.answers["POST /exec/x1/start"] = (200, b"")
    docker = Docker(engine.socket, "web1")
    monkeypatch.setattr(docker._sdk, "_get_raw_response_socket", lambda response: Slow())
    assert b"".join(docker._sdk.exec_start("x1", stream=True)) == b"the reason"
    assert max(sizes) == 1 << 16
    docker.close()
    ours.close()


@pytest.mark.parametrize(
    "body", [b"[" + b"{}," * 400_000 + b"0]", b"[" + b'{"Id":"a"},' * 20_001 + b'{"Id":"a"}]']
)
def test_an_answer_of_few_bytes_that_would_take_much_memory(
    engine: FakeEngine, body: bytes
) -> None:
    docker = Docker(engine.socket, "web1")
    engine.answers["GET /containers/json"] = 200, body
    with pytest.raises(EngineError, match="malformed") as caught:
        docker.instances()
    assert "more than" in caught.value.details or "over 20000" in caught.value.details
    docker.close()


def test_a_log_in_one_giant_piece(engine: FakeEngine) -> None:
    docker = Docker(engine.socket, "web1")
    engine.answers["GET /containers/c1/json"] = 200, {"Config": {"Tty": False}}
    piece = struct.pack(">BxxxL", 1, 0xFFFFFFFF) + b"line\n"
    engine.answers["GET /containers/c1/logs"] = 200, piece
    with suppress(EngineError):
        assert docker.logs(ID, 5) == "line\n"
    docker.close()


@contextmanager
def listening(path: Path, head: bytes, more: bytes) -> Iterator[None]:
    """Answers every connection with `head`, then with `more` for ever, slowly."""
    over = threading.Event()

    def drip(asked: socket.socket) -> None:
        with asked, suppress(OSError):
            asked.sendall(head)
            while not over.is_set():
                time.sleep(0.02)
                asked.sendall(more)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.05)

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    drip(listener.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("head", [b"H", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n["])
def test_an_answer_in_crumbs(head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CALL_S", 0.5)
    late = pytest.raises(EngineError, match="in time")
    with listening(tmp_path / "s", head, b" "), late:
        Docker(tmp_path / "s", "web1")


def test_a_redirect_is_not_followed(engine: FakeEngine) -> None:
    with socket.socket() as inside:
        inside.bind(("127.0.0.1", 0))
        inside.listen()
        inside.settimeout(0.2)
        docker = Docker(engine.socket, "web1")
        engine.location = f"http://127.0.0.1:{inside.getsockname()[1]}/"
        engine.answers["GET /containers/json"] = 307, []
        with suppress(EngineError):
            assert docker.instances() == ()
        with pytest.raises(TimeoutError):
            inside.accept()
        docker.close()


# ---------------------------------------------------------------- libvirt


def test_a_libvirt_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("libvirt")
    monkeypatch.setattr(libvirt, "CALL_S", 0.2)
    over = threading.Event()
    monkeypatch.setattr(module, "open", lambda uri: over.wait(20))
    try:
        with pytest.raises(EngineError, match="in time"):
            libvirt.Libvirt("test:///default", "web1")
    finally:
        over.set()


def test_a_call_of_a_domain_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("libvirt")
    engine = libvirt.Libvirt("test:///default", "web1")
    assert engine.instances() == (), "its domain is not ours"
    over = threading.Event()
    monkeypatch.setattr(patience, "CALL_S", 0.2)
    monkeypatch.setattr(module.virDomain, "XMLDesc", lambda *_: over.wait(20))
    try:
        with pytest.raises(EngineError, match="in time"):
            engine.instances()
    finally:
        over.set()
    engine.close()


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(KeyError):
        patience.within(5.0, lambda: {}["x"])
    assert patience.within(5.0, lambda: 7) == 7
